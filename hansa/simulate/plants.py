# pyright: reportPrivateUsage=false
"""Plants: known bugs, put into all nodes before they start. Each must be found by the checks.

That of `hansa.torture` which is of PostgreSQL alone (positions by a serial column) is not among
them: the simulation's cells are SQLite, whose one writer commits in the order of its insertions.
"""

from typing import Any, Final

from hansa.kernel import calling, commands, deliveries, dispatch, machine
from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.fence import Fence
from hansa.kernel.problems import Conflict
from hansa.kernel.remote import following
from hansa.kernel.remote.feed import Piece
from hansa.kernel.remote.following import Follower
from hansa.kernel.storage import PLATFORM
from hansa.simulate import service
from hansa.simulate.service import Port, Wanted
from hansa.torture.planting import Plant, put

STALE_S: Final = 1.0


def position_outside() -> None:
    """The subscriber's position moves in a transaction of its own, before the effects."""

    async def planted(runtime: Any, subscription: Any, events: Any) -> None:
        run = await deliveries._run_for(runtime, subscription, events[0])
        name, last = subscription.name, events[-1]

        async def move(session: Any) -> int:
            done = await deliveries._position(session, name, last.slot)
            if last.position > done:
                await deliveries.move_cursor(session, name, last.slot, last.epoch, last.position)
            return done

        done = (await commands.submit(runtime, run, move)).value

        async def body(session: Any) -> None:
            for event in events:
                if event.position > done and await deliveries._receive(
                    session, runtime, name, event
                ):
                    await deliveries.effect(runtime, subscription, event, run, session)

        await commands.submit(runtime, run, body)

    put(deliveries, {"_deliver_batch": planted})


def read_before_write() -> None:
    """A reservation writes what it computed from a level that it read some time before."""
    seen: dict[tuple[int, str], tuple[float, int, int]] = {}

    async def planted(ctx: Context, port: Port, body: Wanted) -> None:
        s = port.stock.c
        where = port.number, body.item
        known = seen.get(where)
        if known is None or not 0 <= machine.monotonic() - known[0] <= STALE_S:
            level = select(s.on_hand, s.reserved).where(s.item == param("item"))
            [(on_hand, reserved)] = await ctx.db.rows(level, item=body.item)
            known = seen[where] = (machine.monotonic(), on_hand, reserved)
        _, on_hand, reserved = known
        if on_hand - reserved < body.quantity:
            raise Conflict("There is too little.")
        overwrite = (
            update(port.stock)
            .where(s.item == param("item"))
            .values(reserved=param("reserved", s.reserved.type))
        )
        await ctx.db.run(overwrite, item=body.item, reserved=reserved + body.quantity)

    put(service, {"promise": planted})


def duplicate_applied() -> None:
    """An event that a subscriber is given a second time has effect a second time: nobody looks at
    its position or at the receipt. It is given again whenever a process starts."""

    async def at_start(*_: Any) -> int:
        return 0

    async def all_of_them(session: Any, runtime: Any, name: str, site: str, events: Any) -> Any:
        return set(events)

    async def nowhere(session: Any) -> Any:
        return {}, []

    put(deliveries, {"_position": at_start, "_receive_all": all_of_them})
    put(dispatch, {"_standing": nowhere})


def answers_forgotten() -> None:
    """The answer to a key is not kept, so that a second try is a second command."""

    def forget(self: Context, kept: Any) -> None:
        """Keep nothing."""

    put(Context, {"keep": forget})


def copies_outside() -> None:
    """The position in another cell's log moves in a transaction of its own, before the copies."""
    whole = Follower._keep

    async def planted(self: Any, step: Any, piece: Any) -> dict[str, int]:
        reached = await whole(self, step, Piece((), piece.position))

        async def body(session: Any) -> None:
            for one in piece.events:
                await following.copy(session, one, 0)

        await self._runtime.storage.write(
            body, site=PLATFORM, deadline=commands.deadline_in(30), across=True
        )
        return reached

    put(Follower, {"_keep": planted})


def epoch_unchecked() -> None:
    """A cell does not look whether the site has left it, in a later epoch, before it writes."""

    def unchecked(self: Fence, site: str, across: bool) -> None:
        """Let everybody write."""

    put(Fence, {"check_write": unchecked})


def token_ignored() -> None:
    """A cell that a site has left, but that nobody has told so yet, answers reads for whoever has
    already written in the other one."""

    def never(here: int, read: int, *, at_home: bool) -> bool:
        return False

    put(calling, {"is_behind": never})


def pruned_copied_again() -> None:
    """A cell knows what it has had from another one's log by the copies that it still has."""
    put(following, {"_COPY": following._COPY.replace("WHERE NOT EXISTS", "WHERE true OR EXISTS")})


PLANTS: Final[dict[str, Plant]] = {
    "position-outside": position_outside,
    "read-before-write": read_before_write,
    "no-fsync": lambda: None,  # it is a setting of the machines: see `sweep`
    "answers-forgotten": answers_forgotten,
    "duplicate-applied": duplicate_applied,
    "copies-outside": copies_outside,
    "pruned-copied-again": pruned_copied_again,
    "epoch-unchecked": epoch_unchecked,
    "token-ignored": token_ignored,
}
