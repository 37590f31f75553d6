"""Observer: the recorder of a process, put together with what keeps and exports what it records."""

import asyncio
import itertools
import logging
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hansa.kernel.observe import prometheus
from hansa.kernel.observe.archive import Archive
from hansa.kernel.observe.backlog import Backlog, Counts
from hansa.kernel.observe.logs import LineHandler
from hansa.kernel.observe.options import Options
from hansa.kernel.observe.rates import Snapshots
from hansa.kernel.observe.reading import Reader
from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.observe.scraping import MetricsPort

if TYPE_CHECKING:
    from hansa.kernel.load import Load
    from hansa.kernel.observe.exporting import Exporter
    from hansa.kernel.runtime import Runtime

LOOK_S: Final = 0.2
"""How often what has ended is counted, and the loop's lag looked at."""
COUNTS_EVERY: Final = 5
"""Looks between two times that counts are kept."""
_ABOUT: Final = {
    "lost": "Segments and lines that could not be kept.",
    "rejected": "Spans that the collector has rejected.",
    "lag": "How late the event loop was at the last look.",
    "lag_max": "The latest that it ever was.",
    "level": "How much is given up for too much load: to 1 background, to 2 reads, to 3 commands.",
    "shed": "Requests that were turned away for it.",
    "parked": "Deliveries of the cell that were given up, until somebody replays or skips them.",
    "waiting": "Deliveries of the cell that failed and are tried again.",
    "due_parked": "Due work of the cell that was given up.",
    "late": "Due work of the cell that could have begun 10 s ago, or longer.",
    "late_s": "How long ago the first of that could have begun.",
}


class Observer:
    """What observes one process. `start` and `stop` it on its loop."""

    def __init__(self, options: Options, *, process: str = "") -> None:
        self.options = options
        self.process = process or f"{os.getpid()}"
        self.exporter = _exporter(options, self.process) if options.otlp_endpoint else None
        self.archive = Archive(
            options.file, bytes_max=options.bytes_max, age_max_s=options.age_max_s,
            process=self.process, written=self.exporter.take if self.exporter else None,
        )  # fmt: skip
        self.recorder = Recorder(
            sample=options.sample, payloads=options.payloads, keep=self.archive.keep
        )
        self._snapshots = Snapshots(self.recorder)
        self.backlog: Backlog | None = None
        self.load: Load | None = None
        self.port: MetricsPort | None = None
        if options.metrics:
            self.port = MetricsPort(*options.metrics, self.metrics)
        self.lag_s = 0.0
        self.lag_max_s = 0.0
        self._handler = LineHandler(self.archive.keep_line)
        self._watch: asyncio.Task[None] | None = None

    def reader(self) -> Reader:
        """Return what reads the kept traces, for one thread; close it."""
        return Reader(self.options.file)

    async def metrics(self) -> bytes:
        """Return the page for a scraper."""
        counts = None if self.backlog is None else await self.backlog.counts()
        self.recorder.settle()
        return prometheus.exposition(self.recorder, self.gauges(counts))

    def watch(self, runtime: "Runtime") -> None:
        """Tell scrapers of the load of a process, too, and of what stands in its cell."""
        self.backlog, self.load = Backlog(runtime), runtime.load

    def keep_counts(self) -> None:
        """Have what was counted until now kept; on the loop."""
        self.recorder.settle()
        self.archive.keep_counts(self._snapshots.changed())

    async def start(self) -> None:
        """Begin to keep what is recorded and logged. Raises OSError where the port for scrapers
        is taken."""
        if self.port is not None:
            await self.port.start()
        self.archive.start()
        if self.exporter is not None:
            self.exporter.start()
        logging.getLogger().addHandler(self._handler)
        self._watch = asyncio.create_task(self._look(), name="hansa-lag")

    async def stop(self) -> None:
        """Write and send what waits, then stop; waits a few seconds at most."""
        logging.getLogger().removeHandler(self._handler)
        if self.port is not None:
            self.port.stop()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self.keep_counts()
        await asyncio.to_thread(self.archive.stop)
        if self.exporter is not None:
            await asyncio.to_thread(self.exporter.stop)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for turn in itertools.count():
            wanted = loop.time() + LOOK_S
            await asyncio.sleep(LOOK_S)
            self.lag_s = max(0.0, loop.time() - wanted)
            self.lag_max_s = max(self.lag_max_s, self.lag_s)
            if turn % COUNTS_EVERY:
                self.recorder.settle()
            else:
                self.keep_counts()

    def gauges(self, counts: Counts | None = None) -> Iterator[tuple[str, str, float]]:
        """Give what a scraper wants to know beside the recorder's counts."""
        if counts is not None:
            yield "hansa_deliveries_parked", _ABOUT["parked"], counts.parked
            yield "hansa_deliveries_waiting", _ABOUT["waiting"], counts.waiting
            yield "hansa_due_parked", _ABOUT["due_parked"], counts.due_parked
            yield "hansa_due_late", _ABOUT["late"], counts.due_late
            yield "hansa_due_late_seconds", _ABOUT["late_s"], counts.due_late_s
        if self.load is not None:
            yield "hansa_load_level", _ABOUT["level"], self.load.settled()
            yield "hansa_load_shed_total", _ABOUT["shed"], self.load.refused
        yield "hansa_observe_lost_total", _ABOUT["lost"], float(self.archive.lost)
        if self.exporter is not None:
            yield "hansa_otlp_sent_total", "Segments exported.", float(self.exporter.sent)
            yield "hansa_otlp_rejected_total", _ABOUT["rejected"], float(self.exporter.rejected)
            yield "hansa_otlp_lost_total", "Segments not exported.", float(self.exporter.lost)
        yield "hansa_loop_lag_seconds", _ABOUT["lag"], self.lag_s
        yield "hansa_loop_lag_max_seconds", _ABOUT["lag_max"], self.lag_max_s
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield "process_cpu_seconds_total", "Processor time.", used.ru_utime + used.ru_stime
        yield "process_resident_memory_bytes", "Resident memory.", float(resident_bytes())


def _exporter(options: Options, process: str) -> "Exporter":
    from hansa.kernel.observe.exporting import Exporter  # and with it HTTP and TLS

    return Exporter(
        options.otlp_endpoint, headers=options.otlp_headers, timeout_s=options.otlp_timeout_s,
        service=options.service_name, process=process,
    )  # fmt: skip


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
