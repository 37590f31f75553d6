"""Rows: what the indexes of a process ask of the collections' tables."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in
from hansa.kernel.fence import LEFT
from hansa.kernel.ids import ID
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Overloaded
from hansa.kernel.run import Run
from hansa.platform.search.api.collections import (
    Whole,
    read_collection,
    read_collection_by_id,
    unknown,
)
from hansa.platform.search.api.following import Changes, count_changes, read_active, read_changes
from hansa.platform.search.api.learning import Memory, count_searches, read_memory
from hansa.platform.search.api.projecting import adopted, projection_of
from hansa.platform.search.following import Read
from hansa.platform.search.tracking import Count

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

ASK_S: Final = 30.0


class Rows:
    """The tables of the services of a process."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime

    def now_s(self) -> float:
        """Return the instant by the machine's clock, in seconds since 1970."""
        return self._runtime.clock.now_us() / 1e6

    async def named(self, site: ID, name: str) -> Whole:
        """Return a collection by its name or an alias; that of a projection is made when somebody
        searches it first. Raises NotFound, and Overloaded until a projection has brought all that
        it has."""
        whole: Whole | None = await self._ask(site, read_collection, name=name)
        projected = projection_of(name, self._runtime.services)
        if projected is not None and (
            whole is None or whole.projection_version < projected.version
        ):
            await self._runtime.commit(
                lambda ctx: adopted(ctx, projected), site=site, cause="search.adopt",
                service="search", serial_by=f"search:{site}:{name}",
            )  # fmt: skip
            whole = await self._ask(site, read_collection, name=name)
        if whole is None:
            raise unknown(name)
        if not whole.is_filled:
            raise Overloaded(f"{whole.projection} is on its way here; ask again.",
                             slug="index-not-ready", retry_after_s=1)  # fmt: skip
        return whole

    async def whole(self, site: ID, collection: ID) -> Whole | None:
        """Return a collection by its id, None where it was removed."""
        found: Whole | None = await self._ask(site, read_collection_by_id, id=collection)
        return found

    async def memory(self, site: ID, collection: ID) -> Memory:
        """Return what is known of what the visitors of a collection did."""
        found: Memory = await self._ask(site, read_memory, collection=collection)
        return found

    def changes(self, site: ID, collection: ID) -> Read:
        """Return what reads the changes of a collection."""

        async def read(after: int, seq: int) -> Changes | None:
            found: Changes | None = await self._ask(
                site, read_changes, collection=collection, after=after, seq=seq
            )
            return found

        return read

    async def count_changes(self, site: ID, collection: ID, after: int) -> int:
        """Return how many documents of a collection changed after a change."""
        found: int = await self._ask(site, count_changes, collection=collection, after=after)
        return found

    async def active(self, site: ID) -> frozenset[ID]:
        """Return the collections of a site that were not removed: of one that is not here, none."""
        info = await self._runtime.directory.by_id(site)
        if info is None or not self._runtime.is_home(info):
            return frozenset()
        try:
            return frozenset(await self._ask(site, read_active))
        except LEFT:
            return frozenset()

    async def count(self, site: ID, counts: Sequence[Count]) -> None:
        """Write down what was searched for on a site."""
        await self._runtime.commit(
            partial(count_searches, counts=counts), site=site,
            cause="search.count_searches", service="search",
        )  # fmt: skip

    async def _ask(self, site: ID, operation: Operation[..., Any], **arguments: Any) -> Any:
        run = Run(
            await self._runtime.site(site), SYSTEM, operation.id, operation.service, "",
            deadline_in(ASK_S),
        )  # fmt: skip
        return await self._runtime.query(operation, run, arguments)
