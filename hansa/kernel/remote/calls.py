"""Calls: an operation of a service in another process, as if it were here.

A call carries the principal, the site, the key, the deadline, the trace and the position. A query
may be sent again; a command is always sent under a key, the caller's or one of its own, so it may
be sent again too and has effect once. What could not be reached at all is tried again until the
deadline, so that a process that starts anew is waited for; what may have arrived is sent again
within a budget.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from hansa.kernel import codec, machine
from hansa.kernel.answer import Answer
from hansa.kernel.caller import Caller, Principal
from hansa.kernel.clock import Clock
from hansa.kernel.fence import SiteElsewhere, SiteMoving
from hansa.kernel.observe.spans import Inside
from hansa.kernel.operation import Operation
from hansa.kernel.problems import DeadlineExceeded, NotFound, Overloaded, Problem, problem_of
from hansa.kernel.remote.budget import Budget
from hansa.kernel.remote.connection import Broken, Line, Reply
from hansa.kernel.remote.health import Target, choose
from hansa.kernel.remote.passport import GOOD_S, Seal
from hansa.kernel.remote.placement import Address, Entry, Placement
from hansa.kernel.remote.releases import heard, spoken

logger = logging.getLogger("hansa.remote")

PATH: Final = "/_hansa/calls/"
PAUSE_S: Final = (0.005, 0.1)
PASSPORTS_MAX: Final = 10_000
_PASSED: Final[tuple[str, ...]] = (
    "hansa-position",
    "idempotency-replayed",
    "location",
    "retry-after",
)
HUNG_S: Final = 0.5
"""After so long without an answer a process may hang, and others are asked first."""
NOT_READY: Final = "not-ready"
LEAVING: Final = "hansa-leaving"
"""The header by which a process that is about to stop asks others to go elsewhere."""
OLDER: Final = frozenset({"not-served-here", "other-release"})
"""Refusals by which a process says that its release knows nothing of what it is asked."""
_KINDS: Final = {one.slug: one for one in (SiteElsewhere, SiteMoving)}


class Unreachable(Overloaded):
    """The process that serves an operation could not be reached in time (503)."""

    slug = "service-unreachable"
    title = "A service cannot be reached"


class _Elsewhere(Exception):
    """A process has done nothing, and another one of its group should be asked."""


class Group:
    """The processes of one entry of the placement."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.targets = [Target(Line(address)) for address in entry.addresses]
        self.budget = Budget()
        self.turn = 0

    def close(self) -> None:
        """Hang up."""
        for target in self.targets:
            target.what.close()


class Remote:
    """The way from this process to all others."""

    def __init__(self, placement: Placement, own: Entry, seal: Seal, clock: Clock) -> None:
        """Stand in the process that is `own`."""
        self.placement = placement
        self.own = own
        self._seal = seal
        self._clock = clock
        self._groups = {entry.name: Group(entry) for entry in placement.entries}
        self._passports: dict[Any, tuple[str, int]] = {}

    def close(self) -> None:
        """Hang up."""
        for group in self._groups.values():
            group.close()

    def group(self, entry: Entry) -> Group:
        """Return the processes of an entry."""
        return self._groups[entry.name]

    @property
    def shares_sites(self) -> bool:
        """Whether other cells serve what this one does, for other sites."""
        return bool(self.placement.shared(self.own.cell))

    def is_home(self, cell: str) -> bool:
        """Tell whether this cell has the sites that are placed in a cell."""
        shared = self.placement.shared(self.own.cell)
        entry = self.placement.of(shared[0], cell) if shared else None
        return entry is None or entry.cell == self.own.cell

    @property
    def others(self) -> list[Entry]:
        """All entries but this process's own."""
        return [entry for entry in self.placement.entries if entry is not self.own]

    def is_beyond(self, service: str) -> bool:
        """Tell whether a service runs on another cell than this process."""
        cells = [entry.cell for entry in self.placement.every(service)]
        return bool(cells) and self.own.cell not in cells

    async def invoke(
        self,
        operation: Operation[..., Any],
        site: str,
        principal: Principal,
        arguments: dict[str, Any],
        *,
        inside: bool = False,
        key: str | None = None,
        request: str = "",
        deadline: float,
        trace: str = "",
        token: str = "",
        entry: Entry | None = None,
        cell: str = "",
    ) -> Answer:
        """Run an operation where it is placed for sites of `cell` (or at `entry`) and return its
        answer. `inside` is a `ctx.call`. Raises the Problem that the other side raised,
        Unreachable, DeadlineExceeded."""
        entry = entry or self.placement.of(operation.service, cell)
        if entry is None:
            raise Unreachable(f"The placement has no process for {operation.service}.")
        if key is None and operation.kind != "query":
            key = machine.random_bytes(24).hex()
        more = f"hansa-passport: {self.passport(principal, site, operation.id, inside)}\r\n"
        if key is not None:
            more += f"idempotency-key: {key}\r\n"
        if request:
            more += f"hansa-request: {request}\r\n"
        if token:
            more += f"hansa-position: {token}\r\n"
        body = codec.encode(spoken(operation, arguments))
        with Inside("remote", operation.id) as span:
            if trace := span.traceparent(trace):
                more += f"traceparent: {trace}\r\n"
            reply = await self.ask(entry, PATH + operation.id, more, body, deadline)
        kind = reply.headers.get("content-type", "application/json")
        passed = [(name, reply.headers[name]) for name in _PASSED if name in reply.headers]
        return Answer(reply.status, reply.body, passed, kind)

    async def forward(
        self,
        operation: Operation[..., Any],
        caller: Caller,
        arguments: dict[str, Any],
        *,
        everywhere: bool,
        **more: Any,
    ) -> Answer:
        """Run an operation for a caller from outside where it is placed; one that is `everywhere`
        but not of this process, where it is found. Raises as `invoke`."""
        if not everywhere:
            return await self.invoke(operation, caller.site, caller.principal, arguments, **more)
        missing: NotFound | None = None
        for entry in self.others:
            try:
                return await self.invoke(
                    operation, caller.site, caller.principal, arguments, entry=entry, **more
                )
            except NotFound as error:
                missing = error
            except SiteElsewhere:
                continue
        raise missing or NotFound("No process of the league has it.")

    async def ask(self, entry: Entry, path: str, more: str, body: bytes, deadline: float) -> Reply:
        """Send a request that may be sent again to one of an entry's processes; return what it
        answers. Raises as `invoke`."""
        group = self._groups[entry.name]
        group.budget.sent()
        pause_s, why = PAUSE_S[0], "none of its processes answers"
        older: list[Target[Line]] = []
        while (left_s := deadline - machine.monotonic()) > 0:
            able = [one for one in group.targets if one not in older]
            target = choose(able, machine.monotonic(), group.turn)
            group.turn += 1
            if target is not None:
                request = _request(target.what.address, path, more, body, left_s)
                try:
                    return await self._one(target, request, left_s)
                except Broken as broken:
                    why = str(broken)
                    if broken.sent and not group.budget.take():
                        raise Unreachable(f"{entry.name}: {why}", retry_after_s=1) from None
                    continue  # each failure shuts its target for a while, so this ends
                except _Elsewhere as elsewhere:
                    older.append(target)
                    why = str(elsewhere)
                    continue
            older.clear()  # perhaps its successor has come meanwhile
            await asyncio.sleep(min(left_s, pause_s * machine.uniform(0.5, 1)))
            pause_s = min(PAUSE_S[1], pause_s * 2)
        raise Unreachable(f"{entry.name} could not be reached in time: {why}", retry_after_s=1)

    async def tell(
        self, entries: Iterable[Entry], path: str, more: str, body: bytes, timeout_s: float
    ) -> None:
        """Send a request to each process of some entries that can be reached."""
        for entry in entries:
            for target in self._groups[entry.name].targets:
                request = _request(target.what.address, path, more, body, timeout_s)
                try:
                    await target.what.ask(request, timeout_s)
                except (Broken, TimeoutError) as error:
                    logger.warning("%s was not told: %s", target.what.address, error)

    async def _one(self, target: Target[Line], request: bytes, left_s: float) -> Reply:
        """Ask one process. Raises Broken, _Elsewhere, DeadlineExceeded, and the Problem that it
        answers."""
        target.under_way += 1
        try:
            reply = await target.what.ask(request, left_s)
        except Broken:
            target.failed(machine.monotonic())
            raise
        except TimeoutError:
            if left_s >= HUNG_S:
                target.failed(machine.monotonic())
            raise DeadlineExceeded("Another service did not answer in time.") from None
        finally:
            target.under_way -= 1
        if LEAVING in reply.headers:
            target.leaves(machine.monotonic())
        if reply.status < 400:
            target.answered()
            return reply
        problem = _problem(reply)
        if problem.slug == NOT_READY:
            target.failed(machine.monotonic())
            raise Broken(f"{target.what.address} says {problem.slug}", sent=False)
        target.answered()
        if problem.slug == "passport-refused":  # by a clock or a key: it is not the caller's fault
            logger.error("%s refuses this process. %s", target.what.address, problem.detail)
            raise Unreachable("Its process and this one agree on no time or key.", retry_after_s=1)
        if problem.slug in OLDER:
            raise _Elsewhere(f"{target.what.address} says {problem.slug}: {problem.detail}")
        raise problem

    @staticmethod
    def value(answer: Answer, wanted: Any) -> Any:
        """Return what another process has answered, which may be of another release."""
        return heard(answer.body or b"null", wanted)

    def passport(self, principal: Principal, site: str, operation: str, inside: bool) -> str:
        """Return a passport, one that was signed a moment ago if there is one."""
        now_us = self._clock.now_us()
        name = (principal, site, operation, inside)
        known = self._passports.get(name)
        if known is not None and now_us < known[1]:
            return known[0]
        if len(self._passports) >= PASSPORTS_MAX:
            self._passports.clear()
        text = self._seal.sign(principal, site, operation, inside=inside, now_us=now_us)
        self._passports[name] = (text, now_us + int(GOOD_S * 500_000))
        return text


def _request(address: Address, path: str, more: str, body: bytes, left_s: float) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: {address}\r\n{more}"
        f"hansa-deadline-ms: {max(1, int(left_s * 1000))}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode("ascii") + body


def _problem(reply: Reply) -> Problem:
    """Return the refusal in a reply, whatever it is."""
    try:
        problem = problem_of(msgspec.json.decode(reply.body, type=dict[str, Any]), reply.status)
        kind = _KINDS.get(problem.slug)
        return problem if kind is None else kind(problem.detail, retry_after_s=1)
    except (msgspec.MsgspecError, KeyError, TypeError):
        return Problem(f"Another process answered {reply.status} and no problem document.")
