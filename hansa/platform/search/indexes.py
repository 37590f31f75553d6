"""Indexes: those that this process has open, bounded in number, each kept up with its documents.

Found by (site, name); opened when somebody searches, or when documents changed, and closed when
others are used more. The log tells which collections have changed; how far an index is stands in
the index itself. What must never happen here: a search in another site's index, one that finds less
while an index is being made anew, or two who have one folder open.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hansa.kernel import codec, machine
from hansa.kernel.catalog import event_name
from hansa.kernel.ids import ID
from hansa.kernel.log import LogEvent
from hansa.kernel.site import slot_of
from hansa.platform.search.api.collections import unknown
from hansa.platform.search.api.events import CollectionChanged, DocumentsChanged
from hansa.platform.search.engine.asking import InvalidSearch
from hansa.platform.search.engine.index import COMPACT_MAX, IndexUnusable, NotWritten
from hansa.platform.search.filters import Filter, InvalidFilter
from hansa.platform.search.folders import Folders, mark_whole
from hansa.platform.search.making import newest, renew
from hansa.platform.search.opened import Opened, not_ready
from hansa.platform.search.portions import Portions
from hansa.platform.search.request import Found, SearchRequest
from hansa.platform.search.rows import Rows
from hansa.platform.search.searchers import Searchers, is_large
from hansa.platform.search.tending import compact_one, sweep, worn_one, write_down
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
TROUBLE_S: Final = 1.0
PAUSE_MAX_S: Final = 300.0
"""The longest that an index waits which could not be made anew, again and again."""
LEARN_MIN: Final = 2_000
"""Documents above which words are read before the first search needs them."""
ANEW_S: Final = 600.0
"""How long an index that was made anew is not made anew again because a search fails in it."""
ANEW_MAX: Final = 1_000
DAMAGES: Final = ("Data corrupted", "Failed to open file for read")
"""How the engine's errors begin, on writing, that no other try ends."""
TEND_S: Final = 1.0
COUNT_S: Final = 10.0
SWEEP_S: Final = 600.0

Key = tuple[ID, ID]
T = TypeVar("T")


class Indexes:
    """The open indexes of a process."""

    def __init__(self, root: Path, *, open_max: int = OPEN_MAX) -> None:
        self._folders = Folders(root)
        self._open_max = open_max
        self._opened: OrderedDict[Key, Opened] = OrderedDict()
        self._names: dict[tuple[ID, str], Opened] = {}
        self._opening: dict[Key, asyncio.Task[Opened | None]] = {}
        self._closing: dict[Key, asyncio.Event] = {}
        """Set when the folders of a collection are nobody's any more."""
        self._missed: set[Key] = set()
        """Those of which something was heard while they were being opened."""
        self._behind: OrderedDict[Key, None] = OrderedDict()
        self._anew: OrderedDict[Key, float] = OrderedDict()
        """When those were made anew in which a search failed."""
        self._threads = ThreadPoolExecutor(WRITERS_MAX, "hansa-search")
        self._searchers = Searchers()
        self._writers = Writers(self._thread)
        self.uses = Uses()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._others: asyncio.Task[None] | None = None
        self._stopping = False

    # ---- life

    def start(self, runtime: "Runtime") -> None:
        """Begin to hear what changes; before the runtime starts. Raises OSError."""
        self._rows = Rows(runtime)
        self._folders.open()
        runtime.dispatcher.tail(event_name(DocumentsChanged), self._documents_changed)
        runtime.dispatcher.tail(event_name(CollectionChanged), self._collection_changed)
        self._spawn(self._tend())

    async def stop(self) -> None:
        """Close all; what is not committed is read again from the documents."""
        self._stopping = True
        await self.write_down()
        while self._tasks:  # some begin others as they end
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._searchers.stop)
        await asyncio.to_thread(self._threads.shutdown)
        for one in list(self._opened.values()):
            self._forget(one)
            one.index.close()
        self._folders.close()

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
        whole = await self._rows.named(site, name)
        try:
            async with asyncio.timeout(OPEN_S):
                found = await self._of(site, whole.id)
        except TimeoutError:
            raise not_ready() from None
        if found is None:
            raise unknown(name)
        if found.whole.revision < whole.revision:
            await self._read_again(found)
        # Of a later revision it may have other names.
        if found.whole.revision == whole.revision and not found.is_closed:
            self._names[site, name] = found
        return found

    async def search(self, opened: Opened, request: SearchRequest, always: Filter | None) -> Found:
        """Search an open collection: on the loop while that is fast, else in a thread. Raises
        Overloaded where the index is damaged, and made anew."""
        if always is not None:
            opened.check(always)
        index = opened.index
        work = partial(
            index.search, request, always=always, snapshot=index.snapshot, curation=opened.curation,
            learned=opened.learned.get(normal(request.q), {}) if opened.learned else {},
        )  # fmt: skip
        try:
            return await self._searchers.run(
                opened.whole.id, index.documents, work, large=is_large(request, always)
            )
        except (InvalidSearch, InvalidFilter):
            if opened.is_valid_soon(request):
                raise not_ready() from None
            raise
        except (IndexUnusable, OSError) as damage:
            if index is opened.index and not opened.is_spoilt:
                if not self._may_be_spoilt(opened):
                    raise
                self._spoil(opened, damage)
                self._look_after(opened)
            raise not_ready() from damage

    async def suggest(self, opened: Opened, q: str, limit: int) -> list[str]:
        """Return what a beginning may become, by the words of an open collection."""
        index = opened.index
        work = partial(index.suggest, q, limit)
        return await self._searchers.run(f"{opened.whole.id} words", index.documents, work)

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
        slot, key = slot_of(site), (site, collection)
        if key in self._closing:
            await self._closing[key].wait()
        whole = await self._rows.whole(site, collection)
        if whole is None:
            await self._remove(site, slot, collection)
            return None
        begin = partial(newest, self._folders, site, slot, whole)
        opened: Opened = await self._thread(begin)
        try:
            await self._complete(opened)
        except IndexUnusable as why:
            logger.warning("the index of %s is made anew: %s", collection, why)
            await self._remove(site, slot, collection)
            opened = await self._thread(begin)
            await self._complete(opened)
        if opened.is_closed:
            return None
        self._opened[key] = opened
        opened.is_stale |= key in self._missed
        self._look_after(opened)
        if len(self._opened) > self._open_max:
            self._spawn(self._close(next(iter(self._opened.values()))))
        return opened

    async def _complete(self, opened: Opened) -> None:
        """Bring an index that is being opened to where its documents are. Raises IndexUnusable, and
        closes it."""
        try:
            opened.portions = await self._portions(opened)
            await self._catch_up(opened)  # also where it has all: is it of these rows?
            while (opened.is_stale or opened.behind) and not opened.is_closed:
                await self._advance(opened)
            opened.portions = Portions()
            if opened.is_closed:
                return
            mark_whole(opened.index.folder.parent, opened.index.segments)
            await self._remember(opened)
            if opened.index.documents > LEARN_MIN:
                await self._thread(opened.index.learn_words)
        except BaseException:
            opened.is_closed = True  # so that nobody goes on with it whom it began
            if opened.renewing is not None:
                await asyncio.wait({opened.renewing})
            await self._writers.shut(opened.index)
            raise

    async def _portions(self, opened: Opened) -> Portions:
        """Return how an index is written that is being opened. Changes are counted only where they
        may be many: of a document there can have been several."""
        if opened.behind <= COMPACT_MAX:
            return Portions()
        after = opened.index.checkpoint
        return Portions(await self._rows.count_changes(opened.site, opened.whole.id, after))

    async def _close(self, opened: Opened, *, remove: bool = False) -> None:
        """Close an index, and take it away if wanted; who opens it again waits for that."""
        if opened.is_closed:
            return
        key = (opened.site, opened.whole.id)
        self._forget(opened)
        done = self._closing[key] = asyncio.Event()
        try:
            if opened.renewing is not None:
                await asyncio.wait({opened.renewing})
            await self._writers.shut(opened.index)
            if remove:
                await self._remove(opened.site, opened.slot, opened.whole.id)
        finally:
            del self._closing[key]
            done.set()

    def _forget(self, opened: Opened) -> None:
        opened.is_closed = True
        self._opened.pop((opened.site, opened.whole.id), None)
        self._forget_names(opened)

    def _forget_names(self, opened: Opened) -> None:
        for name in [name for name, one in self._names.items() if one is opened]:
            del self._names[name]

    async def _remove(self, site: ID, slot: int, collection: ID) -> None:
        await self._thread(partial(self._folders.remove, slot, site, collection))

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
            self._forget_names(opened)  # searches ask anew, however long the index has to write
            self._look_after(opened)
        elif (event.site, said.id) in self._opening:
            self._missed.add((event.site, said.id))

    def _look_after(self, opened: Opened) -> None:
        """Have tasks bring an open index to where it should be, one of a kind at a time."""
        if self._stopping or opened.is_closed:
            return
        if opened.following is None and (opened.is_stale or opened.behind):
            opened.following = self._spawn(self._bring(opened))
        if opened.renewing is None and not opened.is_pausing and opened.is_to_replace:
            opened.renewing = self._spawn(self._renew(opened))

    async def _bring(self, opened: Opened) -> None:
        try:
            while (opened.is_stale or opened.behind) and not opened.is_closed:
                await self._advance(opened)
        except Exception as error:
            await self._trouble(opened, error)
        finally:
            opened.following = None
            self._look_after(opened)

    async def _advance(self, opened: Opened) -> None:
        await (self._read_again(opened) if opened.is_stale else self._catch_up(opened))

    async def _catch_up(self, opened: Opened) -> None:
        await opened.pace()
        index, read = opened.index, self._rows.changes(opened.site, opened.whole.id)
        async with opened.portions.turn(self._writers, index) as most:
            if index is opened.index and not opened.is_closed:
                await opened.catch_up(read, self._thread, most)

    async def _read_again(self, opened: Opened) -> None:
        """Go by what is said of a collection now."""
        opened.is_stale = False
        whole = await self._rows.whole(opened.site, opened.whole.id)
        if whole is None:
            await self._close(opened, remove=True)
            return
        opened.take(whole)
        self._forget_names(opened)  # also those that it was found by meanwhile, as it was
        await opened.look_through(self._rows.changes(opened.site, opened.whole.id), self._thread)
        await self._remember(opened)
        self._look_after(opened)

    async def _remember(self, opened: Opened) -> None:
        """Read what is known of what visitors did."""
        memory = await self._rows.memory(opened.site, opened.whole.id)
        opened.frequent, opened.learned = memory.frequent, memory.learned

    async def _renew(self, opened: Opened) -> None:
        read = self._rows.changes(opened.site, opened.whole.id)
        read_whole = partial(self._rows.whole, opened.site, opened.whole.id)
        is_worn, began = opened.is_worn, machine.monotonic()
        try:
            await renew(opened, self._folders, self._writers, read, read_whole)
            opened.pause_s = 0.0
        except Exception as error:
            self._later(opened, error)
        finally:
            if is_worn:
                opened.leave(began)
            opened.is_worn = False
            opened.renewing = None
            self._look_after(opened)

    async def _trouble(self, opened: Opened, error: Exception) -> None:
        """Try again later; what no other try ends is given up."""
        is_damage = isinstance(error, NotWritten) and str(error).startswith(DAMAGES)
        if is_damage or isinstance(error, IndexUnusable):
            self._spoil(opened, error)
        else:
            await self._pause(opened, error)

    async def _pause(self, opened: Opened, error: Exception) -> None:
        logger.error("the index of %s cannot keep up: %r", opened.whole.id, error, exc_info=error)
        await asyncio.sleep(TROUBLE_S)

    def _later(self, opened: Opened, error: Exception) -> None:
        """Have an index that could not be made anew left for a while, each time for longer: what
        ends this, as room on a full disk, may be long in coming. Nobody who closes it waits."""
        opened.pause_s = min(max(TROUBLE_S, opened.pause_s * 2), PAUSE_MAX_S)
        opened.is_pausing = True
        logger.error(
            "the index of %s cannot be made anew, trying again in %.0f s: %r",
            opened.whole.id, opened.pause_s, error, exc_info=error,
        )  # fmt: skip
        asyncio.get_running_loop().call_later(opened.pause_s, self._again, opened)

    def _again(self, opened: Opened) -> None:
        opened.is_pausing = False
        self._look_after(opened)

    def _spoil(self, opened: Opened, why: Exception) -> None:
        """Have an index that cannot be used made anew beside."""
        logger.error("the index of %s is made anew: %s", opened.whole.id, why)
        opened.spoil()

    def _may_be_spoilt(self, opened: Opened) -> bool:
        """Tell whether an index in which a search failed is to be made anew; not if that was done a
        moment ago, as the fault is then the search's."""
        key, now = (opened.site, opened.whole.id), machine.monotonic()
        if now - self._anew.get(key, -ANEW_S) < ANEW_S:
            return False
        self._anew[key] = now
        if len(self._anew) > ANEW_MAX:
            self._anew.popitem(last=False)
        return True

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
        swept_at = counted_at = -SWEEP_S
        while True:
            await asyncio.sleep(TEND_S)
            now = machine.monotonic()
            try:
                await self._writers.rest_idle()
                await compact_one(self._opened.values(), self._writers)
                worn = await worn_one(self._opened.values(), self._thread)
                if worn is not None:
                    self._look_after(worn)
                if now - counted_at >= COUNT_S:
                    counted_at = now
                    await self.write_down()
                if now - swept_at >= SWEEP_S:
                    swept_at = now
                    await self.sweep()
            except Exception:
                logger.exception("the indexes cannot be looked after; trying again")

    async def write_down(self) -> None:
        """Write down what was searched for since the last time."""
        await write_down(self._rows, self.uses)

    async def sweep(self) -> None:
        """Take away the indexes of what is not here any more."""
        await sweep(self._folders, self._rows, self._thread, self._drop)

    async def _drop(self, site: ID, slot: int, collection: ID) -> None:
        opened = self._opened.get((site, collection))
        if opened is not None:
            await self._close(opened, remove=True)
        elif (site, collection) not in self._opening:
            await self._remove(site, slot, collection)

    async def _thread(self, errand: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, errand)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work, name="hansa-search")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
