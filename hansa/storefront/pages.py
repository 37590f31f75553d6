"""Pages: the application at /shop: whose shop it is, and what each answer carries."""

import logging
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Final
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.mounts import Message, Receive, Send, with_headers
from hansa.kernel.http.origin import is_from_here
from hansa.kernel.problems import Denied, Invalid, NotFound, Problem, TooLarge
from hansa.kernel.runtime import Runtime
from hansa.kernel.site import SiteInfo
from hansa.kernel.storage import PLATFORM
from hansa.storefront import files
from hansa.storefront.asking import Asking
from hansa.storefront.carting import add, change, show_cart
from hansa.storefront.door import FORM_BYTES_MAX, MOUNT
from hansa.storefront.listing import Listing
from hansa.storefront.paying import complete, show_thanks
from hansa.storefront.product import show_product
from hansa.storefront.visit import View, Visit, render

logger = logging.getLogger("hansa.storefront")

FIELDS_MAX: Final = 20
PURPOSE: Final = "storefront.visitor"
"""What the key is derived for that visitors' names are made with."""

NOT_READY: Final = "index-not-ready"
"""What search says while it makes an index."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "private, no-cache",
    "vary": "cookie",
}


class Pages:
    """The application behind the door."""

    def __init__(self, runtime: Runtime, app: HttpApp) -> None:
        """Serve the shops of all sites; `app` answers what the pages ask."""
        self._runtime = runtime
        self._app = app
        listing = Listing()
        views: list[tuple[str, View, str]] = [
            ("/", listing.show, "GET"),
            ("/results", listing.show_results, "GET"),
            ("/products/{handle}", show_product, "GET"),
            ("/cart", show_cart, "GET"),
            ("/cart/lines", add, "POST"),
            ("/cart/change", change, "POST"),
            ("/cart/complete", complete, "POST"),
            ("/thanks", show_thanks, "GET"),
        ]
        routes = [Route(path, self._wrapped(view), methods=[method])
                  for path, view, method in views]  # fmt: skip
        routes.append(Route("/static/{name}", _static, methods=["GET"]))
        self._starlette = Starlette(
            routes=routes, exception_handlers={HTTPException: self._not_here}
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] == MOUNT:
            scope = {**scope, "path": MOUNT + "/", "raw_path": (MOUNT + "/").encode()}
        await self._starlette(scope, receive, with_headers(send, _HEADERS))

    def _wrapped(self, view: View) -> Callable[[Request], Awaitable[Response]]:
        """Return a view as Starlette calls it: on the site of the host, and forms only from its own
        pages."""

        async def answer(request: Request) -> Response:
            site: SiteInfo | None = None
            try:
                site = await self._site(request)
                form: dict[str, str] = {}
                if request.method == "POST":
                    if not is_from_here(request.headers):
                        raise Denied(
                            "The form is not from a page of this shop. Load the page again.",
                            title="Not from here",
                        )
                    form = await _form_of(request)
                return await view(self._visit(request, site, form))
            except Problem as problem:
                return _told(problem, site)
            except Exception:
                logger.exception("%s failed", request.url.path)
                return _told(Problem("The page failed here. It may work when it is loaded again."),
                             site)  # fmt: skip

        return answer

    async def _site(self, request: Request) -> SiteInfo:
        """Return the site that the Host header leads to. Raises NotFound, and Denied for one that
        is suspended."""
        directory = self._runtime.directory
        host = request.headers.get("host", "")
        caller = await directory.authenticate("", host, "")
        site = None if caller.site == PLATFORM else await directory.by_id(caller.site)
        if site is None:
            raise NotFound(
                "No shop is at this address. The one that `hansa up` makes is at localhost, not at"
                " 127.0.0.1.", title="There is no shop here",
            )  # fmt: skip
        return site

    def _visit(self, request: Request, site: SiteInfo, form: dict[str, str]) -> Visit:
        host, port = request.client or ("", 0)
        peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        asking = Asking(self._app, request.headers.raw, peer)
        day = self._runtime.clock.now_us() // 86_400_000_000
        seen = (
            day, site.id, host, request.headers.get("x-forwarded-for", ""),
            request.headers.get("user-agent", ""),
        )  # fmt: skip
        key = self._runtime.sealer.derived(PURPOSE)[0]
        name = blake2b(repr(seen).encode("utf-8", "replace"), digest_size=16, key=key[:64])
        return Visit(request, site, asking, name.hexdigest(), form)

    async def _not_here(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404

        async def view(visit: Visit) -> Response:
            problem = NotFound("There is no such page.", title="Not found")
            return _told(problem, visit.site, status)

        return await self._wrapped(view)(request)


def _told(problem: Problem, site: SiteInfo | None, status: int = 0) -> Response:
    """Return the page that tells of a problem; one that is over in a moment loads itself again."""
    document = problem.document()
    if problem.slug == NOT_READY:
        document |= {"title": "The shop is about to open", "detail": "It is on the shelves soon."}
    response = render("problem.html", status or problem.status, site=site, pieces=0,
                      problem=document, again=problem.slug == NOT_READY)  # fmt: skip
    if problem.retry_after_s is not None:
        response.headers["retry-after"] = str(problem.retry_after_s)
    return response


async def _static(request: Request) -> Response:
    file = files.FILES.get(request.path_params["name"])
    if file is None:
        raise HTTPException(404)
    forever = "public, max-age=31536000, immutable"
    kept = forever if request.query_params.get("v") == files.VERSION else "no-cache"
    headers = {"cache-control": kept, "vary": "accept-encoding"}
    return Response(file.body, media_type=file.kind, headers=headers)


async def _form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises Invalid and TooLarge."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise Invalid("Send a form.")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            raise TooLarge(f"A form may have {FORM_BYTES_MAX} bytes.")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"
        )
    except ValueError:
        raise Invalid("The form cannot be read.") from None
    return dict(pairs)
