"""Refused: the file of the lines that an import refused, each as it was given and why.

It is written before the import goes on behind a line, so that a kill forgets none, and it is itself
a file to import: what is put right in it is taken from `given`.
"""

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from hansa.business.commerce.importing import LineFault

SHOWN: Final = 5
DETAIL_MAX: Final = 200


class Refused(msgspec.Struct):
    """A refused line: its number in the file, what is wrong with it, and what was given: the JSON
    of the line, or its text where it is none."""

    line: int
    detail: str
    given: msgspec.Raw


class RefusedLines:
    """The refused lines of one run, of which the first are shown; all are in the file, if any."""

    def __init__(self, file: str, next_line: int) -> None:
        """Keep what is in the file of lines before `next_line`. Raises OSError for a file that
        cannot be written, and msgspec.MsgspecError for one that holds something else."""
        self.count = 0
        self.first: list[LineFault] = []
        self._out = None
        if file:
            path = Path(file)
            before = path.read_bytes().splitlines() if next_line > 1 and path.exists() else []
            kept = [line for line in before if _number(line) < next_line]
            self._out = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb")
            self._out.truncate()
            self._out.write(b"".join(line + b"\n" for line in kept))
            self._out.flush()

    def add(self, fault: LineFault, line: bytes) -> None:
        """Keep a line."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(LineFault(fault.line, fault.detail[:DETAIL_MAX]))
        if self._out is not None:
            one = Refused(fault.line, fault.detail, msgspec.Raw(_as_json(line)))
            self._out.write(msgspec.json.encode(one) + b"\n")
            self._out.flush()  # to the kernel: it outlives this process

    def close(self) -> None:
        """Close the file."""
        if self._out is not None:
            self._out.close()


def given(line: bytes) -> bytes:
    """Return what was given on a line of a file of refused lines; of any other, the line."""
    if not line.startswith(b'{"line":'):
        return line
    try:
        raw = bytes(msgspec.json.decode(line, type=Refused).given)
        value: Any = msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return line
    return value.encode() if isinstance(value, str) else raw


def _number(line: bytes) -> int:
    return msgspec.json.decode(line, type=Refused).line


def _as_json(line: bytes) -> bytes:
    line = line.strip()
    try:
        msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return msgspec.json.encode(line.decode(errors="replace"))
    return line
