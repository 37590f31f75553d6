"""Portions: how an index of many documents is written, so that it ends in few segments.

The engine merges eight segments of about the same size into one when they are committed, and does
so again with what came of that; nothing can ask it for more. So a large index is written in eight
portions that are a segment each, or in 64, and so on: searches are the faster for it, and so is the
making. What comes after them, as where documents came meanwhile, is written as changes are.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hansa.platform.search.engine.index import COMPACT_MAX, Index
from hansa.platform.search.writers import Writers

COMMIT_MAX: Final = 20_000
"""Changes in one commit, unless an index is made of many documents."""
PORTION_MAX: Final = 125_000
"""Documents of a portion, at most: so many real products are well within `LARGE_BYTES`."""
MERGED: Final = 8
"""How many segments the engine makes one of."""


class Portions:
    """What an index takes with each commit while it is made of some number of documents: `left`
    large portions of `size` documents, in order; of few documents none."""

    def __init__(self, documents: int = 0) -> None:
        self.left = 1 if documents > COMPACT_MAX else 0
        while self.left and documents > self.left * PORTION_MAX:
            self.left *= MERGED
        self.size = -(-documents // self.left) if self.left else 0

    @asynccontextmanager
    async def turn(self, writers: Writers, index: Index) -> AsyncIterator[int]:
        """Have an index written by nobody else, up to one commit of so many changes."""
        if not self.left:
            async with writers.turn(index):
                yield COMMIT_MAX
            return
        self.left -= 1
        async with writers.large_turn(index):
            yield self.size
