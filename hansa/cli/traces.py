"""Traces: look at what was kept of requests, deliveries and due work, beside whoever writes it."""

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hansa import project
from hansa.cli.serving import failed
from hansa.kernel.clock import MachineClock
from hansa.kernel.observe import flow
from hansa.kernel.observe.logs import Line
from hansa.kernel.observe.options import OptionInvalid, read_options
from hansa.kernel.observe.reading import CursorInvalid, Kept, Reader, Row, Wanted
from hansa.kernel.observe.waterfall import Bar, bars

BAR: Final = 20
"""Characters of the bar that shows when and how long."""
WIDTH_LEAST: Final = 80
LINES_MAX: Final = 500


def run(options: argparse.Namespace) -> int:
    """Do what the verb says."""
    try:
        file = read_options(os.environ, Path(options.folder), developing=False).file
    except OptionInvalid as error:
        return failed(str(error))
    if not file.exists():
        return failed(f"There is no {file}: nothing has been recorded there yet.")
    reader = Reader(file)
    try:
        lines = _VERBS[options.verb](reader, options)
    except (NotKept, CursorInvalid) as error:
        return failed(str(error))
    finally:
        reader.close()
    for line in lines:
        print(_printable(line))
    return 0


class NotKept(LookupError):
    """Nothing is kept of what was asked for."""


# ---- verbs


def _list(reader: Reader, options: argparse.Namespace) -> list[str]:
    wanted = Wanted(
        kind=options.kind, service=options.service, name=options.name, site=options.site,
        failed=options.failed, took_us=int(options.slower_ms * 1000),
        since_us=MachineClock().now_us() - int(options.since * 1_000_000) if options.since else 0,
    )  # fmt: skip
    page = reader.segments(wanted, options.limit)
    return [_row(row) for row in reversed(page.rows)]


def _show(reader: Reader, options: argparse.Namespace) -> list[str]:
    trace = options.trace.partition("-")[0].lower()  # a Hansa-Request-Id begins with it
    kept = reader.trace(trace)
    if not kept:
        raise NotKept(
            f"Nothing is kept of trace {trace}: failed and slow ones are, and a share of the rest"
            " (HANSA_TRACE_SAMPLE), until they are too old or too many."
        )
    width = 0 if options.full else max(WIDTH_LEAST, shutil.get_terminal_size((120, 24)).columns)
    return [*waterfall(kept, width), *_logged(reader.lines(trace=trace, limit=LINES_MAX))]


def _lines(reader: Reader, options: argparse.Namespace) -> list[str]:
    level = logging.getLevelNamesMapping()[options.level.upper()]
    return list(_logged(reader.lines(level=level, limit=options.limit)))


def _statements(reader: Reader, options: argparse.Namespace) -> list[str]:
    lines = [f"{'total':>10}  {'runs':>8}  {'mean':>9}  {'longest':>9}  {'rows/run':>8}  statement"]
    for rate in reader.statements(options.limit):
        mean, rows = rate.total_us / max(1, rate.count), rate.rows / max(1, rate.count)
        broken = f"  ({rate.failed} failed)" if rate.failed else ""
        lines.append(
            f"{_took(rate.total_us):>10}  {rate.count:>8}  {_took(int(mean)):>9}"
            f"  {_took(rate.longest_us):>9}  {rows:>8.1f}  {' '.join(rate.sql.split())}{broken}"
        )
    return lines


def _operations(reader: Reader, options: argparse.Namespace) -> list[str]:
    lines = [
        f"{'runs':>8}  {'failed':>6}  {'refused':>7}  {'p50':>9}  {'p99':>9}  {'sql/run':>7}  name"
    ]
    for rate in reader.operations(options.kind or "request"):
        lines.append(
            f"{rate.count:>8}  {rate.failed:>6}  {rate.refused:>7}  {_took(rate.p50_us):>9}"
            f"  {_took(rate.p99_us):>9}  {rate.statements / max(1, rate.count):>7.1f}  {rate.name}"
        )
    return lines


def _flow(reader: Reader, options: argparse.Namespace) -> list[str]:
    edges = flow.joined(flow.declared(project.services()), reader.flow())
    return [
        f"{edge.origin:>16} {'calls' if edge.is_call else 'tells'} {edge.target:<16}"
        f"  {edge.what or 'every event':<40}  {edge.count:>8}"
        f"{'' if edge.declared else '  not declared'}"
        for edge in edges
    ]


_VERBS: Final = {
    "list": _list, "show": _show, "lines": _lines, "statements": _statements,
    "operations": _operations, "flow": _flow,
}  # fmt: skip


# ---- a trace as text


def waterfall(kept: Sequence[Kept], width: int) -> Iterator[str]:
    """Give the lines of a trace: its bars, then what went into and came out of each segment; lines
    are cut to a width, none for 0."""
    shown = bars(kept)
    whole_us = max((bar.begin_us + bar.took_us for bar in shown), default=0)
    processes = len({one.row.process for one in kept})
    first = kept[0].row
    yield (
        f"trace {first.trace}  {_at(first.start_us)}  {_took(whole_us)}"
        f"  {len(kept)} {'part' if len(kept) == 1 else 'parts'}"
        f" in {processes} {'process' if processes == 1 else 'processes'}"
    )
    for bar in shown:
        yield _cut(_bar(bar, kept[bar.segment].row, whole_us), width)
    for one in kept:
        detail = one.detail
        lost = f"{detail.lost} statements and calls" if detail.lost else ""
        told = (
            ("with", detail.arguments), ("answered", detail.answer),
            ("error", detail.error.strip()), ("left out", lost),
        )  # fmt: skip
        if any(text for _, text in told):
            yield ""
            yield f"{one.row.name}  {one.row.span}"
        for title, text in told:
            for number, line in enumerate(text.splitlines()):
                yield _cut(f"  {title if not number else '':<9} {line}", width)


def _bar(bar: Bar, row: Row, whole_us: int) -> str:
    """Return a line such as ``[    ====    ]   1.20 ms   +3.00 ms  sql (2 rows) SELECT ...``."""
    scale = BAR / max(1, whole_us)
    begin = min(BAR - 1, round(bar.begin_us * scale))
    long = min(BAR - begin, max(1, round(bar.took_us * scale)))
    drawn = f"{' ' * begin}{'=' * long}".ljust(BAR)
    return (
        f"[{drawn}] {_took(bar.took_us):>9} {'+' + _took(bar.begin_us):>10}"
        f"  {'  ' * bar.depth}{_label(bar, row)}"
    )


def _label(bar: Bar, row: Row) -> str:
    rows = "" if bar.rows is None else f"({bar.rows} {'row' if bar.rows == 1 else 'rows'})"
    about = (str(row.status or ""), row.site, row.process) if bar.is_segment else ()
    error = f"! {bar.error}" if bar.error else ""
    words = [bar.kind, rows, *bar.name.split(), *about, error]
    return " ".join(word for word in words if word)


def _row(row: Row) -> str:
    return (
        f"{_at(row.start_us)}  {row.kind:<8}  {row.status or '-':>3}  {_took(row.took_us):>9}"
        f"  {row.name:<34}  {row.site or '-':<30}  {row.reason:<7}  {row.trace}"
    )


def _logged(lines: Sequence[Line]) -> Iterator[str]:
    for line in reversed(lines):
        trace = f"  {line.trace}" if line.trace else ""
        level = logging.getLevelName(line.level)
        yield f"{_at(line.at_us)}  {level}  {line.logger}{trace}"
        yield from (f"  {one}" for one in line.text.splitlines())


def _took(us: int) -> str:
    if us < 1_000:
        return f"{us} us"
    return f"{us / 1_000:.2f} ms" if us < 1_000_000 else f"{us / 1_000_000:.2f} s"


def _at(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1_000_000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _cut(line: str, width: int) -> str:
    return f"{line[: width - 1]}…" if width and len(line) > width else line


def _printable(line: str) -> str:
    """Return a line that does nothing to a terminal: what is told came from anybody."""
    encoding = sys.stdout.encoding or "utf-8"
    safe = "".join(one if one.isprintable() else repr(one)[1:-1] for one in line)
    return safe.encode(encoding, "backslashreplace").decode(encoding)
