"""Remote: what a call to a service in another process costs the one that calls.

    python -m benchmarks.remote

The processor time of the calling process, its event loop and all, for a query that answers a value
of 900 bytes, decoded; one call at a time, and 32 at once. Goal: 60 us.
"""

import asyncio
import base64
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop

from benchmarks import hansa_app
from benchmarks.installing import HERE
from benchmarks.shelf.api import get_product
from benchmarks.workload import Seed, make_seed, read_seed, write_seed
from hansa.assembly import Cell, Place
from hansa.kernel.caller import Caller, Principal
from hansa.kernel.http.server import serve
from hansa.kernel.remote.placement import Placement, read_placement
from hansa.kernel.sealing import MASTER_KEY_ENV

CALLS: Final = 10_000
ROUNDS: Final = 3
GOAL_US: Final = 60


def _placement(ports: list[int]) -> Placement:
    home, bench = ports
    return read_placement(
        f'[processes.home]\nurls = ["http://127.0.0.1:{home}"]\nservices = ["sites"]\n'
        f'[processes.bench]\nurls = ["http://127.0.0.1:{bench}"]\nservices = ["bench"]\n'
    )


async def _filled(folder: Path, seed: Seed) -> None:
    cell = Cell(Place(folder), hansa_app.SERVICES, background=False)
    await cell.open()
    await hansa_app.fill(cell, seed)
    await cell.close()


async def _node(folder: Path, name: str, ports: list[int], stop: asyncio.Event) -> Any:
    """Serve one entry; return its cell when it takes requests, and the task that serves."""
    cell = Cell(
        Place(folder), hansa_app.SERVICES, background=False, placement=_placement(ports),
        hosted=(name,),
    )  # fmt: skip
    await cell.open()
    started = asyncio.Event()
    port = ports[0] if name == "sites" else ports[1]
    serving = asyncio.create_task(
        serve(cell.app, "127.0.0.1", port, on_started=started.set, stop=stop)
    )
    await started.wait()
    return cell, serving


async def _serve(folder: Path, ports: list[int]) -> None:
    """Serve products until standard input ends."""
    await _filled(folder, read_seed(folder.parent / "seed.json"))
    stop = asyncio.Event()
    cell, serving = await _node(folder, "bench", ports, stop)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    await serving
    await cell.close()


async def _call(cell: Cell, seed: Seed, callers: int) -> float:
    """Return the microseconds of processor time of one call, by so many callers at once."""
    site = seed.sites[0]
    who = Principal(site.key_id, frozenset(hansa_app.PERMISSIONS), "key", site.id)
    caller = Caller(site.id, who)
    handle = seed.products[site.id][0].handle

    async def one() -> None:
        for _ in range(CALLS // callers):
            found = await cell.runtime.do(get_product, caller, {"handle": handle})
            assert found.handle == handle

    begun = time.process_time()
    await asyncio.gather(*(one() for _ in range(callers)))
    return (time.process_time() - begun) / (CALLS // callers * callers) * 1e6


async def _measure(folder: Path, ports: list[int]) -> None:
    seed = make_seed()
    write_seed(seed, folder / "seed.json")
    command = [sys.executable, "-m", "benchmarks.remote", str(folder / "bench"), *map(str, ports)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, cwd=HERE.parent, stdin=pipe, stdout=pipe)  # noqa: ASYNC220
    try:
        assert child.stdout is not None
        await _filled(folder / "home", seed)
        stop = asyncio.Event()
        cell, serving = await _node(folder / "home", "sites", ports, stop)
        assert (await asyncio.to_thread(child.stdout.readline)).strip() == b"ready"
        print(f"load {' '.join(f'{value:.2f}' for value in os.getloadavg())}\n")
        print("| callers at once | CPU us of the caller | goal | |\n|--:|--:|--:|---|")
        for callers in (1, 32):
            await _call(cell, seed, callers)
            cost = median([await _call(cell, seed, callers) for _ in range(ROUNDS)])
            held = "holds" if cost <= GOAL_US else "MISSED"
            print(f"| {callers} | {cost:.1f} | {GOAL_US} | {held} |")
        stop.set()
        await serving
        await cell.close()
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(30)


def _ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(_serve(Path(sys.argv[1]), [int(text) for text in sys.argv[2:]]))
    else:
        os.environ[MASTER_KEY_ENV] = base64.b64encode(os.urandom(32)).decode()
        with tempfile.TemporaryDirectory() as where:
            uvloop.run(_measure(Path(where), _ports()))
