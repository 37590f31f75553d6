"""Finishing: an action from its `begin` to its answer, for the caller that waits.

What must never happen here: a caller who is told that nothing happened when the world may have
acted.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hansa.kernel import actions, machine
from hansa.kernel.actions import Action, Settled, Unknown

if TYPE_CHECKING:
    from hansa.kernel.run import Run
    from hansa.kernel.runtime import Runtime

logger = logging.getLogger("hansa")

WAIT_S: Final = 10.0
"""How long a caller waits for an attempt that is under way before it is told to ask again."""


class Finisher:
    """The attempts that are under way in a process, and who waits for them."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._waiting: dict[str, asyncio.Future[Settled]] = {}

    async def run(
        self,
        action: Action[..., Any, Any, Any],
        run: "Run",
        arguments: dict[str, Any],
        key: str | None,
        request: str,
    ) -> Settled | str:
        """Run an action: its `begin`, the world, its `settle`. Returns the attempt's id when the
        world has not told the outcome yet: due work goes on with it."""
        begun = await actions.begin(self._runtime, action, run, arguments, key, request)
        if isinstance(begun, Settled):
            return begun
        waiting = self._waiting.get(begun.attempt)
        if waiting is not None:
            return await self._look_on(begun.attempt, waiting, run.deadline)
        if begun.replayed:
            return begun.attempt
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._waiting[begun.attempt] = future
        try:
            settled = await actions.finish(self._runtime, run.site.id, begun.attempt)
            future.set_result(settled)
            return settled
        except Unknown:
            return begun.attempt
        except Exception:
            # The world may have acted: nobody may be told that nothing happened.
            logger.exception("the attempt %s goes on as due work", begun.attempt)
            return begun.attempt
        finally:
            self._waiting.pop(begun.attempt, None)
            if not future.done():
                future.cancel()

    @staticmethod
    async def _look_on(
        attempt: str, waiting: "asyncio.Future[Settled]", deadline: float
    ) -> Settled | str:
        left_s = max(0.0, min(WAIT_S, deadline - machine.monotonic()))
        done, _ = await asyncio.wait([waiting], timeout=left_s)
        if not done or waiting.cancelled() or waiting.exception():
            return attempt
        return msgspec.structs.replace(waiting.result(), replayed=True)
