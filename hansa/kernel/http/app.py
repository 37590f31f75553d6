"""HttpApp: from a request to its response, for whichever server brings it."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Any, Final

from hansa.kernel import codec, machine
from hansa.kernel.admission import admit
from hansa.kernel.answer import Answer
from hansa.kernel.caller import PUBLIC_PRINCIPAL
from hansa.kernel.http import body as bodies
from hansa.kernel.http import openapi, replies
from hansa.kernel.http.backend import Backend, Inner
from hansa.kernel.http.endpoint import Endpoint, is_served
from hansa.kernel.http.headers import check_media_type, idempotency_key, seconds_until_deadline
from hansa.kernel.http.limits import KEPT_FREE, Gate, Limits
from hansa.kernel.http.message import Request, Response
from hansa.kernel.http.patience import Patience
from hansa.kernel.http.proxies import Proxies
from hansa.kernel.http.quotas import Quotas
from hansa.kernel.http.refusals import LengthRequired, MethodNotAllowed, TooLong
from hansa.kernel.http.routing import Router
from hansa.kernel.load import Load
from hansa.kernel.observe import prometheus
from hansa.kernel.observe.recorder import PAYLOAD_BYTES_MAX, Recorder, failed
from hansa.kernel.observe.spans import Segment, current
from hansa.kernel.observe.traceparent import Trace, Tracer
from hansa.kernel.operation import PUBLIC, Operation
from hansa.kernel.problems import (
    Denied,
    Invalid,
    NotFound,
    Overloaded,
    Problem,
    TooLarge,
    Unauthenticated,
)
from hansa.kernel.shedding import Priority
from hansa.kernel.storage import PLATFORM
from hansa.kernel.structs import RawBody

logger = logging.getLogger("hansa.http")

METRICS: Final = "/metrics"
PAGES: Final = frozenset({"/healthz", "/readyz", "/openapi.json", METRICS})
INNER: Final = "/_hansa/"
"""What the paths begin with that only other processes ask for."""
UNROUTED: Final = "(no operation)"
"""What requests are counted as that lead to no operation."""
SMALL_BODY_BYTES: Final = 1 << 16
"""Bodies up to here are bounded by the count of requests; larger ones by their sum, too."""


class HttpApp:
    """The operations of a backend, served. One per process; it has no threads of its own."""

    def __init__(
        self,
        backend: Backend,
        *,
        limits: Limits | None = None,
        proxies: Proxies | None = None,
        recorder: Recorder | None = None,
        load: Load | None = None,
    ) -> None:
        """Look at all operations; `proxies` are those in front, `load` is what the backend knows of
        its queues. Raises ValueError or TypeError for what cannot be served."""
        self.backend = backend
        self.limits = limits or Limits()
        self.gate = Gate(self.limits)
        self.quotas = Quotas()
        self.proxies = proxies or Proxies()
        self.load = load or Load()
        self.draining = False
        self.preparing = False
        """Whether what is to be served is still being made: `/readyz` says so until it is there."""
        self.home = ""
        """What is told to who asks for `/`, where nothing is."""
        self._calls = 0
        self.inner: Inner | None = None
        self.metrics: Callable[[], Awaitable[bytes]] | None = None
        """What a scraper is answered who has the key for it; without it there is no such page."""
        self.router: Router[Endpoint] = Router(self._make)
        self._patience = Patience(self.limits.body_wait_s)
        self._recorder = recorder
        self._payloads = recorder is not None and recorder.payloads
        self._tracer = Tracer() if recorder is None else recorder.tracer
        self._description = b""
        self._made: dict[str, Endpoint] = {}
        self._unmade: dict[str, list[Operation[..., Any]]] = {}
        for operation in backend.operations:
            if is_served(operation):
                self._unmade.setdefault(operation.service, []).append(operation)
        for operations in self._unmade.values():
            self._add(operations, Router())  # what cannot be served is refused now
        self.first_parts = frozenset(
            [*(page.split("/")[1] for page in (*PAGES, INNER)), *self._unmade]
        )
        """The first parts of the paths that are answered here."""

    def _add(
        self, operations: Sequence[Operation[..., Any]], router: Router[Endpoint]
    ) -> list[Endpoint]:
        endpoints = [Endpoint(operation, self.limits) for operation in operations]
        for endpoint in endpoints:
            router.add(endpoint.operation.method, endpoint.path, endpoint)
        return endpoints

    def _make(self, service: str) -> bool:
        """Make a service's endpoints, if there are any that nobody has asked for so far: of
        thousands of services a process is asked for some."""
        operations = self._unmade.pop(service, ())
        made = self._add(operations, self.router)
        self._made |= {endpoint.operation.id: endpoint for endpoint in made}
        return bool(made)

    @property
    def endpoints(self) -> list[Endpoint]:
        """All endpoints, in the order of the operations."""
        for service in list(self._unmade):
            self._make(service)
        return [self._made[one.id] for one in self.backend.operations if one.id in self._made]

    def drain(self) -> None:
        """Say that this process is about to stop: `/readyz` does, and other processes are told."""
        self.draining = True
        if self.inner is not None:
            self.inner.drain()

    @property
    def outside(self) -> int:
        """How many requests are under way that do not come from another process."""
        return self.gate.inside - self._calls

    async def respond(self, request: Request) -> Response:
        """Return the response to a request. Never raises for what a client can send."""
        asked = request.headers.get("traceparent", "")
        trace = self._tracer.trace(asked, not asked or "authorization" in request.headers)
        told: list[replies.Header] = []
        recorder = self._recorder
        segment: Segment | None = None
        token = None
        try:
            if request.path in PAGES:
                response = await self._page(request, trace)
            elif self.inner is not None and request.path.startswith(INNER):
                response = await self._inside(self.inner, request)
            else:
                if recorder is not None:
                    segment = Segment("request", UNROUTED, "", "", trace, machine.monotonic())
                    token = current.set((segment, 0))
                response = await self._operate(request, trace, segment, told)
        except Problem as problem:
            response = self._refuse(request, problem, trace, told)
            failed(segment, problem)
        except Exception as error:
            response = replies.failed(trace.request_id, error)
            failed(segment, error)
        finally:
            if recorder is not None and segment is not None and token is not None:
                current.reset(token)
                recorder.end(segment)
        if self.draining and not request.path.startswith(INNER):
            response = replies.last(response)
        return replies.headless(response) if request.method == "HEAD" else response

    async def _inside(self, inner: Inner, request: Request) -> Response:
        self.gate.enter()
        self._calls += 1
        try:
            return await inner.respond(request)
        finally:
            self._calls -= 1
            self.gate.leave()

    async def _operate(
        self,
        request: Request,
        trace: Trace,
        segment: Segment | None,
        told: list[replies.Header],
    ) -> Response:
        """Route, authenticate, bind, invoke, reply; undo every count on the way out. `told` is what
        the answer has to tell, whatever it is."""
        started = machine.monotonic() if segment is None else segment.began
        gate = self.gate
        gate.enter(KEPT_FREE)
        site = None
        held = 0
        try:
            path = request.path
            if len(path) > self.limits.path_length_max:
                raise TooLong(f"The path may have {self.limits.path_length_max} characters.")
            endpoint, values = self.router.find(request.method, path)
            operation = endpoint.operation
            if segment is not None:
                segment.name = operation.id
                segment.service = operation.service
            header = request.headers.get
            if len(request.headers.get_all("host")) > 1:  # RFC 9112, section 3.2
                raise Invalid("Send one Host header.", slug="invalid-host")
            authorization = header("authorization", "")
            if not authorization:
                if "authorization" in request.headers:
                    raise Unauthenticated("The Authorization header is empty or not ASCII.")
                admit(operation, PUBLIC_PRINCIPAL)  # before a look at which sites there are
            named = header("hansa-site", "")
            if not named and "hansa-site" in request.headers:
                raise Invalid("The Hansa-Site header is empty or not ASCII.", slug="invalid-site")
            caller = await self.backend.authenticate(authorization, request.host, named)
            vital = caller.principal.is_engineer
            gate.enter_site(caller.site, caller.limits.at_once, vital)
            site = caller.site
            if segment is not None:
                segment.site = site
                segment.principal = caller.principal.id
            self.load.admit(Priority.VITAL if vital else endpoint.priority, site)
            if caller.principal.is_stranger and (address := self.proxies.address_of(request)):
                caller = caller.at(address)
            self.quotas.take(caller, started, told, reads=endpoint.reads)
            if operation.needs is not PUBLIC:  # who may not learns no names and sends no bodies
                admit(operation, caller.principal)
            arguments = endpoint.binding.arguments(values, request.query)
            key = None
            digest = ""
            if endpoint.takes_body:
                if request.length:
                    size = self._size(endpoint, request)
                    gate.hold(size)
                    held = size
                body = await self._body(endpoint, request, arguments)
                if operation.cost is not None:
                    asked = {name: arguments[name] for name in operation.cost_names}
                    if (more := operation.cost(**asked) - 1) > 0:
                        self.quotas.add(caller, started, told, reads=endpoint.reads, more=more)
                key = None if endpoint.reads else self._key(request)
                if key is not None:
                    digest = _digest(request, body)
            allowed_s = operation.deadline_s
            if "hansa-deadline-ms" in request.headers:
                allowed_s = seconds_until_deadline(header("hansa-deadline-ms", ""), allowed_s)
            token = ""
            if "hansa-position" in request.headers:
                token = header("hansa-position", "")
                if not token:
                    raise Invalid("Hansa-Position is empty or not ASCII.", slug="invalid-position")
            if self._payloads and segment is not None and 0 <= request.length <= PAYLOAD_BYTES_MAX:
                segment.arguments = arguments
            answer = await self.backend.invoke(
                operation,
                caller,
                arguments,
                key=key,
                request_hash=digest,
                deadline=started + allowed_s,
                trace=trace.parent,
                token=token,
            )
            if segment is not None:
                segment.status = answer.status
                if self._payloads and len(answer.body) <= PAYLOAD_BYTES_MAX:
                    segment.answer = answer
                    segment.returns = operation.returns
            return replies.answered(
                answer,
                (*endpoint.headers, *told) if told else endpoint.headers,
                trace.request_id,
                not endpoint.takes_body,
                "" if endpoint.takes_body else header("if-none-match", ""),
            )
        finally:
            gate.leave()
            if site is not None:
                gate.leave_site(site)
            if held:
                gate.release(held)

    # ---- the body

    def _size(self, endpoint: Endpoint, request: Request) -> int:
        """Return the bytes to count for a body, none for a small one. Raises TooLarge."""
        limit = endpoint.body_bytes_max
        if request.length > limit:
            raise TooLarge(f"The body may have {limit} bytes here.")
        size = request.length if request.length >= 0 else limit
        return size if size > SMALL_BODY_BYTES else 0

    async def _body(self, endpoint: Endpoint, request: Request, arguments: dict[str, Any]) -> bytes:
        """Read the body into the arguments and return its bytes. Raises Problem."""
        binding = endpoint.binding
        length = request.length
        header = request.headers.get
        if length:
            if binding.raw and length < 0:
                raise LengthRequired("Its end must be told from a broken connection.")
            body = await self._patience.wait(request.read(length, endpoint.body_bytes_max))
        else:
            body = b""
        if binding.raw:
            arguments[binding.raw] = RawBody(body, _plain(request))
        if binding.body is not None:
            if body:
                check_media_type(header("content-type", ""), header("content-encoding", ""))
                if length < 0 and body[-1:].isdigit():
                    raise LengthRequired("A number may have been cut short.")
                decoder = endpoint.decoder
                assert decoder is not None
                arguments[binding.body.name] = bodies.decode(
                    body, decoder, self.limits.body_depth_max
                )
            elif binding.body.required:
                raise Invalid("The body is missing: send JSON.", slug="body-missing")
        elif not binding.raw and body.strip() not in (b"", b"{}", b"null"):
            raise Invalid("There is no body to send here.", slug="body-unexpected")
        return body

    @staticmethod
    def _key(request: Request) -> str | None:
        headers = request.headers
        if "idempotency-key" not in headers:
            return None
        sent = headers.get_all("idempotency-key")
        if len(sent) > 1:
            raise Invalid("Send one Idempotency-Key.", slug="invalid-idempotency-key")
        return idempotency_key(sent[0] if sent else "")

    # ---- what is no operation

    def _refuse(
        self, request: Request, problem: Problem, trace: Trace, told: list[replies.Header]
    ) -> Response:
        if request.path == "/" and self.home and problem.slug == "no-such-path":
            problem = NotFound(self.home, slug="no-such-path")
        if request.method == "OPTIONS":
            if isinstance(problem, MethodNotAllowed):
                return _options(problem.allow, trace)
            if request.path == "*":
                return _options("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT", trace)
        return replies.refused(problem, trace.request_id, (*told,))

    async def _page(self, request: Request, trace: Trace) -> Response:
        if request.path == METRICS and self.metrics is None:
            raise NotFound("No resource has this path.", slug="no-such-path")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(request.method, "GET, HEAD, OPTIONS")
        if request.path == "/openapi.json":
            return self._describe(request, trace)
        if request.path == METRICS and self.metrics is not None:
            await self._admit_scraper(request)
            return Response(200, [prometheus.TYPE, replies.NO_SNIFF, replies.NO_STORE],
                            await self.metrics())  # fmt: skip
        state = "ok"
        if request.path == "/readyz":
            state = "ready"
            preparing = "preparing" if self.preparing else self.backend.ready()
            reason = "draining" if self.draining else preparing
            if reason:
                raise Overloaded(reason, slug="not-ready", retry_after_s=1)
        headers = [replies.JSON, replies.NO_SNIFF, replies.NO_STORE]
        return Response(200, headers, codec.encode({"status": state}))

    async def _admit_scraper(self, request: Request) -> None:
        """Raises Unauthenticated without an operator's key, and Denied without the permission."""
        caller = await self.backend.authenticate(
            request.headers.get("authorization", ""), request.host, ""
        )
        principal = caller.principal
        if principal.kind == "public":
            raise Unauthenticated(f"Send an operator's key with the permission {prometheus.NEEDS}.")
        if principal.home != PLATFORM or not principal.allows(prometheus.NEEDS):
            raise Denied(f"It takes an operator's key with the permission {prometheus.NEEDS}.")

    def _describe(self, request: Request, trace: Trace) -> Response:
        if not self._description:
            self._description = codec.encode(
                openapi.document(self.endpoints, self.backend.services)
            )
        answer = Answer(200, self._description)
        wanted = request.headers.get("if-none-match", "")
        return replies.answered(answer, (), trace.request_id, True, wanted)


def _options(allow: str, trace: Trace) -> Response:
    headers = [("allow", allow), replies.NO_STORE, ("hansa-request-id", trace.request_id)]
    return Response(204, headers, b"")


def _plain(request: Request) -> dict[str, str]:
    """Return the headers by name; of one that came twice the first."""
    plain: dict[str, str] = {}
    for name, value in request.headers.items():
        plain.setdefault(name, value)
    return plain


def _digest(request: Request, body: bytes) -> str:
    """Return what tells two requests under one key apart."""
    head = f"{request.method}\0{request.path}\0{request.query}\0".encode(errors="replace")
    return blake2b(head + body, digest_size=16).hexdigest()
