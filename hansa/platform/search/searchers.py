"""Searchers: where a search runs, on the loop while that is quick, else in a thread.

A collection whose searches were slow goes to the threads, and comes back when they are quick again.
What must never happen here: a search that holds up all others for long.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from hansa.kernel.ids import ID
from hansa.kernel.sqlite.pace import SLOW_S, Pace
from hansa.platform.search.request import Found, SearchRequest

SEARCHES_MAX: Final = 4
"""Slow searches at once, in threads; they run without Python's lock for most of their time."""
INLINE_MAX: Final = 200_000
"""Documents up to which a search is tried on the loop."""
SMALL: Final = 1_000
"""Documents of which any search is quick."""
LARGE_HITS: Final = 50
LARGE_FACETS: Final = 12
LARGE_LETTERS: Final = 400
"""The least of each that makes a search large."""


def is_large(request: SearchRequest) -> bool:
    """Tell whether a search asks for so much that it is slow unless there is little."""
    return (
        request.explain
        or request.per_page > LARGE_HITS
        or len(request.facets) > LARGE_FACETS
        or len(request.filter) > LARGE_LETTERS
    )


class Searchers:
    """The threads of a process for searches, and how slow its collections are."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(SEARCHES_MAX, "hansa-searching")
        self._pace = Pace()

    def are_slow(self, collection: ID) -> bool:
        """Tell whether the searches of a collection have been slow."""
        return self._pace.watched.get(collection, 0.0) > SLOW_S

    async def run(
        self, collection: ID, documents: int, request: SearchRequest, work: Callable[[], Found]
    ) -> Found:
        """Do the work of a search in a collection of so many documents."""
        large = documents > SMALL and is_large(request)
        took_s = 0.0

        def timed() -> Found:
            nonlocal took_s
            began = time.thread_time()  # to wait for a core or a lock says nothing of the search
            try:
                return work()
            finally:
                took_s = time.thread_time() - began

        try:
            if not (large or self.are_slow(collection) or documents > INLINE_MAX):
                return timed()
            return await asyncio.get_running_loop().run_in_executor(self._threads, timed)
        finally:
            if not large:  # of these it is known beforehand
                self._pace.note(collection, took_s)

    def stop(self) -> None:
        """Wait for the searches under way."""
        self._threads.shutdown()
