"""Client: the load generator, in a process and on a core of its own, so that its cost never counts.

A closed loop: each connection is kept alive and sends its next request when the last is answered.
It is told what to do by lines of JSON on its standard input and answers by lines on its output.
What must never happen: an answer counted that was not checked, or a burst that never ends.
"""

import asyncio
import gc
import os
import sys
import time
from array import array
from pathlib import Path
from typing import Final, Literal, cast

import msgspec
import uvloop

from benchmarks.workload import (
    Creations,
    Product,
    Seed,
    is_right_creation,
    is_right_read,
    percentile,
    read_requests,
    read_seed,
)

SAMPLE: Final = 50
"""Of so many answers the body of one is decoded and compared; of all others the length."""
STALL_S: Final = 30.0
"""How long after its end a burst may wait for the last answers."""

Operation = Literal["read", "create"]


class Burst(msgspec.Struct):
    """What to do: so many seconds of one operation on so many connections."""

    operation: Operation
    seconds: float
    connections: int


class Outcome(msgspec.Struct):
    """What came of it. `done` counts right answers only; times in seconds and milliseconds."""

    done: int
    wrong: int
    checked: int
    seconds: float
    p50_ms: float
    p99_ms: float
    example: str


class Load:
    """One burst: the requests to come and what is known of the answers."""

    def __init__(self, operation: Operation, requests: "Requests") -> None:
        self.operation = operation
        self.requests = requests
        self.until = 0.0
        self.open = 0
        self.done = 0
        self.wrong = 0
        self.checked = 0
        self.example = ""
        self.latencies = array("d")
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = b"200" if operation == "read" else b"201"

    def next(self) -> tuple[bytes, Product | str]:
        """Return a request and what it must answer."""
        if self.operation == "create":
            return self.requests.creations.next()
        return self.requests.next_read()

    def is_right(self, body: bytes, wanted: Product | str) -> bool:
        """Tell whether a sampled body is what it must be."""
        self.checked += 1
        if isinstance(wanted, str):
            return is_right_creation(body, wanted)
        return is_right_read(body, wanted)

    def fail(self, what: str) -> None:
        """Count a wrong answer and keep the first as the example."""
        self.wrong += 1
        self.example = self.example or what

    def leave(self) -> None:
        """Take note that a connection has ended its loop."""
        self.open -= 1
        if self.open == 0 and not self.finished.done():
            self.finished.set_result(None)


class Requests:
    """The requests of one target over all bursts, so that nothing is created twice."""

    def __init__(self, seed: Seed, salt: str) -> None:
        self.creations = Creations(seed, salt)
        self._reads = read_requests(seed)
        self._at = 0

    def next_read(self) -> tuple[bytes, Product]:
        """Return the next request for a product."""
        at = self._at
        self._at = at + 1 if at + 1 < len(self._reads) else 0
        return self._reads[at]


class Connection(asyncio.Protocol):
    """One connection of HTTP/1.1 that has at most one request on its way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0
        self._wanted: Product | str = ""
        self._busy = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        # uvloop's transports are none by class, only by what they can do.
        self.transport = cast(asyncio.Transport, transport)

    def send(self) -> None:
        """Send the next request, or end when the time is over."""
        now = time.perf_counter()
        if now >= self._load.until:
            self._busy = False
            self._load.leave()
            return
        request, self._wanted = self._load.next()
        self._busy = True
        self._sent = now
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer in, check it, and go on."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            return
        lines = data[:end].lower()
        at = lines.find(b"\r\ncontent-length:")
        if at < 0:
            self._end(f"an answer without Content-Length: {data[:200]!r}")
            return
        stop = lines.find(b"\r", at + 17)
        length = int(lines[at + 17 : stop if stop > 0 else end])
        if len(data) - end - 4 < length:
            self._buffer = data
            return
        self._answered(data, data[end + 4 :], length)

    def _answered(self, data: bytes, body: bytes, length: int) -> None:
        load = self._load
        load.latencies.append(time.perf_counter() - self._sent)
        if data[9:12] != load.status or len(body) != length or length < 300:
            load.fail(f"{data[:300]!r}")
        elif (load.done + load.wrong) % SAMPLE == 0 and not load.is_right(body, self._wanted):
            load.fail(f"not {self._wanted}: {body[:600]!r}")
        else:
            load.done += 1
        self.send()

    def _end(self, what: str) -> None:
        self._load.fail(what)
        self._busy = False
        self.transport.close()
        self._load.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request whose answer will never come."""
        if self._busy:
            self._busy = False
            self._load.fail(f"the connection was closed: {exc!r}")
            self._load.leave()


def say(value: object) -> None:
    """Answer one line."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


async def burst(order: Burst, port: int, requests: Requests) -> None:
    """Connect, say so, wait for the word, and run."""
    loop = asyncio.get_running_loop()
    load = Load(order.operation, requests)
    connections = [
        (await loop.create_connection(lambda: Connection(load), "127.0.0.1", port))[1]
        for _ in range(order.connections)
    ]
    say("connected")
    await loop.run_in_executor(None, sys.stdin.buffer.readline)
    gc.collect()
    gc.disable()
    begun = time.perf_counter()
    load.until = begun + order.seconds
    load.open = len(connections)
    for connection in connections:
        connection.send()
    try:
        await asyncio.wait_for(load.finished, order.seconds + STALL_S)
    except TimeoutError:
        load.fail(f"{load.open} requests were not answered within {STALL_S} s")
    seconds = time.perf_counter() - begun
    gc.enable()
    for connection in connections:
        connection.transport.close()
    times = sorted(load.latencies)
    say(
        Outcome(
            load.done, load.wrong, load.checked, seconds,
            percentile(times, 0.5) * 1e3, percentile(times, 0.99) * 1e3, load.example,
        )
    )  # fmt: skip


async def main(port: int, cpu: int, seed: Path, salt: str) -> None:
    """Do bursts until the input ends."""
    if cpu >= 0:
        os.sched_setaffinity(0, {cpu})
    requests = Requests(read_seed(seed), salt)
    loop = asyncio.get_running_loop()
    say("ready")
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        await burst(msgspec.json.decode(line, type=Burst), port, requests)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
