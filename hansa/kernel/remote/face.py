"""Face: what other processes may ask of this one, beside the interface for everybody.

Everything here needs a passport. What must never happen: an operation that runs for somebody who
was not signed for, or twice around because two processes each think that the other serves it.
"""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from hansa.kernel import codec
from hansa.kernel.admission import priority_of
from hansa.kernel.answer import Answer
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.commands import deadline_in
from hansa.kernel.contracts import ContractUnknown
from hansa.kernel.due import run_keyed
from hansa.kernel.http.message import Request, Response
from hansa.kernel.moving import messages
from hansa.kernel.observe.recorder import work
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Denied, Invalid, NotFound, Overloaded, Unauthenticated
from hansa.kernel.remote import clocks, feed
from hansa.kernel.remote.calls import LEAVING, PATH
from hansa.kernel.remote.feed import Feed
from hansa.kernel.remote.passport import Passport, PassportRefused, Seal
from hansa.kernel.run import Run

if TYPE_CHECKING:
    from hansa.kernel.moving.face import MovingFace
    from hansa.kernel.runtime import Runtime

BODY_BYTES_MAX: Final = 16 << 20
DEADLINE_MAX_S: Final = 60.0


class Face:
    """Answers other processes: calls, and questions to the log and about test clocks."""

    def __init__(self, runtime: "Runtime", seal: Seal, moving: "MovingFace | None" = None) -> None:
        """`moving` answers about sites that move; without it none do."""
        self._moving = moving
        self._runtime = runtime
        self._seal = seal
        self._feed = Feed(runtime)
        self._leaving = False

    def drain(self) -> None:
        """Ask all to go elsewhere, and answer those who wait for the log to go on. Calls are taken
        until the end: what another process does for a request that is under way here may need
        this one."""
        self._leaving = True
        self._feed.end()

    async def respond(self, request: Request) -> Response:
        """Return the response to another process. Raises Problem."""
        is_call = request.path.startswith(PATH)
        if self._runtime.ready() or (self._leaving and not is_call):
            raise Overloaded("This process is about to stop.", slug="not-ready")
        if request.method != "POST" or not 0 <= request.length <= BODY_BYTES_MAX:
            raise Invalid("POST, with a Content-Length.")
        if is_call:
            answer = await self._call(request)
        elif request.path == feed.PATH:
            self._passport(request, feed.PATH)
            answer = await self._feed.respond(await _body(request))
        elif self._moving is not None and request.path.startswith(messages.PATH):
            self._passport(request, request.path)
            answer = await self._moving.respond(request.path, await _body(request))
        elif request.path == clocks.PATH and self._runtime.clocks is not None:
            self._passport(request, clocks.PATH)
            answer = await self._runtime.clocks.respond(await _body(request))
        else:
            raise NotFound("There is no such path.", slug="no-such-path")
        headers = [("content-type", answer.content_type), *answer.headers]
        if self._leaving:
            headers.append((LEAVING, "1"))
        return Response(answer.status, headers, answer.body)

    def _passport(self, request: Request, operation: str) -> Passport:
        text = request.headers.get("hansa-passport", "")
        try:
            return self._seal.open(text, operation, self._runtime.clock.now_us())
        except PassportRefused as refused:
            why = f"The passport is refused: {refused}."
            raise Unauthenticated(why, slug="passport-refused") from None

    async def _call(self, request: Request) -> Answer:
        runtime = self._runtime
        name = request.path[len(PATH) :]
        passport = self._passport(request, name)
        operation = runtime.by_id.get(name)
        if operation is None or not runtime.serves(operation.service):
            raise NotFound(f"{name} is not served here.", slug="not-served-here")
        header = request.headers.get
        runtime.load.admit(priority_of(operation, passport.principal()), passport.site)
        body = await _body(request)
        try:
            arguments = runtime.stored.operation_arguments(operation, body)
        except (ContractUnknown, msgspec.MsgspecError, TypeError, ValueError) as error:
            why = f"The arguments are of another release: {error}."
            raise Invalid(why, slug="other-release") from None
        trace = header("traceparent", "")
        with work(
            runtime.recorder, "call", name, operation.service, passport.site, trace
        ) as segment:
            if segment is not None:
                segment.principal = passport.id
                trace = segment.trace.parent
            return await self._run(operation, passport, arguments, request, trace)

    async def _run(
        self,
        operation: Operation[..., Any],
        passport: Passport,
        arguments: dict[str, Any],
        request: Request,
        trace: str,
    ) -> Answer:
        runtime = self._runtime
        header = request.headers.get
        deadline = deadline_in(seconds(header("hansa-deadline-ms", "")))
        if passport.inside and operation.kind != "query":
            await self._scheduled(request, passport, operation, arguments, deadline, trace)
            return Answer(200, b"null")
        if passport.inside:
            value = await runtime.answer_inside(
                operation, passport.site, passport.principal(), arguments, deadline=deadline,
                trace=trace,
            )  # fmt: skip
            return Answer(200, codec.encode(value))
        return await runtime.invoke_here(
            operation,
            Caller(passport.site, passport.principal()),
            arguments,
            key=header("idempotency-key", "") or None,
            request_hash=header("hansa-request", ""),
            deadline=deadline,
            trace=trace,
            token=header("hansa-position", ""),
        )

    async def _scheduled(
        self,
        request: Request,
        passport: Passport,
        operation: Operation[..., Any],
        arguments: dict[str, Any],
        deadline: float,
        trace: str,
    ) -> None:
        """Run what a command of another cell has scheduled. Raises Problem."""
        key = request.headers.get("idempotency-key", "")
        if not key or passport.principal() != SYSTEM:
            raise Denied("What was scheduled comes from the system, under a key.")
        run = Run(
            await self._runtime.site(passport.site), SYSTEM, operation.id, operation.service,
            trace, deadline,
        )  # fmt: skip
        await run_keyed(self._runtime, operation, run, arguments, key)


async def _body(request: Request) -> bytes:
    return await request.read(request.length, BODY_BYTES_MAX) if request.length else b""


def seconds(text: str) -> float:
    """Return what a Hansa-Deadline-Ms allows, bounded."""
    allowed_s = int(text) / 1000 if text.isdecimal() and len(text) < 10 else DEADLINE_MAX_S
    return min(DEADLINE_MAX_S, allowed_s)
