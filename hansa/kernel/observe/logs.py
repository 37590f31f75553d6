"""Logs: lines of Python's logging, kept beside the traces that they belong to."""

import logging
from collections.abc import Callable
from typing import Final

from hansa.kernel.clock import MachineClock
from hansa.kernel.observe.spans import current
from hansa.kernel.structs import Struct

LENGTH_MAX: Final = 8_000
OWN: Final = "hansa.observe"
"""The logger of this package: it is not kept, since it tells that nothing can be."""


class Line(Struct):
    """A line of the log; `level` is that of the module `logging`."""

    at_us: int
    level: int
    logger: str
    text: str
    trace: str


class LineHandler(logging.Handler):
    """Takes what is logged, from any thread, and hands it on."""

    def __init__(self, keep: Callable[[Line], None], level: int = logging.INFO) -> None:
        super().__init__(level)
        self._keep = keep
        self._now_us = MachineClock().now_us
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line, with the trace of the code that logs it."""
        if record.name == OWN:
            return
        try:
            text = self.format(record)[:LENGTH_MAX]
        except Exception as error:  # a line with wrong arguments is no reason to fail
            text = f"{record.msg!r} cannot be formatted: {error!r}"[:LENGTH_MAX]
        here = current.get()
        trace = "" if here is None else here[0].trace.id
        self._keep(Line(self._now_us(), record.levelno, record.name, text, trace))
