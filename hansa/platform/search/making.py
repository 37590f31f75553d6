"""Making: an index in its folder, opened as it is or begun from nothing, and made anew beside
another.

What must never happen here: a folder that counts as whole and is not, or an index that is searched
and lacks what the one before it has.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from hansa.kernel import machine
from hansa.kernel.ids import ID
from hansa.platform.search.api.collections import Whole
from hansa.platform.search.api.following import Changes
from hansa.platform.search.engine.index import Index, IndexUnusable
from hansa.platform.search.folders import Folders, begin, engine_of, is_whole, mark_whole, remove
from hansa.platform.search.following import Heed, Read, Removed, follow
from hansa.platform.search.opened import Opened
from hansa.platform.search.portions import Portions
from hansa.platform.search.writers import Writers

logger = logging.getLogger("hansa.search")

ReadWhole = Callable[[], Awaitable[Whole | None]]
"""Reads what is said of a collection now."""

RENEW_SHARE: Final = 0.5
"""The share of the time that making an index anew may take while the old one is searched."""
PAUSE_S: Final = 0.5
"""How long nobody may look whether it is still wanted."""


class _Unwanted(Exception):
    """The index that is being made is not wanted any more."""


def newest(folders: Folders, site: ID, slot: int, whole: Whole) -> Opened:
    """Open the newest index of a collection that can be searched, or begin one. On a thread."""
    found: Opened | None = None
    for generation, folder, schema in folders.generations(slot, site, whole.id):
        if found is not None or generation > whole.generation or not is_whole(folder):
            remove(folder)  # older, of rows that were restored since, or not finished
            continue
        try:
            index = Index.open(engine_of(folder), schema)
        except IndexUnusable as why:
            logger.warning("the index %s is made anew: %s", folder.name, why)
            remove(folder)
            continue
        found = Opened(site, slot, whole, index, generation, schema)
    if found is not None:
        return found
    index = begun(folders, site, slot, whole)
    return Opened(site, slot, whole, index, whole.generation, whole.schema)


def begun(folders: Folders, site: ID, slot: int, whole: Whole) -> Index:
    """Begin an index of a collection from nothing. On a thread."""
    folder = folders.fresh(slot, site, whole.id, whole.generation)
    try:
        begin(folder, whole.schema)
        return Index.open(engine_of(folder), whole.schema)
    except BaseException:
        remove(folder)  # nobody else knows of it
        raise


async def renew(
    opened: Opened, folders: Folders, writers: Writers, read: Read, read_whole: ReadWhole
) -> None:
    """Make an index beside the one that is searched, of a new schema or because that one is spoilt
    or worn, and change over when it has all that the other has; where that is not wanted any more,
    nothing is left of it."""
    whole = opened.whole
    heed = partial(_heed, opened, whole, read_whole)
    new = partial(begun, folders, opened.site, opened.slot, whole)
    left = index = await writers.in_thread(new)
    try:
        if await _is_filled(index, opened, whole, writers, read, heed):
            mark_whole(index.folder.parent, index.segments)
            left = opened.replace(index, whole.generation, whole.schema)
    finally:
        await writers.shut(left)
        await writers.in_thread(partial(remove, left.folder.parent))


async def _is_filled(
    index: Index, opened: Opened, whole: Whole, writers: Writers, read: Read, heed: Heed
) -> bool:
    """Bring a new index to where the one that is searched is, and all documents are that can be
    read; tell whether it is still wanted."""
    portions = Portions(opened.index.documents)
    last, took_s = None, 0.0
    while last is None or index.checkpoint < max(last, opened.target):
        await _pause(opened, whole, took_s * (1 / RENEW_SHARE - 1))
        try:
            async with portions.turn(writers, index) as most:
                began = machine.monotonic()
                last = await follow(index, read, writers.in_thread, heed, most)
        except Removed:
            opened.is_stale = True
            return False
        except _Unwanted:
            return False
        took_s = machine.monotonic() - began
    return _is_wanted(opened, whole)


async def _pause(opened: Opened, whole: Whole, seconds: float) -> None:
    """Leave the processor to searches, for as long as the index is wanted: who closes the one that
    is searched waits for this."""
    end = machine.monotonic() + seconds
    # What ends it sooner happens in several places, and none of them waits for an answer.
    while (left := end - machine.monotonic()) > 0 and _is_wanted(opened, whole):  # noqa: ASYNC110
        await asyncio.sleep(min(left, PAUSE_S))


def _is_wanted(opened: Opened, whole: Whole) -> bool:
    return not opened.is_closed and opened.whole.generation == whole.generation


async def _heed(opened: Opened, whole: Whole, read_whole: ReadWhole, found: Changes) -> None:
    """Have an open filter that is as new as the documents that come: who changes over to them may
    not have heard of it yet. Raises Removed, and _Unwanted before a large portion is through."""
    if not _is_wanted(opened, whole):
        raise _Unwanted
    if found.revision <= opened.whole.revision:
        return
    newest = await read_whole()
    if newest is None:
        raise Removed
    opened.take(newest)
    opened.is_stale = True  # what else goes by it follows
