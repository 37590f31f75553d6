"""Refusals as RFC 9457 problem documents: a stable type, what is wrong, and what to do about it.

A handler raises a `Problem`; everything that it wrote is undone, and the caller reads the document.
What must never happen: a refusal that leaks another site's data, a secret or a traceback.
"""

from typing import Any, ClassVar, Final, Self

import msgspec

TYPE_ROOT = "https://hansa.dev/problems/"
"""Where each `type` lives; docs/problems.md has a section per slug."""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with a request: where it is (JSON Pointer, RFC 6901) and what it is."""

    pointer: str
    detail: str


class Problem(Exception):
    """A refusal. `slug` names the type for machines, `detail` tells people what to do."""

    status: ClassVar[int] = 500
    public: ClassVar[str] = ""
    """What clients are told in place of `detail`, which then only the log and operators read."""
    slug: str = "internal"
    title: str = "Something went wrong here"

    def __init__(
        self,
        detail: str = "",
        *,
        slug: str | None = None,
        title: str | None = None,
        errors: tuple[Fault, ...] = (),
        retry_after_s: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail or title or self.title)
        self.detail = detail
        if slug is not None:
            self.slug = slug
            self.title = title or slug.replace("-", " ").capitalize()
        elif title is not None:
            self.title = title
        self.errors = errors
        self.retry_after_s = retry_after_s
        self.more = more

    def within(self, pointer: str) -> Self:
        """Return it as being about a part of the body, the one at a JSON Pointer."""
        faults = self.errors or (Fault("", self.detail),)
        self.errors = tuple(Fault(pointer + one.pointer, one.detail) for one in faults)
        self.detail = f"{pointer}: {self.detail}"
        return self

    def document(self, instance: str | None = None) -> dict[str, Any]:
        """Return the members of the problem document (RFC 9457 section 3.1)."""
        document: dict[str, Any] = {
            "type": TYPE_ROOT + self.slug,
            "title": self.title,
            "status": self.status,
        }
        if self.public or self.detail:
            document["detail"] = self.public or self.detail
        if self.errors:
            document["errors"] = [msgspec.to_builtins(fault) for fault in self.errors]
        if instance is not None:
            document["instance"] = instance
        document.update(self.more)
        return document


class Invalid(Problem):
    """The request can never succeed as it is: malformed, or of the wrong types (400)."""

    status = 400
    slug = "invalid-request"
    title = "The request is not valid"


class Unauthenticated(Problem):
    """Nobody, or an unknown or expired key, where somebody is needed (401)."""

    status = 401
    slug = "unauthenticated"
    title = "A valid API key is needed"


class Denied(Problem):
    """Known, but not allowed (403)."""

    status = 403
    slug = "denied"
    title = "The key has no permission for this"


class NotFound(Problem):
    """There is no such thing, on this site (404)."""

    status = 404
    slug = "not-found"
    title = "There is no such thing"


class Conflict(Problem):
    """True to the rules but not to the present state; read again and decide anew (409)."""

    status = 409
    slug = "conflict"
    title = "The state does not allow this"


class ConstraintRefused(Conflict):
    """A rule of the database refused a row (409); `detail` names it, for the log."""

    public = (
        "A rule of the data refuses this: a value is taken already, is missing or out of range, or"
        " names what is not there. Read again and decide anew."
    )
    slug = "constraint-failed"
    title = "A rule of the data refuses this"


class TooLarge(Problem):
    """A body, page or value over its limit (413)."""

    status = 413
    slug = "too-large"
    title = "The request is too large"


class Unprocessable(Problem):
    """Well formed, but its meaning is refused (422)."""

    status = 422
    slug = "unprocessable"
    title = "The request cannot be processed"


class TooMany(Problem):
    """More than the site's or key's share; retry after the seconds told (429)."""

    status = 429
    slug = "too-many-requests"
    title = "Too many requests"


class Overloaded(Problem):
    """No capacity or no luck now; the same request may be sent again (503)."""

    status = 503
    slug = "overloaded"
    title = "The service is busy"


class DeadlineExceeded(Problem):
    """The time that the request was given is over (504). A command has left nothing behind."""

    status = 504
    slug = "deadline-exceeded"
    title = "The request took too long"


class StorageFull(Problem):
    """The disk is full (507). Nothing was kept; the same request may be sent again later."""

    status = 507
    slug = "storage-full"
    title = "The storage is full"


class StorageFailed(Problem):
    """The storage failed while it committed (503): whether it was kept is unknown, so retry
    with the same Idempotency-Key, which gives the first answer if there is one. `detail`, which may
    quote the database, is for the log."""

    status = 503
    public = (
        "The database of this cell could not be used. Send the request again with the same"
        " Idempotency-Key: it gets the first answer if there is one."
    )
    slug = "storage-failed"
    title = "The storage failed; retry with the same Idempotency-Key"


class CommandSuspended(Exception):
    """A command awaited something other than `ctx.db`. A mistake of its author: move the wait
    into `prepare`, or make the handler an action."""


_BY_STATUS: Final[dict[int, type[Problem]]] = {
    kind.status: kind
    for kind in (
        Invalid, Unauthenticated, Denied, NotFound, Conflict, TooLarge, Unprocessable, TooMany,
        Overloaded, DeadlineExceeded, StorageFull,
    )
}  # fmt: skip
_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "instance", "errors"})


def problem_of(document: dict[str, Any], status: int) -> Problem:
    """Return the refusal that a problem document tells of, as its `status` says which kind.
    Raises KeyError, TypeError and ValidationError for what is no problem document."""
    kind = _BY_STATUS.get(status, Problem)
    problem = kind(
        document.get("detail", ""),
        slug=str(document["type"]).rpartition("/")[2],
        title=document["title"],
        errors=tuple(msgspec.convert(document.get("errors", ()), tuple[Fault, ...])),
        **{name: value for name, value in document.items() if name not in _MEMBERS},
    )
    problem.status = status  # type: ignore[misc]
    return problem
