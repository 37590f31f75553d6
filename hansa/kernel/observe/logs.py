"""Logs: lines of Python's logging, written and kept with the traces that they belong to."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

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
        here = current.get()
        trace = "" if here is None else here[0].trace.id
        text = _formatted(self, record)
        self._keep(Line(self._now_us(), record.levelno, record.name, text, trace))


class JsonHandler(logging.StreamHandler[Any]):
    """Writes each line as a JSON object, for what collects the logs of many processes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line with its time (RFC 3339), and what the code that logs it is working on."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _formatted(_PLAIN, record),
        }
        here = current.get()
        if here is not None:
            segment = here[0]
            line |= {
                "trace_id": segment.trace.id, "span_id": segment.trace.span,
                "operation": segment.name, "service": segment.service, "site": segment.site,
            }  # fmt: skip
        return msgspec.json.encode(line).decode()


class TextHandler(logging.StreamHandler[Any]):
    """Writes each line for people, with its trace at the end where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return ``LEVEL logger: text [trace]``."""
        here = current.get()
        trace = "" if here is None else f" [{here[0].trace.id}]"
        text, newline, rest = _formatted(_PLAIN, record).partition("\n")
        return f"{record.levelname} {record.name}: {text}{trace}{newline}{rest}"


_PLAIN: Final = logging.Handler()
_PLAIN.setFormatter(logging.Formatter("%(message)s"))


def _formatted(handler: logging.Handler, record: logging.LogRecord) -> str:
    """Return the text of a line with its traceback; wrong arguments are no reason to fail."""
    try:
        return logging.Handler.format(handler, record)[:LENGTH_MAX]
    except Exception as error:
        return f"{record.msg!r} cannot be formatted: {error!r}"[:LENGTH_MAX]
