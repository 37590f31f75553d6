"""Indexes: those that this process has open, bounded in number, each kept up with its documents.

Found by (site, name); opened when somebody searches, or when documents changed, and closed when
others are used more. The log tells which collections have changed; how far an index is stands in
the index itself. What must never happen here: a search in another site's index, or one that finds
less while an index is being made anew.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hansa.kernel import codec, machine
from hansa.kernel.caller import SYSTEM
from hansa.kernel.catalog import event_name
from hansa.kernel.commands import deadline_in
from hansa.kernel.ids import ID
from hansa.kernel.log import LogEvent
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Overloaded
from hansa.kernel.run import Run
from hansa.kernel.site import slot_of
from hansa.kernel.sqlite.pace import SLOW_S, Pace
from hansa.platform.search.api.collections import (
    Whole,
    read_collection,
    read_collection_by_id,
    unknown,
)
from hansa.platform.search.api.documents import Changed, read_changes
from hansa.platform.search.api.events import CollectionChanged, DocumentsChanged
from hansa.platform.search.api.learning import count_searches, read_memory
from hansa.platform.search.api.projecting import adopted, projection_of
from hansa.platform.search.engine.index import Index, IndexUnusable
from hansa.platform.search.filters import Filter
from hansa.platform.search.folders import Folders, begin, engine_of, is_whole, mark_whole, remove
from hansa.platform.search.opened import Opened, follow, not_ready
from hansa.platform.search.request import Found, SearchRequest
from hansa.platform.search.tracking import Uses, normal
from hansa.platform.search.writers import WRITERS_MAX, Writers

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

logger = logging.getLogger("hansa.search")

OPEN_MAX: Final = 300
"""Indexes open at once; each takes about 200 kB, eight mapped files and a thread that sleeps."""
BEHIND_MAX: Final = 100_000
"""Collections in mind that have changed and are not open; more catch up when they are opened."""
OPEN_S: Final = 5.0
"""How long a search waits for an index that is being made, before it is told to come again."""
ASK_S: Final = 30.0
TROUBLE_S: Final = 1.0
SEARCHES_MAX: Final = 4
"""Slow searches at once, in threads; they run without Python's lock for most of their time."""
INLINE_MAX: Final = 200_000
"""Documents up to which a search is tried on the loop."""
LEARN_MIN: Final = 2_000
"""Documents above which words are read before the first search needs them."""
TEND_S: Final = 1.0
COUNT_S: Final = 10.0
SWEEP_S: Final = 3_600.0
RENEW_SHARE: Final = 0.5
"""The share of the time that making an index anew may take while the old one is searched."""

Key = tuple[ID, ID]
T = TypeVar("T")


class Indexes:
    """The open indexes of a process."""

    def __init__(self, root: Path, *, open_max: int = OPEN_MAX) -> None:
        self._folders = Folders(root)
        self._open_max = open_max
        self._runtime: Runtime | None = None
        self._opened: OrderedDict[Key, Opened] = OrderedDict()
        self._names: dict[tuple[ID, str], Opened] = {}
        self._opening: dict[Key, asyncio.Task[Opened | None]] = {}
        self._missed: set[Key] = set()
        """Those of which something was heard while they were being opened."""
        self._behind: OrderedDict[Key, None] = OrderedDict()
        self._threads = ThreadPoolExecutor(WRITERS_MAX, "hansa-search")
        self._searching = ThreadPoolExecutor(SEARCHES_MAX, "hansa-searching")
        self._pace = Pace()
        self.uses = Uses()
        self._writers = Writers(self._thread)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._others: asyncio.Task[None] | None = None
        self._stopping = False

    # ---- life

    def start(self, runtime: "Runtime") -> None:
        """Begin to hear what changes; before the runtime starts. Raises OSError."""
        self._runtime = runtime
        self._folders.open()
        runtime.dispatcher.tail(event_name(DocumentsChanged), self._documents_changed)
        runtime.dispatcher.tail(event_name(CollectionChanged), self._collection_changed)
        self._spawn(self._tend())

    async def stop(self) -> None:
        """Close all; what is not committed is read again from the documents."""
        self._stopping = True
        await self.write_down()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._searching.shutdown)
        await asyncio.to_thread(self._threads.shutdown)
        for one in list(self._opened.values()):
            self._forget(one)
            one.index.close()
        self._folders.close()

    @property
    def runtime(self) -> "Runtime":
        """The process's runtime."""
        assert self._runtime is not None, "the indexes are not started"
        return self._runtime

    @property
    def folder(self) -> Path:
        """Where the indexes of this process are."""
        return self._folders.own

    # ---- for searches

    def peek(self, site: ID, name: str) -> Opened | None:
        """Return a collection that is open, without waiting."""
        found = self._names.get((site, name))
        if found is not None:
            self._opened.move_to_end((site, found.whole.id))
        return found

    def opened(self, site: ID, collection: ID) -> Opened | None:
        """Return a collection by its id if it is open; looking at it is no use of it."""
        return self._opened.get((site, collection))

    async def find(self, site: ID, name: str) -> Opened:
        """Return a collection of a site by its name or alias, with an index that has at least what
        was there when it was opened. Raises NotFound where there is none, and Overloaded while its
        first index is being made."""
        found = self.peek(site, name)
        if found is not None:
            return found
        whole = await self._whole(site, name)
        try:
            async with asyncio.timeout(OPEN_S):
                found = await self._of(site, whole.id)
        except TimeoutError:
            raise not_ready() from None
        if found is None:
            raise unknown(name)
        if found.whole.revision >= whole.revision and not found.is_closed:
            self._names[site, name] = found
        return found

    async def _whole(self, site: ID, name: str) -> Whole:
        """Return a collection; that of a projection is made when somebody searches it first.
        Raises NotFound, and Overloaded until a projection has brought all that it has."""
        whole: Whole | None = await self._ask(site, read_collection, name=name)
        projected = projection_of(name)
        if projected is not None and (
            whole is None or whole.projection_version < projected.version
        ):
            await self.runtime.commit(
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

    async def search(self, opened: Opened, request: SearchRequest, always: Filter | None) -> Found:
        """Search an open collection: on the loop while that is fast, else in a thread."""
        if always is not None:
            opened.check(always)
        work = partial(
            opened.index.search, request, always=always, curation=opened.curation,
            learned=opened.learned.get(normal(request.q), {}) if opened.learned else {},
        )  # fmt: skip
        name = opened.whole.id
        is_slow = self._pace.watched.get(name, 0.0) > SLOW_S
        if is_slow or opened.index.documents > INLINE_MAX:
            return await asyncio.get_running_loop().run_in_executor(self._searching, work)
        began = time.perf_counter()
        try:
            return work()
        finally:
            self._pace.note(name, time.perf_counter() - began)

    async def _of(self, site: ID, collection: ID) -> Opened | None:
        """Return a collection, opened by one task however many ask; None where it is gone."""
        key = (site, collection)
        found = self._opened.get(key)
        if found is not None:
            return found
        task = self._opening.get(key)
        if task is None:
            task = self._opening[key] = self._spawn(self._open(site, collection))
            task.add_done_callback(partial(self._is_opened, key))
        return await asyncio.shield(task)

    def _is_opened(self, key: Key, _: "asyncio.Task[Opened | None]") -> None:
        self._opening.pop(key, None)
        self._missed.discard(key)

    # ---- opening and closing

    async def _open(self, site: ID, collection: ID) -> Opened | None:
        slot = slot_of(site)
        whole: Whole | None = await self._ask(site, read_collection_by_id, id=collection)
        if whole is None:
            for _, folder, _ in self._folders.generations(slot, site, collection):
                remove(folder)
            return None
        opened: Opened = await self._thread(lambda: self._newest(site, slot, whole))
        try:
            while opened.behind:
                await self._catch_up(opened)
        except BaseException:
            opened.index.close()
            raise
        if opened.generation == whole.generation:
            mark_whole(self._folders.of(slot, site, collection, whole.generation))
        await self._remember(opened)
        if opened.index.documents > LEARN_MIN:
            await self._thread(opened.index.learn_words)
        self._opened[site, collection] = opened
        opened.is_stale = (site, collection) in self._missed
        self._look_after(opened)
        if len(self._opened) > self._open_max:
            self._spawn(self._close(next(iter(self._opened.values()))))
        return opened

    def _newest(self, site: ID, slot: int, whole: Whole) -> Opened:
        """Open the newest index of a collection that can be searched, or begin one."""
        for made in self._folders.generations(slot, site, whole.id):
            generation, folder, schema = made
            if generation > whole.generation or not is_whole(folder):
                continue
            try:
                index = Index.open(engine_of(folder), schema)
            except IndexUnusable as why:
                logger.warning("the index %s is made anew: %s", folder.name, why)
                remove(folder)
                continue
            # Rows that were restored are behind what was made of those before them.
            if whole.forgotten_change <= index.checkpoint <= whole.last_change:
                return Opened(site, slot, whole, index, generation, schema)
            index.close()  # deletions that it has not heard of are forgotten
            remove(folder)
        folder = self._folders.of(slot, site, whole.id, whole.generation)
        index = _new(folder, whole)
        return Opened(site, slot, whole, index, whole.generation, whole.schema)

    async def _close(self, opened: Opened) -> None:
        """Close an index that is used less than others."""
        self._forget(opened)
        await self._writers.forget(opened.index)
        await self._thread(opened.index.close)

    def _forget(self, opened: Opened) -> None:
        opened.is_closed = True
        self._opened.pop((opened.site, opened.whole.id), None)
        self._forget_names(opened)

    def _forget_names(self, opened: Opened) -> None:
        for name in [name for name, one in self._names.items() if one is opened]:
            del self._names[name]

    # ---- what changes

    def _documents_changed(self, event: LogEvent) -> None:
        said = codec.decode(event.data, DocumentsChanged)
        opened = self._opened.get((event.site, said.id))
        if opened is not None:
            opened.wanted = max(opened.wanted, said.change)
            self._look_after(opened)
        elif (event.site, said.id) in self._opening:
            self._missed.add((event.site, said.id))
        elif len(self._behind) < BEHIND_MAX:
            self._behind[event.site, said.id] = None
            if self._others is None and not self._stopping:
                self._others = self._spawn(self._open_behind())

    def _collection_changed(self, event: LogEvent) -> None:
        said = codec.decode(event.data, CollectionChanged)
        opened = self._opened.get((event.site, said.id))
        if opened is not None:
            opened.is_stale = True
            self._look_after(opened)
        elif (event.site, said.id) in self._opening:
            self._missed.add((event.site, said.id))

    def _look_after(self, opened: Opened) -> None:
        """Have tasks bring an open index to where it should be, one of a kind at a time."""
        if self._stopping or opened.is_closed:
            return
        if opened.following is None and (opened.is_stale or opened.behind):
            opened.following = self._spawn(self._bring(opened))
        if opened.renewing is None and opened.generation != opened.whole.generation:
            opened.renewing = self._spawn(self._renew(opened))

    async def _bring(self, opened: Opened) -> None:
        try:
            while (opened.is_stale or opened.behind) and not opened.is_closed:
                if opened.is_stale:
                    await self._read_again(opened)
                else:
                    await self._catch_up(opened)
        except Exception as error:
            await self._trouble(opened, error)
        finally:
            opened.following = None
            self._look_after(opened)

    async def _catch_up(self, opened: Opened) -> None:
        await opened.pace()
        index = opened.index
        async with self._writers.turn(index):
            if index is opened.index and not opened.is_closed:
                await opened.catch_up(self._reader(opened), self._thread)

    async def _read_again(self, opened: Opened) -> None:
        """Go by what is said of a collection now; its names are looked up anew."""
        opened.is_stale = False
        self._forget_names(opened)
        whole = await self._ask(opened.site, read_collection_by_id, id=opened.whole.id)
        if whole is not None:
            opened.take(whole)
            await self._remember(opened)
            self._look_after(opened)
            return
        await self._close(opened)
        for _, folder, _ in self._folders.generations(opened.slot, opened.site, opened.whole.id):
            remove(folder)

    async def _remember(self, opened: Opened) -> None:
        """Read what is known of what visitors did."""
        memory = await self._ask(opened.site, read_memory, collection=opened.whole.id)
        opened.frequent, opened.learned = memory.frequent, memory.learned

    async def _renew(self, opened: Opened) -> None:
        """Make the index of a new schema beside the one that is searched, and change over when it
        has all that the other has."""
        whole = opened.whole
        folder = self._folders.of(opened.slot, opened.site, whole.id, whole.generation)
        try:
            index: Index = await self._thread(lambda: _new(folder, whole))
            while index.checkpoint < max(opened.wanted, opened.index.checkpoint):
                began = machine.monotonic()
                async with self._writers.turn(index):
                    await follow(index, self._reader(opened), self._thread, opened.wanted)
                if opened.is_closed or opened.whole.generation != whole.generation:
                    await self._writers.forget(index)
                    await self._thread(index.close)
                    return
                await asyncio.sleep((machine.monotonic() - began) * (1 / RENEW_SHARE - 1))
            mark_whole(folder)
            before = opened.replace(index, whole.generation, whole.schema)
            await self._writers.forget(before)
            await self._thread(before.close)
            for made in self._folders.generations(opened.slot, opened.site, whole.id):
                if made[0] < whole.generation:
                    remove(made[1])
        except Exception as error:
            await self._trouble(opened, error)
        finally:
            opened.renewing = None
            self._look_after(opened)

    async def _trouble(self, opened: Opened, error: Exception) -> None:
        logger.error("the index of %s cannot keep up: %r", opened.whole.id, error, exc_info=error)
        await asyncio.sleep(TROUBLE_S)

    async def _open_behind(self) -> None:
        """Bring the indexes of collections up that nobody searches, one after the other."""
        try:
            while self._behind:
                (site, collection), _ = self._behind.popitem(last=False)
                try:
                    opened = await self._of(site, collection)
                except Exception as error:  # it is caught up when somebody searches
                    logger.warning("the index of %s stays behind: %r", collection, error)
                    continue
                if opened is not None and not opened.is_closed:
                    self._opened.move_to_end((site, collection), last=False)
        finally:
            self._others = None

    # ---- now and then

    async def _tend(self) -> None:
        swept_at = counted_at = 0.0
        while True:
            await asyncio.sleep(TEND_S)
            now = machine.monotonic()
            try:
                await self._writers.rest_idle()
                await self._compact_one()
                if now - counted_at >= COUNT_S:
                    counted_at = now
                    await self.write_down()
                if now - swept_at >= SWEEP_S:
                    swept_at = now
                    await self.sweep()
            except Exception:
                logger.exception("the indexes cannot be looked after; trying again")

    async def _compact_one(self) -> None:
        for opened in self._opened.values():
            if opened.is_to_compact():
                index = opened.index
                async with self._writers.turn(index):
                    if index is opened.index and opened.is_to_compact():
                        await opened.compact(self._thread)
                return

    async def write_down(self) -> None:
        """Write down what was searched for since the last time."""
        counts = sorted(self.uses.take(), key=lambda one: (one.site, one.collection, one.q))
        for site, group in groupby(counts, key=lambda one: one.site):
            try:
                await self.runtime.commit(
                    partial(count_searches, counts=list(group)), site=site,
                    cause="search.count_searches", service="search",
                )  # fmt: skip
            except Exception as error:  # statistics: nobody waits for them
                logger.warning("searches of %s are not counted: %r", site, error)

    async def sweep(self) -> None:
        """Take away the indexes of sites that are not here any more."""
        for site in await self._thread(self._folders.sites):
            info = await self.runtime.directory.by_id(site)
            if info is not None and self.runtime.is_home(info):
                continue
            for opened in [one for one in self._opened.values() if one.site == site]:
                await self._close(opened)
            await self._thread(partial(remove, self._folders.of_site(slot_of(site), site)))

    # ---- asking

    def _reader(self, opened: Opened) -> Callable[[int], Awaitable[Sequence[Changed]]]:
        async def read(after: int) -> Sequence[Changed]:
            found: Sequence[Changed] = await self._ask(
                opened.site, read_changes, collection=opened.whole.id, after=after
            )
            return found

        return read

    async def _ask(self, site: ID, operation: Operation[..., Any], **arguments: Any) -> Any:
        run = Run(
            await self.runtime.site(site), SYSTEM, operation.id, operation.service, "",
            deadline_in(ASK_S),
        )  # fmt: skip
        return await self.runtime.query(operation, run, arguments)

    async def _thread(self, errand: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, errand)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work, name="hansa-search")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _new(folder: Path, whole: Whole) -> Index:
    """Begin an index from nothing."""
    begin(folder, whole.schema)
    return Index.open(engine_of(folder), whole.schema)
