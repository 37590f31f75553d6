"""Sweep: many seeds, on all cores, until one breaks a promise."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hansa.kernel.sqlite.connection import Synchronous
from hansa.simulate.plan import plan_of
from hansa.simulate.plants import PLANTS
from hansa.simulate.run import Theatre, folder_of_runs
from hansa.torture.planting import planted

CHUNK: Final = 4
TOLD_EVERY: Final = 100


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a seed: the promises that it broke."""

    seed: int
    violations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Swept:
    """How many seeds were run, and the first found that broke a promise."""

    seeds: int
    found: Found | None


def sweep(
    first: int,
    count: int,
    nodes: int,
    *,
    plant: str = "",
    minutes: float | None = None,
    workers: int | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Swept:
    """Run at most `count` seeds from `first`, for at most so many minutes of real time, and stop
    at one that breaks a promise. `workers` is the number of processes, one for each core if None.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    done = 0
    with _results(first, count, nodes, plant, workers or os.cpu_count() or 1) as results:
        for found in results:
            done += 1
            if found.violations:
                return Swept(done, found)
            if end is not None and time.monotonic() > end:
                break
            if done % TOLD_EVERY == 0:
                tell(f"{done} seeds, no violation")
    return Swept(done, None)


@contextmanager
def _results(
    first: int, count: int, nodes: int, plant: str, workers: int
) -> Iterator[Iterator[Found]]:
    seeds = range(first, first + count)
    with folder_of_runs() as folder, planted(plant, PLANTS):
        if workers == 1:
            theatre = theatre_in(folder, nodes, plant)
            yield (_one(theatre, seed) for seed in seeds)
            return
        context = multiprocessing.get_context("fork")
        with context.Pool(min(workers, count), _prepare, (folder, nodes, plant)) as pool:
            yield pool.imap_unordered(_prepared, seeds, CHUNK)


_theatre: Theatre


def _prepare(folder: Path, nodes: int, plant: str) -> None:
    """Make the theatre of a worker. The bug, if any, was planted before the worker was forked."""
    global _theatre
    own = folder / str(os.getpid())
    own.mkdir()
    _theatre = theatre_in(own, nodes, plant)


def _prepared(seed: int) -> Found:
    return _one(_theatre, seed)


def _one(theatre: Theatre, seed: int) -> Found:
    outcome = theatre.run(plan_of(seed, theatre.nodes))
    return Found(seed, tuple(map(str, outcome.violations)))


def theatre_in(folder: Path, nodes: int, plant: str) -> Theatre:
    """Return a theatre, of machines that forget where that is what is planted."""
    synchronous: Synchronous = "OFF" if plant == "no-fsync" else "FULL"
    return Theatre(nodes, folder, synchronous=synchronous)
