"""Opened: a collection of a site as this process searches it, and how its index keeps up.

What must never happen here: a search that waits for what nobody brings.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from hansa.kernel import machine
from hansa.kernel.ids import ID
from hansa.kernel.problems import Denied, Overloaded, Unprocessable
from hansa.platform.search import filters, rules
from hansa.platform.search.analysis import analyzer
from hansa.platform.search.api.collections import Whole
from hansa.platform.search.api.following import CHANGES_MAX, Changes
from hansa.platform.search.curation import Curation, Rule
from hansa.platform.search.engine.asking import kind_of
from hansa.platform.search.engine.index import COMPACT_MAX, Index
from hansa.platform.search.filters import Filter, is_same
from hansa.platform.search.folders import has_room_twice, segments_when_made
from hansa.platform.search.following import InThread, Read, Removed, follow
from hansa.platform.search.portions import COMMIT_MAX, Portions
from hansa.platform.search.request import SearchRequest
from hansa.platform.search.schema import Schema
from hansa.platform.search.visitors import Visitors, fits

logger = logging.getLogger("hansa.search")

COMMIT_S: Final = 0.1
"""The least time between two commits of an index: each costs some fsyncs, however much is in it."""
QUIET_S: Final = 5.0
"""How long an index has no commit before it is compacted: scores depend on documents alone then.
One that is too large for that is made anew, if it is worn."""
COMPACT_REST: Final = 50.0
"""How many times as long as it took it is not done again."""
LOOK_S: Final = 60.0
"""How long after a look at a large index there is no other."""
FITTING_MAX: Final = 256


class NoRoom(Exception):
    """An index is worn, and there is no room on the disk for another one beside it."""


class _Outdated(Exception):
    """What is said of a collection has changed."""


class Opened:
    """A collection with its index, open."""

    def __init__(
        self, site: ID, slot: int, whole: Whole, index: Index, generation: int, schema: Schema
    ) -> None:
        self.site = site
        self.slot = slot
        self.whole = whole
        self.index = index
        self.generation = generation
        """Of the schema that the index is made by; it may be older than the collection's."""
        self.schema = schema
        self.curation = Curation()
        """What of the collection's curation fits the schema of the index."""
        self._fitting: dict[int, Filter] = {}
        self._visitors = Visitors()
        self.learned: Mapping[str, Mapping[str, float]] = {}
        self.frequent: Sequence[str] = ()
        """Queries that found something, the most frequent first."""
        self.wanted = 0
        """The number of the newest change that is known to be there."""
        self.is_stale = False
        """Whether what is said of the collection may have changed since it was read."""
        self.is_closed = False
        self.is_spoilt = False
        """Whether the index cannot be followed or fully searched any more: another one is made, and
        takes its place; until then it answers what it can."""
        self.portions = Portions()
        """How the index is written; ordinarily not in large ones."""
        self.is_worn = False
        """Whether another index of the same is made and takes its place, since searches are slow in
        this one, or much of it is deleted."""
        self.following: asyncio.Task[None] | None = None
        self.renewing: asyncio.Task[None] | None = None
        self.pause_s = 0.0
        """How long nobody made the index anew when that had failed."""
        self.is_pausing = False
        self.is_settled = False
        """Whether the index has been found compact since its last commit."""
        self.compact_after = 0.0
        self._committed_at = 0.0
        self._advanced = asyncio.Event()
        self.take(whole)

    def take(self, whole: Whole) -> None:
        """Go by what is said of the collection now, unless that is known already; its index may
        still be of an older schema."""
        if whole.revision < self.whole.revision:
            return
        self.whole = whole
        self.wanted = max(self.wanted, whole.last_change)
        self._fit()

    def _fit(self) -> None:
        """Go by what the index's schema allows of rules and the open filter."""
        self._fitting.clear()
        self.curation = fitting(self.whole.curation, self.schema)
        self._visitors.take(self.whole, self.schema, is_first=self.generation == 1)

    @property
    def is_open(self) -> bool:
        """Whether visitors may search, by `open_filter`."""
        return self._visitors.is_open

    @property
    def open_filter(self) -> Filter | None:
        """What of it they see."""
        return self._visitors.filter

    def check(self, always: Filter) -> None:
        """Raise Denied where a filter that must hold does not fit the schema: nobody is told what
        it says, and nothing is found without it; and Overloaded where it fits the schema that an
        index is being made of."""
        if self._fitting.get(id(always)) is always:
            return
        if not is_same(always, self.schema, self.whole.schema):
            if fits(always, self.whole.schema):
                raise not_ready()
            raise Denied(
                "What may be found here is said by a filter that does not fit the collection's"
                " schema any more. Ask who made the key, or the collection, for another one.",
                slug="grant-outdated",
            )
        if len(self._fitting) >= FITTING_MAX:
            self._fitting.clear()
        self._fitting[id(always)] = always

    def is_valid_soon(self, request: SearchRequest) -> bool:
        """Tell whether a request that the index's schema does not allow is allowed by the schema
        that another index is being made of."""
        if self.generation == self.whole.generation:
            return False
        try:
            kind_of(request, self.whole.schema)
            filters.check(filters.parse(request.filter), self.whole.schema)
        except Unprocessable:
            return False
        return True

    @property
    def behind(self) -> int:
        """How many changes the index has not yet and is to get, at most."""
        return 0 if self.is_spoilt else max(0, self.wanted - self.index.checkpoint)

    @property
    def target(self) -> int:
        """Which change an index has to have that takes the place of this one."""
        return self.wanted if self.is_spoilt else max(self.wanted, self.index.checkpoint)

    @property
    def is_to_replace(self) -> bool:
        """Whether another index is to be made that takes the place of this one."""
        return self.is_spoilt or self.is_worn or self.generation != self.whole.generation

    def spoil(self) -> None:
        """Give the index up. What it was said to be behind of may be of another history."""
        self.is_spoilt = self.is_stale = True
        self.wanted = 0

    async def wait_for(self, change: int, deadline: float) -> bool:
        """Return whether the index has a change by a deadline (monotonic seconds)."""
        while self.index.checkpoint < change:
            left = deadline - machine.monotonic()
            if left <= 0 or self.is_closed:
                return False
            self._advanced.clear()
            try:
                async with asyncio.timeout(left):
                    await self._advanced.wait()
            except TimeoutError:
                pass
        return True

    async def pace(self) -> None:
        """Wait until the next commit may come."""
        wait_s = self._committed_at + COMMIT_S - machine.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def catch_up(self, read: Read, in_thread: InThread, most: int = COMMIT_MAX) -> None:
        """Bring the index nearer to where the documents are, by one commit of at most so many
        changes. Where more has changed than documents, that is to be read first. Raises
        IndexUnusable."""
        heed = partial(self._heed, in_thread)
        try:
            await follow(self.index, read, in_thread, heed, most)
        except (_Outdated, Removed):
            self.is_stale = True
        self._committed_at = machine.monotonic()
        self.is_settled = False
        self.wanted = max(self.wanted, self.index.checkpoint)
        self._advanced.set()

    async def _heed(self, in_thread: InThread, found: Changes) -> None:
        """Take no change by an open filter that may not be the one that was there when it came."""
        if found.revision != self.whole.revision:
            raise _Outdated
        judge = self._visitors.judge
        if judge is not None:
            hidden: frozenset[str] = await in_thread(partial(judge.hidden, found.changes))
            self._visitors.hide(judge, hidden)

    async def look_through(self, read: Read, in_thread: InThread) -> None:
        """Find what of the documents visitors must not see any more, where no filter can tell: one
        may have a value of a field that an earlier schema had."""
        judge, after = self._visitors.judge, 0
        while judge is not None and self._visitors.judge is judge and self._visitors.is_unsure:
            found = await read(after, 0)
            changes = () if found is None else found.changes
            hidden: frozenset[str] = await in_thread(partial(judge.hidden, changes))
            are_all = len(changes) < CHANGES_MAX
            self._visitors.hide(judge, hidden, are_all=are_all)
            after = after if are_all else changes[-1].change

    def is_to_compact(self) -> bool:
        """Tell whether the index should be compacted now: it has been quiet for a while, is not too
        large for its writes to wait, and what that cost the last time was long ago."""
        is_quiet = not self.behind and machine.monotonic() - self._committed_at >= QUIET_S
        return is_quiet and self._is_due() and self.index.documents <= COMPACT_MAX

    def is_to_look_at(self) -> bool:
        """Tell whether the index is too large for that, and may be worn. It need not be quiet:
        those that change all the time are the ones that wear."""
        is_busy = self.is_to_replace or self.renewing is not None or self.is_pausing
        return self._is_due() and self.index.documents > COMPACT_MAX and not is_busy

    def _is_due(self) -> bool:
        """Tell whether there is something to do that was not done just now."""
        is_over = self.is_settled or self.is_closed or self.is_spoilt
        return not is_over and machine.monotonic() >= self.compact_after

    async def look_at(self, in_thread: InThread) -> None:
        """Find out whether the index is worn. Raises NoRoom where there is no place for another."""
        index = self.index
        is_worn: bool = await in_thread(partial(_is_worn, index))
        if index is self.index:
            self.is_worn, self.is_settled = is_worn, not is_worn
        self.compact_after = machine.monotonic() + LOOK_S

    async def compact(self, in_thread: InThread) -> None:
        """Compact the index; called by who has its turn to write."""
        began = machine.monotonic()
        if await in_thread(lambda: self.index.is_loose):
            await in_thread(self.index.compact)
        self.is_settled = True
        self.leave(began)

    def leave(self, began: float) -> None:
        """Have the index left as it is for long, by what it took since it was `began`."""
        now = machine.monotonic()
        self.compact_after = now + (now - began) * COMPACT_REST

    def replace(self, index: Index, generation: int, schema: Schema) -> Index:
        """Search in another index from now on; return the one before."""
        before, self.index, self.generation = self.index, index, generation
        self.schema = schema
        self.is_spoilt = self.is_worn = False
        self.is_settled = False
        self._fit()
        self._advanced.set()
        return before


def _is_worn(index: Index) -> bool:
    folder = index.folder.parent
    if not index.is_worn(segments_when_made(folder)):
        return False
    if not has_room_twice(folder):
        raise NoRoom("the disk has no room for another one beside it")
    return True


def not_ready() -> Overloaded:
    """Return the refusal of a search in an index that is being made."""
    return Overloaded(
        "The index of this collection is being made; ask again.",
        slug="index-not-ready", retry_after_s=2,
    )  # fmt: skip


def fitting(curation: Curation, schema: Schema) -> Curation:
    """Return a curation without the rules that a schema has left behind: a field may be gone."""
    words = words_of(schema)
    fit: list[Rule] = []
    for rule in curation.rules:
        try:
            rules.check(rule, schema, words)
        except Unprocessable as refused:
            logger.warning("the rule %s does not hold: %s", rule.id, refused.detail)
        else:
            fit.append(rule)
    return curation if len(fit) == len(curation.rules) else replace(curation, rules=tuple(fit))


def words_of(schema: Schema) -> rules.Words:
    """Return what makes the words of a text as a collection compares them."""
    return analyzer(schema.locale).terms
