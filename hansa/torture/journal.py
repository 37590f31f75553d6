"""Journal: what a worker was promised, written the moment it heard it, outside of the cell.

A line survives SIGKILL because the kernel's page cache does; the cell's own rows must survive more.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """The answers that one worker has had, appended as JSON lines."""

    def __init__(self, folder: Path, worker: int) -> None:
        self.path = folder / f"journal-{worker}.ndjson"
        self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, kind: str, **facts: Any) -> None:
        """Append one line, whole, in one write."""
        os.write(self._handle, (json.dumps({"kind": kind, **facts}) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of all workers; a line that a kill cut short is none."""
    for path in sorted(folder.glob("journal-*.ndjson")):
        for line in path.read_bytes().split(b"\n"):
            try:
                yield json.loads(line)
            except ValueError:
                continue
