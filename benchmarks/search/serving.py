"""Serving: `hansa serve` in a process, on a core of its own, with sites and documents in it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks import meter
from benchmarks.hansa_app import UNLIMITED, limit
from benchmarks.search.traffic import Ask, Outcome, Put
from benchmarks.target import free_port
from hansa.assembly import OPERATOR, SERVICES, Cell, Place
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.structs import RawBody
from hansa.platform.search import api
from hansa.platform.search.opened import QUIET_S
from hansa.platform.search.schema import Schema
from hansa.platform.sites.api import NewKey, NewSite, create_key, create_site

ROOT = Path(__file__).parents[2]
BATCH = 1_000
IDLE_S = 2 * QUIET_S
"""Twice as long as an index is quiet before it is compacted."""
IDLE_PART = 0.05
IDLE_MAX_S = 120.0
NAME = "goods"


class NotServed(Exception):
    """The server did not start, or an answer was wrong."""


async def prepared(
    folder: Path, schema: Schema, sites: int, documents: Sequence[bytes]
) -> list[tuple[str, str]]:
    """Make a cell whose sites have these documents each; return the ids of the sites, and keys."""
    cell = Cell(Place(folder, synchronous="OFF"), SERVICES, background=False)
    await cell.open()
    made: list[tuple[str, str]] = []
    for number in range(sites):
        form = NewSite(f"site {number}")
        site = (await cell.runtime.do(create_site, OPERATOR, {"body": form})).id
        await limit(cell, site, UNLIMITED)
        new = {"site": site, "body": NewKey("bench", ("search.*",))}
        key = (await cell.runtime.do(create_key, OPERATOR, new)).key
        owner = Caller(site, SYSTEM)
        collection = {"name": NAME, "body": api.CollectionForm(schema, open_filter="")}
        await cell.runtime.do(api.put_collection, owner, collection)
        for begin in range(0, len(documents), BATCH):
            raw = RawBody(b"\n".join(documents[begin : begin + BATCH]), {})
            taken = await cell.runtime.do(api.put_documents, owner, {"name": NAME, "raw": raw})
            if taken.refused:
                raise NotServed(f"a document was refused: {taken.refused[0]}")
        made.append((site, str(key)))
    await cell.close()
    return made


@contextmanager
def served(folder: Path, *, pinned: bool = True) -> Iterator[tuple[int, int]]:
    """Serve a cell, on the first core alone if `pinned`; give the server's process and its port."""
    port, core = free_port(), min(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "hansa.cli", "serve", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--folder", str(folder)], cwd=ROOT, stdout=subprocess.PIPE, stderr=log
        )
    try:
        if pinned:
            meter.pin([process.pid], core)
        assert process.stdout is not None
        if b"serves" not in process.stdout.readline():
            raise NotServed((folder / "server.log").read_text()[-2000:])
        yield process.pid, port
    except NotServed as why:
        raise NotServed(f"{why}\n{(folder / 'server.log').read_text()[-2000:]}") from why
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def sent(order: Ask | Put, seconds: float) -> Outcome:
    """Have the client do something, on the last core."""
    core = sorted(os.sched_getaffinity(0))[-1]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.search.traffic"], cwd=ROOT, check=True, timeout=seconds,
        input=msgspec.json.encode(order), stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=Outcome)


def until_idle(pid: int) -> None:
    """Return when a server has used no processor time for a while. Raises NotServed."""
    end, before = time.monotonic() + IDLE_MAX_S, -1.0
    while (now := meter.cpu_s(pid)) - before > IDLE_PART * IDLE_S:
        if time.monotonic() > end:
            raise NotServed("the server does not come to rest")
        before = now
        time.sleep(IDLE_S)


def make(
    folder: Path, schema: Schema, sites: int, documents: Iterable[bytes]
) -> list[tuple[str, str]]:
    """Do as `prepared`, from outside of a loop."""
    return asyncio.run(prepared(folder, schema, sites, list(documents)))
