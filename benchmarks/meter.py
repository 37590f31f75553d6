"""Meter: the processor time of trees of processes, as the kernel of Linux counts it.

User and system time of every process of the tree, of its threads also when they have ended, and of
children that were waited for. Resolution: one clock tick (10 ms), so measure over seconds.
Source: proc(5), /proc/<pid>/stat fields 14 to 17.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str] | None:
    """Return the fields of a process after its name (index 0 is the state), None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (fields := _stat(int(entry))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu_s(root: int) -> float:
    """Return the processor seconds that a tree has used since it began."""
    ticks = 0
    for pid in tree(root):
        if (fields := _stat(pid)) is not None:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def rss_mb(root: int) -> float:
    """Return the resident memory of a tree in MB (pages shared in it count more than once)."""
    pages = 0
    for pid in tree(root):
        if (fields := _stat(pid)) is not None:
            pages += int(fields[21])
    return pages * PAGE_BYTES / 1e6


def pin(pids: Iterable[int], cpu: int) -> None:
    """Keep processes, with all their threads, on one core; what they start inherits it."""
    for pid in pids:
        for thread in _threads(pid):
            try:
                os.sched_setaffinity(thread, {cpu})
            except ProcessLookupError:
                continue


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return []
