"""API: every operation with what it takes and answers, and a form to try it with a key."""

import time
from contextlib import suppress
from functools import lru_cache
from secrets import token_hex
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from starlette.responses import Response

from hansa.console import describing
from hansa.console.describing import Described
from hansa.console.visit import Visit
from hansa.console.wording import pretty
from hansa.kernel.http import openapi
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.asgi import AsgiHeaders
from hansa.kernel.http.message import Request
from hansa.kernel.problems import Denied, NotFound, TooLarge
from hansa.kernel.storage import PLATFORM
from hansa.kernel.structs import PageRequest
from hansa.platform.sites.api import Site, list_sites

SITES_SHOWN: Final = 20
ANSWER_SHOWN_MAX: Final = 20_000
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


@lru_cache(maxsize=8)
def _described(app: HttpApp) -> dict[str, Described]:
    document = openapi.document(app.endpoints, app.backend.services)
    return describing.operations(msgspec.to_builtins(document))


async def every(visit: Visit) -> Response:
    """Show all operations by service, or those whose words are like the ones asked for."""
    wanted = visit.asked("find").strip().lower()
    found = [one for one in _described(visit.app).values() if wanted in one.words]
    services: dict[str, list[Described]] = {}
    for one in found:
        services.setdefault(one.service, []).append(one)
    return visit.page("api.html", services=services, find=wanted, count=len(found))


async def one(visit: Visit) -> Response:
    """Show an operation, and the form to try it. Raises NotFound."""
    operation = _find(visit)
    sites: list[Site] = []
    with suppress(Denied):
        first = PageRequest(SITES_SHOWN)
        sites = list((await visit.do(list_sites, PLATFORM, page=first)).items)
    return visit.page("operation.html", op=operation, sites=sites, answer=None)


async def attempt(visit: Visit) -> Response:
    """Send the request of the form, as from outside, and show the answer."""
    operation = _find(visit)
    form = visit.form
    body = form.get("body", "").encode()
    names = [one.name for one in operation.parameters if one.place == "query"]
    query = urlencode({name: form[name] for name in names if form.get(name)})
    path = operation.path
    for one in operation.parameters:
        if one.place == "path":
            path = path.replace(f"{{{one.name}}}", form.get(one.name, ""))
    headers = _headers(visit, operation, body)
    client = visit.request.client

    async def read(_: int, most: int) -> bytes:
        if len(body) > most:
            raise TooLarge(f"The body may have {most} bytes here.")
        return body

    request = Request(
        operation.method, path, query, form.get("host", ""),
        AsgiHeaders([(name.encode(), value.encode()) for name, value in headers]),
        read, len(body), f"{client.host}:{client.port}" if client else "",
    )  # fmt: skip
    began = time.perf_counter()
    response = await visit.app.respond(request)
    took_us = int((time.perf_counter() - began) * 1_000_000)
    told = {
        "status": response.status, "headers": response.headers, "took_us": took_us,
        "body": pretty(response.body)[:ANSWER_SHOWN_MAX] if response.body else "",
        "line": f"{operation.method} {quote(path)}" + (f"?{query}" if query else ""),
    }  # fmt: skip
    return visit.page("operation.html", op=operation, sites=[], answer=told)


def _headers(visit: Visit, operation: Described, body: bytes) -> list[tuple[str, str]]:
    found = [("host", visit.request.headers.get("host", ""))]
    key, site = visit.form.get("key", "").strip(), visit.form.get("site", "").strip()
    if key:
        found.append(("authorization", f"Bearer {key}"))
    if site:
        found.append(("hansa-site", site))
    if body:
        found.append(("content-type", "application/json"))
    if operation.method != "GET":
        found.append(("idempotency-key", visit.form.get("once", "") or token_hex(8)))
    return found


def _find(visit: Visit) -> Described:
    found = _described(visit.app).get(visit.place("operation"))
    if found is None:
        raise NotFound(f"No operation here is called {visit.place('operation')[:80]}.")
    return found
