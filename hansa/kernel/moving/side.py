"""Side: what both cells of a move do alike, with the row that they keep of the site.

What must never happen here: rows that go on being erased when what is kept of their site is
another row by now, and they are those of a newer copy.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from hansa.kernel import residence
from hansa.kernel.commands import deadline_in
from hansa.kernel.keeping.belongings import Belonging
from hansa.kernel.keeping.erasing import erase_rows
from hansa.kernel.moving.protocol import OutOfTurn, Row
from hansa.kernel.storage import PLATFORM, Body, Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

T = TypeVar("T")

STEP_S: Final = 30.0


class Side:
    """One cell of a move."""

    def __init__(self, runtime: "Runtime", rows: Sequence[Belonging]) -> None:
        self._runtime = runtime
        self._rows = rows

    async def _serializably(self, body: Body[T]) -> T:
        done = await self._runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(STEP_S), across=True
        )
        return done.value

    async def _change(self, body: Body[T]) -> T:
        """Change what is kept of a site; what this process remembers of it follows."""
        try:
            return await self._serializably(body)
        finally:
            await self._runtime.load_fence()

    async def _erase_rows(self, site: str, kept: Row) -> None:
        """Erase the rows of a site, in small transactions, as long as this is what is kept of it.
        Raises OutOfTurn."""

        async def still(session: Session) -> None:
            await self._still(session, site, kept)

        await erase_rows(self._runtime.storage, self._rows, site, still)

    async def _still(self, session: Session, site: str, kept: Row) -> dict[str, int]:
        """See that what is kept of a site is still this, and have it stay so for a transaction;
        return what is noted with it. Raises OutOfTurn."""
        row, _, noted = await residence.read(session, site, lock=True)
        if row != kept:
            raise OutOfTurn("something else is wanted of it by now")
        return noted
