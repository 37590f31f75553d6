"""Face: what a mover, and the other cell, may ask of a cell about a site that moves.

Everything may be asked again, by anybody, at any time: what is out of turn is refused.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hansa.kernel import codec, residence
from hansa.kernel.answer import Answer
from hansa.kernel.commands import deadline_in
from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.moving.arriving import Arriving
from hansa.kernel.moving.leaving import Leaving
from hansa.kernel.moving.messages import PATH, Ask, MoveOutOfTurn, Sight, Take, Want
from hansa.kernel.moving.protocol import OutOfTurn
from hansa.kernel.problems import Invalid, NotFound
from hansa.kernel.relations import sql
from hansa.kernel.storage import PLATFORM, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

WAIT_S: Final = 10.0
"""How long one question waits for what takes long; then it is asked again."""
LOOK_S: Final = 10.0
_MESSAGES: Final[dict[str, type[Any]]] = {"read": Want, "take": Take}


class MovingFace:
    """Answers about sites that move."""

    def __init__(self, runtime: "Runtime", outside: Mapping[str, str]) -> None:
        """`outside` is where what rows of a table stand for is kept, by the table's name."""
        rows = belongings(runtime.services, platform=False)
        self._runtime = runtime
        names = {one.name for one in rows}
        self._outside = {table: at for table, at in outside.items() if table in names}
        self._leaving = Leaving(runtime, rows)
        self._arriving = Arriving(runtime, rows)
        self._erasing: dict[Ask, asyncio.Task[None]] = {}

    async def stop(self) -> None:
        """Break off what is under way."""
        await self._arriving.stop()
        for task in self._erasing.values():
            task.cancel()
        await asyncio.gather(*self._erasing.values(), return_exceptions=True)

    async def respond(self, path: str, body: bytes) -> Answer:
        """Return the answer to a message. Raises Problem: `move-out-of-turn` for what is too late
        or too early."""
        verb = path[len(PATH) :]
        try:
            message = codec.decode(body, _MESSAGES.get(verb, Ask))
        except msgspec.MsgspecError as error:
            raise Invalid(f"That is no message about a move: {error}.") from None
        try:
            return Answer(200, codec.encode(await self._do(verb, message)))
        except OutOfTurn as late:
            raise MoveOutOfTurn(f"{message.site}: {late}.") from None

    async def _do(self, verb: str, message: Any) -> Any:
        if verb == "begin":
            return await self._leaving.begin(message)
        if verb == "read":
            return await self._leaving.read(message)
        if verb == "take":
            rows = await self._arriving.take(message, WAIT_S)
            sight = await self._look(message.site)
            return msgspec.structs.replace(sight, finished=rows is not None, rows=rows or 0)
        if verb == "erase":
            finished = await self._erase(message)
            return msgspec.structs.replace(await self._look(message.site), finished=finished)
        if verb in ("fence", "keep", "leave"):
            await getattr(self._leaving, verb)(message)
        elif verb in ("prepare", "clear"):
            await getattr(self._arriving, verb)(message)
        elif verb != "look":
            raise NotFound("There is no such path.", slug="no-such-path")
        return await self._look(message.site)

    async def _erase(self, ask: Ask) -> bool:
        task = self._erasing.get(ask)
        if task is None:
            task = self._erasing[ask] = asyncio.create_task(self._leaving.erase(ask))
            task.add_done_callback(lambda _: self._erasing.pop(ask, None))
        done, _ = await asyncio.wait([task], timeout=WAIT_S)
        if done:
            task.result()
        return bool(done)

    async def _look(self, site: str) -> Sight:
        """Return what is kept of a site; what this process remembers of it is that, or newer, when
        this returns: nobody is told of a fence that is not up here."""

        async def body(session: Session) -> Sight:
            row, _, _ = await residence.read(session, site)
            outside: dict[str, tuple[str, bool]] = {}
            for table, place in self._outside.items():
                text = f'SELECT 1 FROM "{table}" WHERE site = ?1 LIMIT 1'
                found = await session.fetch(sql(session, text), (site,))
                outside[table] = (place, bool(found))
            if row is None:
                return Sight(None, 0, 0, outside)
            return Sight(row.state, row.epoch, row.token, outside)

        sight = await self._runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(LOOK_S), across=True
        )
        await self._runtime.load_fence()
        self._runtime.directory.forget(site)
        return sight
