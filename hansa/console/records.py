"""Records: what was observed, read for the pages in a thread of its own.

Reading does not hold up the loop, and one after another the reads do not add up to more than one
core. Where nothing is recorded there is nothing to see, and the pages say so.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hansa.kernel.observe.reading import CursorInvalid, Reader
from hansa.kernel.problems import Invalid, Overloaded

T = TypeVar("T")

WAITING_MAX = 32
"""Reads that wait for their turn."""
READ_S = 5.0


class Records:
    """The file of what was observed; of one process. `file` is None where nothing is recorded."""

    def __init__(self, file: Path | None) -> None:
        self.present = file is not None
        self._reader = Reader(file or Path("/nonexistent"))
        self._thread = ThreadPoolExecutor(1, "hansa-records")
        self._waiting = 0

    async def read(self, ask: Callable[[Reader], T]) -> T:
        """Return what a reader says. Raises Invalid for a cursor that is none, and Overloaded."""
        if self._waiting >= WAITING_MAX:
            raise Overloaded("Too many pages read at once.", retry_after_s=1)
        self._waiting += 1
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._thread, ask, self._reader)
            return await asyncio.wait_for(reading, READ_S)
        except CursorInvalid as error:
            raise Invalid(str(error)) from None
        except TimeoutError:
            raise Overloaded("What was observed cannot be read now.", retry_after_s=5) from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let the file go; waits for the read that is running."""
        self._thread.submit(self._reader.close)
        self._thread.shutdown()
