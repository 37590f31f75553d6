"""Shrinking: the least of a plan that still breaks a promise. Pure but for what it is given to try.

Parts are left out, larger ones first, as long as what remains still fails: the delta debugging of
Zeller and Hildebrandt ("Simplifying and Isolating Failure-Inducing Input", 2002), in a plain form.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from hansa.simulate.plan import Mishap, Passage, Plan, Wish

T = TypeVar("T")

TRIES_MAX: Final = 200


def shrunk(plan: Plan, fails: Callable[[Plan], bool], tries: int = TRIES_MAX) -> Plan:
    """Return the smallest plan found that still fails, within so many tries."""
    left = tries

    def still(candidate: Plan) -> bool:
        nonlocal left
        if left <= 0:
            return False
        left -= 1
        return fails(candidate)

    while True:
        before = plan
        plan = _least(plan.mishaps, plan, _with_mishaps, still)
        plan = _least(plan.passages, plan, _with_passages, still)
        plan = _least(plan.wishes, plan, _with_wishes, still)
        if plan == before or left <= 0:
            return plan


def _with_mishaps(plan: Plan, some: tuple[Mishap, ...]) -> Plan:
    return replace(plan, mishaps=some)


def _with_passages(plan: Plan, some: tuple[Passage, ...]) -> Plan:
    return replace(plan, passages=some)


def _with_wishes(plan: Plan, some: tuple[Wish, ...]) -> Plan:
    return replace(plan, wishes=some)


def _least(
    parts: tuple[T, ...],
    plan: Plan,
    having: Callable[[Plan, tuple[T, ...]], Plan],
    still: Callable[[Plan], bool],
) -> Plan:
    """Return the plan with those parts alone of which none can be left out any more."""
    size = len(parts)
    while size:
        start = 0
        while start < len(parts):
            without = parts[:start] + parts[start + size :]
            candidate = having(plan, without)
            if still(candidate):
                plan, parts = candidate, without
            else:
                start += size
        size //= 2
    return plan
