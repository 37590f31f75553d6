"""Whereabouts: work for a site is done where the site is, also while it moves.

Who meets a site on its way has done nothing, so it waits a moment, looks again where the site is,
and goes on there. What must never happen here: a wait without an end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from hansa.kernel import machine
from hansa.kernel.fence import ON_ITS_WAY, SiteMoving
from hansa.kernel.problems import Problem

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

T = TypeVar("T")

WAIT_S: Final = 5.0
"""How long a request waits for a site that moves, before it is told to come back."""
PAUSE_S: Final = (0.005, 0.05)


async def settled(
    runtime: "Runtime", site: str, deadline: float, ask: Callable[[str], Awaitable[T]]
) -> T:
    """Return what `ask` returns for the cell that a site is in. Raises what it raises, and
    SiteMoving for a site that is still on its way after a while."""
    end = min(deadline or float("inf"), machine.monotonic() + WAIT_S)
    pause_s = PAUSE_S[0]
    while True:
        try:
            info = await runtime.directory.by_id(site)
            return await ask("" if info is None else info.cell)
        except Problem as problem:
            if problem.slug not in ON_ITS_WAY:
                raise
            if machine.monotonic() + pause_s > end:
                raise SiteMoving(
                    "It takes longer than usual; send the request again.", retry_after_s=1
                ) from problem
        runtime.directory.forget(site)
        await asyncio.sleep(pause_s)
        pause_s = min(PAUSE_S[1], pause_s * 2)
