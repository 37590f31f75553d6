"""Replies: answers and problems as responses."""

import logging
from hashlib import blake2b
from typing import Final

import msgspec

from hansa.kernel import codec
from hansa.kernel.answer import Answer
from hansa.kernel.http.message import Response
from hansa.kernel.http.refusals import MethodNotAllowed
from hansa.kernel.problems import Problem, Unauthenticated

logger = logging.getLogger("hansa.http")

Header = tuple[str, str]

JSON: Final[Header] = ("content-type", "application/json")
PROBLEM: Final[Header] = ("content-type", "application/problem+json")
NO_SNIFF: Final[Header] = ("x-content-type-options", "nosniff")
REVALIDATE: Final[Header] = ("cache-control", "private, no-cache")
NO_STORE: Final[Header] = ("cache-control", "no-store")
BEARER: Final[Header] = ("www-authenticate", 'Bearer realm="hansa"')


def answered(
    answer: Answer, more: tuple[Header, ...], request_id: str, cacheable: bool, if_none_match: str
) -> Response:
    """Return the response of an operation; `more` is what its declaration adds."""
    status = answer.status
    body = answer.body
    kind = answer.content_type
    if kind == PROBLEM[1]:  # kept from when it was refused; the instance is that of this request
        body = codec.encode({**msgspec.json.decode(body), "instance": request_id})
    headers = [
        JSON if kind == "application/json" else ("content-type", kind),
        NO_SNIFF,
        ("hansa-request-id", request_id),
    ]
    if more:
        headers += more
    if answer.headers:
        headers += answer.headers
    if cacheable and status == 200:
        etag = f'"{blake2b(body, digest_size=16).hexdigest()}"'
        headers.append(REVALIDATE)
        headers.append(("etag", etag))
        if if_none_match and matches(if_none_match, etag):
            return Response(304, headers[1:], b"")
        return Response(200, headers, body)
    headers.append(NO_STORE)
    if status == 204:
        return Response(204, headers[1:], b"")
    return Response(status, headers, body)


def matches(if_none_match: str, etag: str) -> bool:
    """Compare weakly (RFC 9110 section 13.1.2) a list of entity tags with one of ours."""
    if if_none_match in (etag, "*"):
        return True
    return any(tag.strip().removeprefix("W/") == etag for tag in if_none_match.split(","))


def refused(problem: Problem, request_id: str, more: tuple[Header, ...] = ()) -> Response:
    """Return the response of a refusal; one that cannot be encoded is a failure."""
    if problem.public and problem.detail:
        logger.warning("request %s: %s: %s", request_id, problem.slug, problem.detail)
    try:
        body = codec.encode(problem.document(instance=request_id))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        logger.exception("the problem %r of request %s has no JSON form", problem.slug, request_id)
        problem = Problem("Tell us the instance.")
        body = codec.encode(problem.document(instance=request_id))
    headers = [PROBLEM, NO_SNIFF, NO_STORE, ("hansa-request-id", request_id), *more]
    if problem.retry_after_s is not None:
        headers.append(("retry-after", str(problem.retry_after_s)))
    if isinstance(problem, Unauthenticated):
        headers.append(BEARER)
    elif isinstance(problem, MethodNotAllowed):
        headers.append(("allow", problem.allow))
    return Response(problem.status, headers, body)


def failed(request_id: str, error: Exception) -> Response:
    """Return the response of a mistake of ours: nothing but where to find it in the log."""
    logger.error("request %s failed", request_id, exc_info=error)
    return refused(Problem("The log has more under this instance."), request_id)


def headless(response: Response) -> Response:
    """Return the response to HEAD: what GET would say, without the body (RFC 9110, 9.3.2)."""
    if response.status in (204, 304):
        return response
    length = ("content-length", str(len(response.body)))
    return Response(response.status, [*response.headers, length], b"")


def last(response: Response) -> Response:
    """Return the response, after which the client is to close the connection (RFC 9112, 9.6)."""
    return Response(response.status, [*response.headers, ("connection", "close")], response.body)
