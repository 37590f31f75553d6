"""Delivery: what becomes of an event at one subscriber. Pure; the log and its tests share it.

A subscriber takes the events of one aggregate in their sequence, each with effect once. One that
fails waits for its next try, and what follows it on the same aggregate queues behind it; everything
else goes on. After the last try it is parked, until a person skips or replays it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["waiting", "queued", "parked", "skipped"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event that a subscriber could not take when its turn came."""

    position: int
    state: State
    attempt: int
    ready_at_us: int


def admit(open_before: bool) -> Literal["run", "queue"]:
    """Tell what to do with the next event of an aggregate: run it, unless one is open before it."""
    return "queue" if open_before else "run"


def failed(attempt: int, now_us: int, backoff_s: Sequence[float]) -> tuple[State, int, int]:
    """Return state, attempt and time of the next try of what has just failed.

    `attempt` is how often it had failed before; with n waits in `backoff_s` there are n + 1 tries.
    """
    if attempt < len(backoff_s):
        return "waiting", attempt + 1, now_us + int(backoff_s[attempt] * 1_000_000)
    return "parked", attempt + 1, now_us


SLOW_TRIES: Final = 20
"""How often more what ran out of time is tried than what failed."""


def patient(backoff_s: Sequence[float]) -> tuple[float, ...]:
    """Return the waits between the tries of what ran out of time: it may be that the machine was
    busy, so it is tried longer; a handler that is always too slow is parked all the same."""
    return (*backoff_s, *[max(backoff_s, default=1.0)] * SLOW_TRIES)


def postponed(attempt: int, now_us: int, wait_s: float) -> tuple[State, int, int]:
    """Return the same of what could not be tried at all, by no fault of its own: a newer release
    wrote it, or the machine was in trouble. It does not count as a try, so it is never parked."""
    return "waiting", attempt, now_us + int(wait_s * 1_000_000)


def head(deliveries: Sequence[Delivery]) -> Delivery | None:
    """Return the open delivery of an aggregate that must be done first, None if there is none."""
    return min(
        (one for one in deliveries if one.state != "skipped"),
        key=lambda one: one.position,
        default=None,
    )


def ready(delivery: Delivery, now_us: int) -> bool:
    """Tell whether the head of an aggregate may be tried now. A queued head is ready at once:
    what it queued behind is gone."""
    if delivery.state == "queued":
        return True
    return delivery.state == "waiting" and delivery.ready_at_us <= now_us
