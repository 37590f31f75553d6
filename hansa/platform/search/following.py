"""Following: an index takes what comes after its checkpoint, and knows whose history it is of.

Beside an index lies the point of the collection's history up to which it may have been written,
noted before that is done. What must never happen here: an index that says it has a change and has
not, that keeps a document whose deletion it can hear of no more, or that goes on with the rows of
another history.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from hansa.kernel.pruning import LOG_KEPT_S
from hansa.platform.search.api.following import CHANGES_MAX, Changes
from hansa.platform.search.engine.index import Index, IndexUnusable
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.folders import note_point, point_of
from hansa.platform.search.point import Point
from hansa.platform.search.portions import COMMIT_MAX

Read = Callable[[int, int], Awaitable[Changes | None]]
"""Reads the next changes after a number, and which event had a sequence."""
Heed = Callable[[Changes], Awaitable[None]]
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Removed(Exception):
    """The collection is not there any more."""


async def follow(
    index: Index,
    read: Read,
    in_thread: InThread,
    heed: Heed | None = None,
    most: int = COMMIT_MAX,
) -> int:
    """Write what comes after an index's checkpoint and commit, at most so many changes.
    Return the last change that there is: the checkpoint, unless more is to come.
    `heed` hears of changes before they are written. Where nothing is left to read, the last change
    is reached, even if what had that number was changed again, or its deletion is forgotten.

    Raises Removed, IndexUnusable where the index is not one of these rows, and what `heed` raises.
    """
    folder = index.folder.parent
    point: Point | None = await in_thread(partial(point_of, folder))
    begun = upto = index.checkpoint
    last, taken = upto, 0
    while taken < most:
        found = await read(upto, 0 if point is None else point.seq)
        if found is None:
            raise Removed
        check(point, upto, found)
        if heed is not None:
            await heed(found)
        point = found.point
        last, rows = found.last_change, found.changes[: most - taken]
        taken += len(rows)
        is_all = len(rows) == len(found.changes) < CHANGES_MAX
        upto = last if is_all else rows[-1].change
        changes = [Change(one.id, one.change, one.body, one.popularity) for one in rows]
        await in_thread(partial(_write, index, changes, upto, point))
        if is_all:
            break
    if upto > begun:
        await in_thread(index.commit)
    return last


def _write(index: Index, changes: list[Change], upto: int, point: Point) -> None:
    folder = index.folder.parent
    if changes or upto > index.checkpoint:
        note_point(folder, point)
        index.write(changes, upto)
    else:  # it stands where it stood: an older point of the same history says so too
        with suppress(OSError):
            note_point(folder, point)


def check(point: Point | None, upto: int, found: Changes) -> None:
    """Raise IndexUnusable where an index that was written up to a change, as of a point in the
    collection's history, cannot go on with what was found after it."""
    if upto > found.last_change:
        raise IndexUnusable(f"it is at change {upto}, the rows are at {found.last_change}")
    if point is None:
        if upto:
            raise IndexUnusable("nobody knows what rows it was made of")
        return
    if not _is_same_history(point, found):
        raise IndexUnusable("it was made of rows that were restored to an earlier time")
    # What was forgotten before the first document was read has never been in it.
    if upto < found.point.forgotten_change != point.forgotten_change:
        raise IndexUnusable("deletions that it has not heard of are forgotten")


def _is_same_history(point: Point, found: Changes) -> bool:
    """Tell whether the event of a point still happened. One that the log has no more is pruned,
    since the log has come so far: in another history it would not be old enough for that."""
    if found.point.seq < point.seq:
        return False
    if found.then:
        return found.then == point.event
    return found.point.at_us - point.at_us < LOG_KEPT_S * 1_000_000
