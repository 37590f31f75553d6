"""A thousand seeds keep every promise, and each planted bug breaks one.

The seeds are new in every run and told at its end; `hansa simulate --seed N` has one again.
"""

import os
import secrets
from collections.abc import Callable

import pytest

from hansa.simulate.plan import plan_of
from hansa.simulate.plants import PLANTS
from hansa.simulate.report import LINES_MAX, explain
from hansa.simulate.run import Theatre, folder_of_runs
from hansa.simulate.sweep import sweep
from tests.conftest import TOLD

SEEDS = 100
RUNS = [*(7 * [2]), *(3 * [3])]
"""The nodes of each hundred of seeds: these many runs of a hundred."""
PLANTED_SEEDS_MAX = 200


@pytest.mark.parametrize("run", range(len(RUNS)))
def test_no_seed_breaks_a_promise(run: int, record_property: Callable[[str, object], None]) -> None:
    nodes = RUNS[run]
    first = secrets.randbits(32)
    told = f"simulate: {SEEDS} seeds from {first}, {nodes} nodes"
    print(told)
    swept = sweep(first, SEEDS, nodes, workers=1)
    record_property(TOLD, f"{told}: {swept.found or 'no violation'}")
    assert swept.found is None, f"hansa simulate --nodes {nodes} --seed {swept.found.seed}"


def test_what_a_run_opens_is_closed_after_it() -> None:
    sweep(0, 1, 3, workers=1)
    before = len(os.listdir("/proc/self/fd"))
    sweep(1, 3, 3, workers=1)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(plant: str) -> None:
    swept = sweep(0, PLANTED_SEEDS_MAX, 3, plant=plant, workers=1)
    assert swept.found is not None


def test_the_history_of_a_seed_tells_what_went_wrong() -> None:
    swept = sweep(0, PLANTED_SEEDS_MAX, 3, plant="answers-forgotten", workers=1)
    assert swept.found is not None
    explained = explain(swept.found.seed, 3, "answers-forgotten")
    assert not explained.is_well
    assert len(explained.lines) < LINES_MAX + 20
    head, *lines = explained.lines
    assert head.startswith(f"seed {swept.found.seed}, 3 nodes: 1 wishes")  # one is enough
    told = "\n".join(lines)
    assert "asks n" in told
    assert "all is well from here on" in told
    assert "under the same key again" in lines[-1]
    assert lines[-1].startswith("VIOLATION: ")


def test_sites_roam_and_who_moves_them_dies_over_it() -> None:
    told: list[str] = []
    with folder_of_runs() as folder:
        theatre = Theatre(3, folder)
        plans = [plan for plan in map(plan_of, range(24), 24 * [3]) if plan.roams]
        for plan in plans:
            outcome = theatre.run(plan)
            assert outcome.violations == ()
            told += [line.what for line in outcome.lines]
    assert any("has the site" in what and "epoch 3" in what for what in told)
    assert any("who brings the site" in what for what in told)
    assert {"plan", "fence", "copy", "flip", "leave", "erase", "finish"} <= {
        what.removeprefix("takes the step ") for what in told
    }


def test_workers_share_the_seeds() -> None:
    told: list[str] = []
    swept = sweep(500, 8, 1, workers=2, tell=told.append)
    assert (swept.seeds, swept.found) == (8, None)


def test_a_sweep_ends_when_its_time_is_over() -> None:
    swept = sweep(500, 1_000, 1, workers=1, minutes=0)
    assert (swept.seeds, swept.found) == (1, None)
