"""Searchers: where a search runs, on the loop while that is quick, else in a thread.

A collection whose searches were slow goes to the threads, and comes back when they are quick again.
What must never happen here: a search that holds up all others for long.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from hansa.kernel.sqlite.pace import SLOW_S, Pace
from hansa.platform.search.effort import conditions_of
from hansa.platform.search.filters import Filter
from hansa.platform.search.request import SearchRequest

T = TypeVar("T")

SEARCHES_MAX: Final = 4
"""Slow searches at once, in threads; they run without Python's lock for most of their time."""
INLINE_MAX: Final = 200_000
"""Documents up to which a search is tried on the loop."""
SMALL: Final = 1_000
"""Documents of which any search is quick."""
LARGE_HITS: Final = 50
LARGE_FACETS: Final = 12
LARGE_RANGES: Final = 16
LARGE_LETTERS: Final = 400
LARGE_CONDITIONS: Final = 100
"""The least of each that makes a search large."""


def is_large(request: SearchRequest, always: Filter | None = None) -> bool:
    """Tell whether a search, within what is always found, asks for so much that it is slow unless
    there is little."""
    return (
        request.explain
        or request.per_page > LARGE_HITS
        or len(request.facets) > LARGE_FACETS
        or sum(len(facet.ranges) for facet in request.facets) > LARGE_RANGES
        or len(request.filter) > LARGE_LETTERS
        or (always is not None and conditions_of(always) > LARGE_CONDITIONS)
    )


class Searchers:
    """The threads of a process for searches, and how slow its collections are."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(SEARCHES_MAX, "hansa-searching")
        self._pace = Pace()

    def are_slow(self, name: str) -> bool:
        """Tell whether what was noted by a name has been slow."""
        return self._pace.watched.get(name, 0.0) > SLOW_S

    async def run(
        self, name: str, documents: int, work: Callable[[], T], *, large: bool = False
    ) -> T:
        """Do the work of a search in a collection of so many documents; what is noted of it is
        noted by a name."""
        large = large and documents > SMALL
        took_s = 0.0

        def timed() -> T:
            nonlocal took_s
            began = time.thread_time()  # to wait for a core or a lock says nothing of the search
            try:
                return work()
            finally:
                took_s = time.thread_time() - began

        try:
            if not (large or self.are_slow(name) or documents > INLINE_MAX):
                return timed()
            return await asyncio.get_running_loop().run_in_executor(self._threads, timed)
        finally:
            if not large:  # of these it is known beforehand
                self._pace.note(name, took_s)

    def stop(self) -> None:
        """Wait for the searches under way."""
        self._threads.shutdown()
