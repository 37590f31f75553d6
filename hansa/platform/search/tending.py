"""Tending: what is done now and then beside searches."""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from itertools import groupby
from typing import Final

from hansa.kernel import machine
from hansa.kernel.ids import ID
from hansa.kernel.problems import Problem
from hansa.platform.search.folders import Folders
from hansa.platform.search.following import InThread
from hansa.platform.search.opened import Opened
from hansa.platform.search.rows import Rows
from hansa.platform.search.tracking import Uses
from hansa.platform.search.writers import Writers

AGAIN_S: Final = 60.0
"""How long an index that could not be compacted, or looked at, is left as it is."""

logger = logging.getLogger("hansa.search")


async def write_down(rows: Rows, uses: Uses) -> None:
    """Write down what was searched for since the last time."""
    counts = sorted(uses.take(), key=lambda one: (one.site, one.collection, one.q))
    for site, group in groupby(counts, key=lambda one: one.site):
        try:
            await rows.count(site, list(group))
        except Exception as error:  # statistics: nobody waits for them
            logger.warning("searches of %s are not counted: %r", site, error)


async def compact_one(several: Iterable[Opened], writers: Writers) -> None:
    """Compact the first index that should be."""
    opened = next((one for one in several if one.is_to_compact()), None)
    if opened is None:
        return
    index = opened.index
    async with writers.turn(index):
        if index is not opened.index or not opened.is_to_compact():
            return
        try:
            await opened.compact(writers.in_thread)
        except Exception as error:  # the others have their turn
            opened.compact_after = machine.monotonic() + AGAIN_S
            logger.warning("the index of %s is not compacted: %r", opened.whole.id, error)


async def worn_one(several: Collection[Opened], in_thread: InThread) -> Opened | None:
    """Find an index that is too large to be compacted and is worn, unless one is made anew for that
    already: it takes much of the disk and of the processor."""
    if any(one.is_worn for one in several):
        return None
    opened = next((one for one in several if one.is_to_look_at()), None)
    if opened is None:
        return None
    try:
        await opened.look_at(in_thread)
    except Exception as error:  # the others have their turn
        opened.compact_after = machine.monotonic() + AGAIN_S
        logger.warning("the index of %s is left as it is: %r", opened.whole.id, error)
    return opened if opened.is_worn else None


async def sweep(
    folders: Folders,
    rows: Rows,
    in_thread: InThread,
    drop: Callable[[ID, int, ID], Awaitable[None]],
) -> None:
    """Take away the indexes of collections that were removed and of sites that are not here any
    more, and those of processes that are gone. `drop` takes away that of a collection."""
    await in_thread(partial(folders.sweep, rows.now_s()))
    # Folders first: one that is begun after this is not of what was gone before it.
    by_site = groupby(await in_thread(folders.collections), key=lambda one: one[:2])
    for (site, slot), found in by_site:
        try:
            there = await rows.active(site)
        except Problem as problem:  # it is being moved, or too much is going on
            logger.info("the indexes of %s are not looked through: %s", site, problem)
            continue
        for _, _, collection in found:
            if collection not in there:
                await drop(site, slot, collection)
