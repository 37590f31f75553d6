"""Machine: what the kernel takes from the machine it runs on beside the wall clock (see `clock`).

Deadlines, leases and waits read this monotonic time, and names that nobody may guess come from this
randomness. The simulation puts its own in their place, for the whole process, so that a run can be
had again. What must never happen here: anything but the real ones in a process that serves.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

monotonic: Callable[[], float] = time.monotonic
"""Seconds that only go forward; the same as the event loop's `time`."""
random_bytes: Callable[[int], bytes] = secrets.token_bytes
"""So many bytes that nobody can guess."""


def uniform(low: float, high: float) -> float:
    """Return a number by chance, from `low` to `high`, as waits need it that must not coincide."""
    return low + (high - low) * int.from_bytes(random_bytes(4)) / 0xFFFFFFFF


@contextmanager
def replaced(time: Callable[[], float], chance: Callable[[int], bytes]) -> Iterator[None]:
    """Have another monotonic time and another randomness in this process for a while."""
    global monotonic, random_bytes
    before = monotonic, random_bytes
    monotonic, random_bytes = time, chance
    try:
        yield
    finally:
        monotonic, random_bytes = before
