"""Report: a seed that broke a promise, told so that a person can see why."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hansa.simulate.history import relevant
from hansa.simulate.plan import Plan, plan_of
from hansa.simulate.plants import PLANTS
from hansa.simulate.run import Outcome, folder_of_runs
from hansa.simulate.shrinking import shrunk
from hansa.simulate.sweep import sweep, theatre_in
from hansa.torture.planting import planted

LINES_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Explained:
    """A seed, told: whether it kept every promise, and what happened."""

    is_well: bool
    lines: list[str]


def explain(seed: int, nodes: int, plant: str = "", *, whole: bool = False) -> Explained:
    """Run a seed twice and tell what happened, line by line. Of one that broke promises it is the
    run with as few wishes and mishaps as will do, and only what concerns those promises; `whole`
    leaves nothing out."""
    with planted(plant, PLANTS), folder_of_runs() as folder:
        theatre = theatre_in(folder, nodes, plant)
        plan = plan_of(seed, nodes)
        first, second = theatre.run(plan), theatre.run(plan)
        if first.digest != second.digest:
            what = f"{seed} does not run the same way twice: {first.digest} {second.digest}"
            return Explained(False, [what])
        if whole or not first.violations:
            return Explained(not first.violations, _told(first, whole=whole))

        def fails(candidate: Plan) -> bool:
            return bool(theatre.run(candidate).violations)

        return Explained(False, _told(theatre.run(shrunk(plan, fails)), whole=False))


def _told(outcome: Outcome, *, whole: bool) -> list[str]:
    about = {thing for one in outcome.violations for thing in one.about}
    lines = list(outcome.lines)
    if about and not whole:
        lines = relevant(lines, about)
    left_out = len(lines) - LINES_MAX
    plan = outcome.plan
    return [
        f"seed {plan.seed}, {plan.nodes} nodes: {len(plan.wishes)} wishes, {len(plan.mishaps)}"
        f" mishaps, {outcome.virtual_s:.1f} virtual seconds, history {outcome.digest}",
        *map(str, lines[-LINES_MAX:] if left_out > 0 and not whole else lines),
        *(f"VIOLATION: {one}" for one in outcome.violations),
    ]


def run(
    seed: int,
    count: int,
    nodes: int,
    plant: str,
    *,
    minutes: float | None,
    whole: bool,
    tell: Callable[[str], object],
) -> int:
    """Do what the command line says; return the exit status, 0 when nothing was violated."""
    if count > 1:
        swept = sweep(seed, count, nodes, plant=plant, minutes=minutes, tell=tell)
        if swept.found is None:
            tell(f"{swept.seeds} seeds from {seed}, {nodes} nodes: no violation")
            return 0
        seed = swept.found.seed
        tell(f"seed {seed} broke a promise, of {swept.seeds} that were run")
    explained = explain(seed, nodes, plant, whole=whole)
    for line in explained.lines:
        tell(line)
    return 0 if explained.is_well else 1
