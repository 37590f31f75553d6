"""Pages: the application at /hansa: who is let in, and what each answer carries."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from hansa.console import files
from hansa.console import session as sessions
from hansa.console.door import FORM_BYTES_MAX, MOUNT
from hansa.console.finder import Finder
from hansa.console.live import Live
from hansa.console.records import Records
from hansa.console.session import COOKIE, LIVE_S, PURPOSE, Session
from hansa.console.views import ROUTES
from hansa.console.visit import READ, View, Visit, render
from hansa.kernel.caller import Principal
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.mounts import Message, Receive, Send, with_headers
from hansa.kernel.http.origin import is_from_here, is_secure
from hansa.kernel.problems import Denied, Invalid, NotFound, Problem, TooLarge, Unauthenticated
from hansa.kernel.runtime import Runtime
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.api import Directory

logger = logging.getLogger("hansa.console")

FIELDS_MAX: Final = 100

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_WAY: Final = re.compile(r"/hansa(?:/[A-Za-z0-9._~/?=&%:@+-]*)?")


class Pages:
    """The application behind the door."""

    def __init__(
        self, runtime: Runtime, app: HttpApp, directory: Directory, observed: Path | None = None
    ) -> None:
        """Serve the pages of a process; `observed` is the file of what is recorded, if it is."""
        self._records = Records(observed)
        self._finder: asyncio.Future[Finder] | None = None
        self._runtime = runtime
        self._app = app
        self._directory = directory
        self._live = Live(runtime.storage, lambda: app.draining or bool(runtime.ready()))
        routes = [
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._wrapped(_logout, change=True), methods=["POST"]),
            Route("/live", self._wrapped(self._stream), methods=["GET"]),
            Route("/static/{name}", self._static, methods=["GET"]),
        ]
        for path, view, method in ROUTES:
            routes.append(
                Route(path, self._wrapped(view, change=method == "POST"), methods=[method])
            )
        self._starlette = Starlette(
            routes=routes, exception_handlers={HTTPException: self._not_here}
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] == MOUNT:
            scope = {**scope, "path": MOUNT + "/", "raw_path": (MOUNT + "/").encode()}
        await self._starlette(scope, receive, with_headers(send, _HEADERS))

    def close(self) -> None:
        """Let go of what was open."""
        self._records.close()
        if self._finder is not None:
            self._finder.add_done_callback(_close)

    async def _find(self) -> Finder:
        """Return the finder, made when somebody first looks for something."""
        if self._finder is None:
            self._finder = asyncio.ensure_future(asyncio.to_thread(Finder, self._runtime))
        try:
            return await asyncio.shield(self._finder)
        except Exception:
            self._finder = None
            raise

    # ---- who

    @property
    def _keys(self) -> list[bytes]:
        return self._runtime.sealer.derived(PURPOSE)

    def _now_s(self) -> int:
        return self._runtime.clock.now_us() // 1_000_000

    async def _who(self, request: Request) -> tuple[Session, Principal] | None:
        """Return who is logged in, None for nobody: also once the key has ended."""
        session = sessions.read_cookie(self._keys, request.cookies.get(COOKIE, ""), self._now_s())
        if session is None:
            return None
        try:
            return session, _check(await self._directory.holder_of(session.key))
        except (Unauthenticated, Denied):
            return None

    def _wrapped(
        self, view: View, *, change: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a view as Starlette calls it: for who may see it, and forms only from our own."""

        async def answer(request: Request) -> Response:
            way = request.url.path + ("?" + request.url.query) * bool(request.url.query)
            try:
                who = await self._who(request)
            except Problem as problem:
                return _closed(problem, way)
            if who is None:
                return RedirectResponse(f"{MOUNT}/login?next={quote(way)}", 303)
            session, principal = who
            token = sessions.form_token(self._keys, session)
            visit = self._visit(request, principal, token, {})
            try:
                if change:
                    form = await _form_of(request)
                    self._check_form(request, session, form)
                    visit = self._visit(request, principal, token, form)
                    logger.info("%s: %s by %s", request.method, request.url.path, principal.id)
                return await view(visit)
            except Problem as problem:
                return visit.page("problem.html", problem.status, problem=problem.document())
            except Exception:
                logger.exception("%s failed", request.url.path)
                failed = Problem("The page failed here; the log of the process says why.")
                return visit.page("problem.html", failed.status, problem=failed.document())

        return answer

    def _visit(
        self, request: Request, principal: Principal, token: str, form: dict[str, str]
    ) -> Visit:
        return Visit(
            request,
            self._runtime,
            self._app,
            self._directory,
            self._records,
            principal,
            token,
            form,
            self._find,
        )

    def _check_form(self, request: Request, session: Session, form: dict[str, str]) -> None:
        """Raise Denied for a form that does not come from a page of this session."""
        token = form.get("token", "")
        from_here = is_from_here(request.headers)
        if not from_here or not sessions.is_form_token(self._keys, session, token):
            raise Denied("The form is not from a page of this session. Load the page again.",
                         slug="form-refused")  # fmt: skip

    async def _login(self, request: Request) -> Response:
        way = request.query_params.get("next", "")
        way = way if _WAY.fullmatch(way) else MOUNT + "/"
        if request.method != "POST":
            try:
                known = await self._who(request) is not None
            except Problem as problem:
                return _closed(problem, way)
            if known:
                return RedirectResponse(way, 303)
            return render("login.html", next=way, problem="")
        try:
            if not is_from_here(request.headers):
                raise Denied("The form does not come from this page.")
            form = await _form_of(request)
            principal = _check(await self._directory.by_key(form.get("key", "").strip()))
        except Problem as problem:
            return _closed(problem, way)
        session = sessions.begin(principal.id, self._now_s())
        logger.info("login of %s", principal.id)
        response = RedirectResponse(way, 303)
        response.set_cookie(
            COOKIE, sessions.cookie_of(self._keys, session), max_age=LIVE_S, path=MOUNT,
            secure=is_secure(request.url.scheme, request.headers), httponly=True, samesite="strict",
        )  # fmt: skip
        return response

    # ---- what is no view

    async def _stream(self, visit: Visit) -> Response:
        stream = self._live.stream()
        first = await anext(stream)  # refuses before the answer begins

        async def events() -> AsyncGenerator[str, None]:
            async with aclosing(stream):
                yield first
                async for one in stream:
                    yield one

        return StreamingResponse(events(), media_type="text/event-stream")

    async def _static(self, request: Request) -> Response:
        file = files.FILES.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        forever = "public, max-age=31536000, immutable"
        kept = forever if request.query_params.get("v") == files.VERSION else "no-cache"
        return Response(file.body, media_type=file.kind, headers={"cache-control": kept})

    async def _not_here(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404

        async def view(visit: Visit) -> Response:
            problem = NotFound("There is no such page.", slug="page-not-found").document()
            return visit.page("problem.html", status, problem={**problem, "status": status})

        return await self._wrapped(view)(request)


async def _logout(visit: Visit) -> Response:
    response = visit.back("/login")
    response.delete_cookie(COOKIE, path=MOUNT, httponly=True, samesite="strict")
    return response


def _close(making: "asyncio.Future[Finder]") -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()


def _closed(problem: Problem, way: str) -> Response:
    """Return the door with why it stays closed: there is no visit yet to show a problem in."""
    told = problem.detail or problem.title
    return render("login.html", problem.status, next=way, problem=told)


def _check(principal: Principal) -> Principal:
    """Return a principal that may see these pages. Raises Denied."""
    if principal.home != PLATFORM:
        raise Denied("This is a key of one site. These pages show all sites: take a key of the"
                     " platform, such as the one in operator.key.")  # fmt: skip
    if not principal.allows(READ):
        raise Denied(f"These pages show all sites: the key needs the permission {READ}.")
    return principal


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
