"""Flood: what one site feels of another one that asks for ten times what it may.

    python -m benchmarks.flood [--rounds N] [--seconds S] [--limit PER_S] [read create]

A quiet site sends a steady load, in rounds of three that take turns: alone; beside a site that
keeps to its limit; beside the same site at ten times its limit. Many short rounds, since what else
the machine does comes and goes; p50 and p99 are of the answers of all rounds together. The server
has a core of its own; the flood yields to the quiet site on the clients' core. Goal: the flood
changes the p99 by less than 20 %.
"""

import argparse
import asyncio
import base64
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks import hansa_app, meter
from benchmarks.client import Operation
from benchmarks.installing import HERE
from benchmarks.pacing import Pace, Paced
from benchmarks.target import Target, make_target
from benchmarks.workload import (
    Creations,
    Seed,
    make_seed,
    percentile,
    read_requests,
    read_seed,
    write_seed,
)
from hansa.assembly import Cell
from hansa.kernel.rate import Rate
from hansa.kernel.sealing import MASTER_KEY_ENV
from hansa.kernel.site_limits import SiteLimits

GOAL: Final = 1.2
FLOOD: Final = 10
"""How many times its limit the flooding site asks for."""
QUIET_PER_S: Final[dict[Operation, float]] = {"read": 100, "create": 50}
LINES: Final = 64
QUIET, NOISY = 0, 1
"""Which sites of the seed."""
CASES: Final = ("alone", "at its limit", "flood")


class Order(msgspec.Struct):
    """What a client is to do: requests a second to a site, or none."""

    site: int
    operation: Operation
    per_s: float
    seconds: float
    number: int


def _requests(seed: Seed, order: Order) -> Callable[[], bytes]:
    one = Seed([seed.sites[order.site]], seed.products)
    if order.operation == "read":
        reads = iter(read_requests(one) * 1_000)
        return lambda: next(reads)[0]
    creations = Creations(one, f"f{order.site}n{order.number}")
    return lambda: creations.next()[0]


async def _client(port: int, seed: Seed) -> None:
    """Do what is ordered, line by line, until the input ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        order = msgspec.json.decode(line, type=Order)
        pace = Pace(_requests(seed, order), order.per_s, order.number)
        await pace.connect(port, LINES)
        done = await pace.run(order.seconds)
        sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
        sys.stdout.buffer.flush()


class Client:
    """A client in a process of its own."""

    def __init__(self, target: Target, cpu: int, nice: int) -> None:
        seed_file = str(target.folder / "seed.json")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.flood", "--client", str(target.port), seed_file],
            cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        os.sched_setaffinity(self._process.pid, {cpu})
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, self._process.pid, own + nice)

    def begin(self, order: Order) -> None:
        """Send an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()

    def end(self) -> Paced:
        """Return what came of the order."""
        assert self._process.stdout is not None
        return msgspec.json.decode(self._process.stdout.readline(), type=Paced)

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


async def _fill(where: Path, seed: Seed, limit: float) -> None:
    """Write the seed, and limit the site that will flood."""
    cell = Cell(hansa_app.place("sqlite", str(where), ""), hansa_app.SERVICES)
    await cell.open()
    await hansa_app.fill(cell, seed)
    rate = Rate(limit, int(limit))
    await hansa_app.limit(cell, seed.sites[NOISY].id, SiteLimits(rate, rate))
    await cell.close()


class Case(msgspec.Struct):
    """How long the quiet site waited, and what part of its core the server was busy."""

    times_ms: list[float]
    busy: float


def _round(
    target: Target,
    clients: tuple[Client, Client],
    operation: Operation,
    number: int,
    options: argparse.Namespace,
) -> dict[str, Case]:
    """Run the three cases."""
    quiet, noisy = clients
    found: dict[str, Case] = {}
    for at, case in enumerate(CASES):
        place = number * len(CASES) + at
        used_s, begun = meter.cpu_s(target.pid), time.monotonic()
        if at:
            per_s = options.limit * (FLOOD if case == "flood" else 1)
            noisy.begin(Order(NOISY, operation, per_s, options.seconds, place))
        quiet.begin(Order(QUIET, operation, QUIET_PER_S[operation], options.seconds, place))
        one = quiet.end()
        if one.good != one.sent:
            raise SystemExit(f"the quiet site was refused: {one.statuses}")
        other = noisy.end() if at else Paced(0, options.seconds, {}, [])
        used_s, took_s = meter.cpu_s(target.pid) - used_s, time.monotonic() - begun
        found[case] = Case(one.times_ms, used_s / took_s)
        print(
            f"  round {number + 1} {operation:6} {case:12} p50 {_ms(one.times_ms, 0.5)} p99"
            f" {_ms(one.times_ms, 0.99)} ms; the other sent {other.sent / options.seconds:6.0f}/s,"
            f" {other.good / options.seconds:5.0f}/s were done  load {os.getloadavg()[0]:.2f}",
            file=sys.stderr,
        )
    return found


def _ms(times_ms: list[float], part: float) -> str:
    return f"{percentile(sorted(times_ms), part):5.1f}"


def _tell(operation: Operation, rounds: list[dict[str, Case]]) -> None:
    """Print a line for each case."""
    together = {case: [ms for one in rounds for ms in one[case].times_ms] for case in CASES}
    alone = percentile(sorted(together["alone"]), 0.99)
    for case, times_ms in together.items():
        ratio = percentile(sorted(times_ms), 0.99) / alone
        busy = sum(one[case].busy for one in rounds) / len(rounds)
        held = "" if case != "flood" else " holds" if ratio < GOAL else " MISSED"
        print(
            f"| {operation} | {case} | {len(times_ms)} | {_ms(times_ms, 0.5)} |"
            f" {_ms(times_ms, 0.99)} | x{ratio:.2f}{held} | {busy:.1%} |"
        )


def _measure(options: argparse.Namespace, folder: Path) -> None:
    seed = make_seed()
    write_seed(seed, folder / "seed.json")
    target = make_target("hansa", "sqlite", seed, folder, None)
    cores = sorted(os.sched_getaffinity(0))
    uvloop.run(_fill(Path(target.command[-3]), seed, options.limit))
    target.start(cores[0])
    clients = (Client(target, cores[-1], 0), Client(target, cores[-1], 10))
    try:
        print(
            "| operation | beside the quiet site | answers | p50 ms | p99 ms | by alone | server |"
        )
        print("|---|---|--:|--:|--:|--:|--:|")
        for operation in options.operations:
            _round(target, clients, operation, 0, options)  # to be warm
            rounds = [
                _round(target, clients, operation, number, options)
                for number in range(1, options.rounds + 1)
            ]
            _tell(operation, rounds)
    finally:
        for client in clients:
            client.stop()
        target.stop()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flood", description=__doc__)
    parser.add_argument("operations", nargs="*", default=["read", "create"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--limit", type=float, default=50.0, help="of the site that floods")
    options = parser.parse_args()
    os.environ[MASTER_KEY_ENV] = base64.b64encode(os.urandom(32)).decode()
    parent = HERE / ".run"
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        _measure(options, Path(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        uvloop.run(_client(int(sys.argv[2]), read_seed(Path(sys.argv[3]))))
    else:
        main()
