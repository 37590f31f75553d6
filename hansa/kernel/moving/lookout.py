"""Lookout: a process of a database that others use too looks which sites have moved meanwhile.

What it writes for a site is checked in each transaction; this is for what it reads.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

logger = logging.getLogger("hansa.moving")

EVERY_S: Final = 1.0


class Lookout:
    """The loop that looks; none where one process owns the database."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        if self._runtime.storage.poll_s is not None:
            self._task = asyncio.create_task(self._look(), name="hansa-lookout")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self._runtime.load_fence()
            except Exception as error:
                logger.warning("which sites have moved cannot be read: %s", error)
