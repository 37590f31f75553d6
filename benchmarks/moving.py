"""Moving: how long nobody can write for a site of 10,000 rows that goes to another cell.

    python -m benchmarks.moving [sqlite | postgres]

Three processes: one with the platform, two that share the sites. A client creates a product after
the other, each under a key, at the process that passes on; its longest wait is the pause as people
have it. The mover tells its own, from the fence to the flip. Goal: 300 ms.
"""

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.installing import HERE
from hansa.assembly import OPERATOR, SERVICES, Cell, Place
from hansa.kernel.clock import MachineClock
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Placement, read_placement
from hansa.kernel.sealing import MASTER_KEY_ENV, load_sealer
from hansa.platform.sites.api import NewKey, NewSite, create_key, create_site
from hansa.platform.sites.mover import OWN, Moved, Mover
from hansa.testing.postgres import Cluster

ROWS: Final = 10_000
MOVES: Final = 6
GOAL_MS: Final = 300
SERVES: Final = "commerce,webhooks,mail,blobs"
CELLS: Final = ("north", "south")


def _placement(folder: Path, ports: list[int]) -> Placement:
    entries = zip(("home", *CELLS), ("sites", SERVES, SERVES), ports, strict=True)
    text = "".join(
        f'[processes.{name}]\nurls = ["http://127.0.0.1:{port}"]\n'
        f"services = {json.dumps(services.split(','))}\n"
        for name, services, port in entries
    )
    (folder / "placement.toml").write_text(text)
    return read_placement(text)


async def _made(place: Place) -> None:
    cell = Cell(place, SERVICES, background=False)
    await cell.open()
    await cell.close()


async def _site(place: Place) -> tuple[str, str]:
    """Make the platform's cell with a site; return its id and a key."""
    cell = Cell(place, SERVICES, background=False)
    await cell.open()
    site = await cell.runtime.do(create_site, OPERATOR, {"body": NewSite("moving")})
    new = {"site": site.id, "body": NewKey("bench", ("commerce.*",))}
    key = str((await cell.runtime.do(create_key, OPERATOR, new)).key)
    await cell.close()
    return site.id, key


@contextmanager
def _served(folder: Path, name: str, port: int, place: Place) -> Iterator[None]:
    services = "sites" if name == "home" else SERVES
    command = [
        sys.executable, "-m", "hansa.cli", "serve", "--folder", str(place.folder), "--port",
        str(port), "--services", services, "--process", name, "--placement",
        str(folder / "placement.toml"),
    ]  # fmt: skip
    if place.database:
        command += ["--database", place.database]
    process = subprocess.Popen(command, cwd=HERE.parent, stderr=subprocess.DEVNULL, stdout=-1)
    try:
        assert process.stdout is not None
        assert b"serves" in process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.wait(30)


class Client:
    """Creates products, one after the other, and notes how long each took."""

    def __init__(self, port: int, site: str, key: str) -> None:
        self._port = port
        self._headers = {
            "authorization": f"Bearer {key}", "hansa-site": site,
            "content-type": "application/json",
        }  # fmt: skip
        self.count = 0
        self.longest_s = 0.0
        self.failed: list[str] = []
        self._stop = threading.Event()

    def create(self, connection: http.client.HTTPConnection, name: str) -> None:
        """Create one."""
        body = {
            "handle": name, "title": name,
            "variants": [{"sku": name, "title": name, "price": {"minor": 100, "currency": "EUR"}}],
        }  # fmt: skip
        begun = time.perf_counter()
        headers = {**self._headers, "idempotency-key": f"key-of-the-bench-{name}"}
        connection.request("POST", "/commerce/products", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        self.longest_s = max(self.longest_s, time.perf_counter() - begun)
        if answer.status >= 300:
            self.failed.append(f"{answer.status} {text!r}")
        self.count += 1

    def fill(self, part: int, count: int) -> None:
        """Create many."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        for number in range(count):
            self.create(connection, f"p{part}-{number}")

    def go_on(self) -> None:
        """Create until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        number = 0
        while not self._stop.is_set():
            self.create(connection, f"live-{id(self)}-{number}")
            number += 1

    def stop(self) -> None:
        """Stop."""
        self._stop.set()


async def _move(placement: Placement, site: str, to: str) -> Moved:
    sealer = load_sealer(Path(), os.environ[MASTER_KEY_ENV])
    seal = Seal(lambda: sealer.derived("hansa/link"))
    remote = Remote(placement, OWN, seal, MachineClock())
    try:
        return await Mover(placement, remote).move(site, to)
    finally:
        remote.close()


def _fill(client: Client, rows: int) -> None:
    """Create products until the site has so many rows; each makes about seven."""
    threads = [threading.Thread(target=client.fill, args=(n, rows // 7 // 8)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.failed == [], client.failed[:3]


def _measure(placement: Placement, port: int, site: str, key: str) -> None:
    _fill(Client(port, site, key), ROWS)
    print("| to | rows | fence to flip, ms | longest wait of a client, ms | goal | |")
    print("|---|--:|--:|--:|--:|---|")
    for number in range(MOVES):
        client = Client(port, site, key)
        thread = threading.Thread(target=client.go_on)
        thread.start()
        time.sleep(0.3)  # the client is at work
        client.longest_s = 0.0
        to = CELLS[(number + 1) % 2]
        moved = uvloop.run(_move(placement, site, to))
        client.stop()
        thread.join()
        assert client.failed == [], client.failed[:3]
        pause_ms, longest_ms = moved.pause_s * 1000, client.longest_s * 1000
        held = "holds" if longest_ms < GOAL_MS else "MISSED"
        print(
            f"| {to} | {moved.rows:,} | {pause_ms:.0f} | {longest_ms:.0f} | {GOAL_MS} | {held} |",
            flush=True,
        )


def _ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _run(folder: Path, engine: str) -> None:
    ports = _ports(3)
    placement = _placement(folder, ports)
    with ExitStack() as stack:
        places: list[Any] = [Place(folder / name) for name in ("home", *CELLS)]
        if engine == "postgres":
            cluster = stack.enter_context(Cluster())
            for number, name in enumerate(CELLS, start=1):
                dsns = cluster.new_database(name)
                places[number] = Place(folder / name, dsns.application, dsns.owner)
        site, key = uvloop.run(_site(places[0]))
        for place in places[1:]:
            uvloop.run(_made(place))
        for name, port, place in zip(("home", *CELLS), ports, places, strict=True):
            stack.enter_context(_served(folder, name, port, place))
        print(f"load {' '.join(f'{value:.2f}' for value in os.getloadavg())}, {engine}\n")
        _measure(placement, ports[0], site, key)


if __name__ == "__main__":
    os.environ[MASTER_KEY_ENV] = base64.b64encode(os.urandom(32)).decode()
    with tempfile.TemporaryDirectory() as where:
        _run(Path(where), sys.argv[1] if len(sys.argv) > 1 else "sqlite")
