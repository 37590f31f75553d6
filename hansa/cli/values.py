"""Values of options: what reads them and tells their bounds, and what runs a command."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module


def lazily(module: str, function: str = "run") -> Callable[[argparse.Namespace], int]:
    """Return what runs a command, and imports it only then: a process that serves has no use for
    what the other commands stand on."""

    def run(options: argparse.Namespace) -> int:
        found: Callable[[argparse.Namespace], int] = getattr(
            import_module(f"hansa.cli.{module}"), function
        )
        return found(options)

    return run


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return what reads a whole number within bounds; argparse tells the bounds in one line."""

    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"it is a whole number from {low} to {high}")
        return int(text)

    return read


def seconds(text: str) -> float:
    """Return a number from 0.1 to 100,000; argparse tells the bounds in one line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 100_000:
        raise argparse.ArgumentTypeError("it is a number from 0.1 to 100000")
    return value


def ago(text: str) -> float:
    """Return the seconds of a length of time such as 90s, 15m, 2h or 3d."""
    unit = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or len(text) > 7:
        raise argparse.ArgumentTypeError("it is a length of time such as 90s, 15m, 2h or 3d")
    return float(int(text[:-1]) * unit)


def milliseconds(text: str) -> float:
    """Return a number from 0 to 3,600,000; argparse tells the bounds in one line."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3_600_000:
        raise argparse.ArgumentTypeError("it is a number from 0 to 3600000")
    return value


@contextmanager
def private() -> Iterator[None]:
    """Have all files that are made meanwhile be their owner's alone, whoever makes them: rows of
    customers are in a cell, in its log, its copies and its dumps."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def instant(text: str) -> datetime:
    """Return an instant with its zone. Raises ValueError, which tells how one is written."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(
            f"{text!r} is no instant: write the day, the time and in which zone, as in"
            " 2027-01-01T12:00:00Z."
        )
    return found
