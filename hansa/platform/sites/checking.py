"""Checking: all that is wrong with a request's values, told at once and each at its place."""

from collections.abc import Callable
from typing import TypeVar

from hansa.kernel.problems import Fault, Unprocessable

T = TypeVar("T")
V = TypeVar("V")


class Checks:
    """Collects what pure checks refuse (by ValueError) and refuses it together."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def take(self, pointer: str, check: Callable[[T], V], value: T, instead: V) -> V:
        """Return what `check` makes of a value; where it refuses, note that and give `instead`."""
        try:
            return check(value)
        except ValueError as error:
            self._faults.append(Fault(pointer, str(error)))
            return instead

    def done(self) -> None:
        """Raise Unprocessable with every fault that was noted, if there is any."""
        if self._faults:
            raise Unprocessable("Some values are refused.", errors=tuple(self._faults))


def text_up_to(letters: int) -> Callable[[str], str]:
    """Return a check for a text of 1 to `letters` letters that has no control characters."""

    def check(value: str) -> str:
        value = value.strip()
        if not 1 <= len(value) <= letters or any(ord(letter) < 32 for letter in value):
            raise ValueError(f"1 to {letters} letters on one line")
        return value

    return check
