"""Opened: a collection of a site as this process searches it, and how its index keeps up.

The index follows the documents by the numbers of their changes. What must never happen here: an
index that says it has a change and has not, or a search that waits for what nobody brings.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from hansa.kernel import machine
from hansa.kernel.ids import ID
from hansa.kernel.problems import Denied, Overloaded, Unprocessable
from hansa.platform.search import filters, rules
from hansa.platform.search.analysis import analyzer
from hansa.platform.search.api.collections import Whole
from hansa.platform.search.api.documents import Changed
from hansa.platform.search.curation import Curation, Rule
from hansa.platform.search.engine.index import Index
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.filters import Filter, InvalidFilter
from hansa.platform.search.schema import Schema

logger = logging.getLogger("hansa.search")

COMMIT_S: Final = 0.1
"""The least time between two commits of an index: each costs some fsyncs, however much is in it."""
QUIET_S: Final = 5.0
"""How long an index has no commit before it is compacted: scores depend on documents alone then."""
COMPACT_MAX: Final = 100_000
"""Documents of an index that is compacted, at most: its writes wait for some 20 s."""
COMPACT_REST: Final = 50.0
"""How many times as long as it took it is not done again."""
FITTING_MAX: Final = 256
COMMIT_MAX: Final = 20_000
"""Documents in one commit, while an index is being made."""

Read = Callable[[int], Awaitable[Sequence[Changed]]]
"""Reads the next changes after a number."""
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


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
        self.open_filter: Filter | None = None
        self.is_open = False
        """Whether visitors may search, by `open_filter`."""
        self.is_held = False
        """Whether they see what was there before the collection's open filter changed, as the index
        has not yet the fields that the new one speaks of."""
        self.learned: Mapping[str, Mapping[str, float]] = {}
        self.frequent: Sequence[str] = ()
        """Queries that found something, the most frequent first."""
        self.wanted = 0
        """The number of the newest change that is known to be there."""
        self.is_stale = False
        """Whether what is said of the collection may have changed since it was read."""
        self.is_closed = False
        self.following: asyncio.Task[None] | None = None
        self.renewing: asyncio.Task[None] | None = None
        self.is_settled = False
        """Whether the index has been found compact since its last commit."""
        self.compact_after = 0.0
        self._committed_at = 0.0
        self._advanced = asyncio.Event()
        self.take(whole)

    def take(self, whole: Whole) -> None:
        """Go by what is said of the collection now; its index may still be of an older schema."""
        self.whole = whole
        self.wanted = max(self.wanted, whole.last_change)
        self._fit()

    def _fit(self) -> None:
        """Go by what the index's schema allows of rules and the open filter. Where it has not yet
        the fields of that filter, the one before goes on over the documents as they are: those to
        come may be such as only the new one hides."""
        whole, was_open = self.whole, self.is_open
        self.curation = fitting(whole.curation, self.schema)
        wanted = filters.parse(whole.open_filter) if whole.open_filter else None
        self.is_open = whole.open_filter is not None
        self.is_held = was_open and not fits(wanted, self.schema) and fits(wanted, whole.schema)
        if not self.is_held:
            self.open_filter = wanted

    def check(self, always: Filter) -> None:
        """Raise Denied where a filter that must hold does not fit the schema: nobody is told what
        it says, and nothing is found without it; and Overloaded where it fits the schema that an
        index is being made of."""
        if self._fitting.get(id(always)) is always:
            return
        if not fits(always, self.schema):
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

    @property
    def behind(self) -> int:
        """How many changes the index has not yet and is to get, at most."""
        return 0 if self.is_held else max(0, self.wanted - self.index.checkpoint)

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

    async def catch_up(self, read: Read, in_thread: InThread) -> None:
        """Bring the index nearer to where the documents are, by one commit of bounded size."""
        await follow(self.index, read, in_thread, self.wanted)
        self._committed_at = machine.monotonic()
        self.is_settled = False
        self.wanted = max(self.wanted, self.index.checkpoint)
        self._advanced.set()

    def is_to_compact(self) -> bool:
        """Tell whether the index should be compacted now: it has been quiet for a while, is not too
        large for its writes to wait, and what that cost the last time was long ago."""
        now = machine.monotonic()
        return (
            not (self.is_settled or self.behind or self.is_closed)
            and now - self._committed_at >= QUIET_S
            and now >= self.compact_after
            and self.index.documents <= COMPACT_MAX
        )

    async def compact(self, in_thread: InThread) -> None:
        """Compact the index; called by who has its turn to write."""
        began = machine.monotonic()
        if await in_thread(lambda: self.index.is_loose):
            await in_thread(self.index.compact)
        self.is_settled = True
        self.compact_after = machine.monotonic() + (machine.monotonic() - began) * COMPACT_REST

    def replace(self, index: Index, generation: int, schema: Schema) -> Index:
        """Search in another index from now on; return the one before."""
        before, self.index, self.generation = self.index, index, generation
        self.schema = schema
        self.is_settled = False
        self._fitting.clear()
        self._fit()
        self._advanced.set()
        return before


def not_ready() -> Overloaded:
    """Return the refusal of a search in an index that is being made."""
    return Overloaded(
        "The index of this collection is being made; ask again.",
        slug="index-not-ready", retry_after_s=2,
    )  # fmt: skip


def fits(filter: Filter | None, schema: Schema) -> bool:
    """Tell whether a schema allows a filter."""
    try:
        filters.check(filter, schema)
    except InvalidFilter:
        return False
    return True


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


async def follow(index: Index, read: Read, in_thread: InThread, known: int) -> None:
    """Write what comes after an index's checkpoint and commit, at most `COMMIT_MAX` documents.
    `known` is a change that was committed before: where nothing is left to read, it is reached,
    even if what had that number was changed again, or its deletion is forgotten."""
    begun = upto = index.checkpoint
    while upto - begun < COMMIT_MAX:
        rows = await read(upto)
        changes = [Change(one.id, one.change, one.body, one.popularity) for one in rows]
        upto = rows[-1].change if rows else max(upto, known)
        await in_thread(partial(index.write, changes, upto))
        if not rows:
            break
    if upto > begun:
        await in_thread(index.commit)
