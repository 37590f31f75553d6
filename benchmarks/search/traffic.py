"""Traffic: a client in a process and on a core of its own, so that its cost never counts.

It reads one order as JSON from its standard input and answers with one line. `Ask` sends each
request once, on so many kept connections, the next when the last is answered. `Put` sends puts at
random instants with a given rate, whatever the server does, and follows some of them with a search
that has to have seen the change: from the put's sending to that answer is how long it took until
the document was visible.
"""

import asyncio
import random
import sys
import time
from collections import Counter, deque

import msgspec
import uvloop

STALL_S = 60.0


class Ask(msgspec.Struct, tag=True):
    """Requests to send, each once."""

    port: int
    requests: list[bytes]
    connections: int


class Put(msgspec.Struct, tag=True):
    """Puts to send for some seconds, in turns to the sites whose keys these are. Of so many puts
    one is looked for."""

    port: int
    keys: list[str]
    per_s: float
    seconds: float
    connections: int
    sample: int
    patience_s: float


class Outcome(msgspec.Struct):
    """What came of it: answers by their status, seconds by the clock, latencies in milliseconds;
    and of puts how long they took until they were visible, and how many were not in time."""

    statuses: dict[int, int]
    seconds: float
    times_ms: list[float]
    visible_ms: list[float] = []
    unseen: int = 0
    example: str = ""


class Line(asyncio.Protocol):
    """A kept connection of HTTP/1.1 with at most one request on its way."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer. Raises ConnectionError."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        self._buffer = data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = data[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17 : at + 27].split(b"\r", 1)[0]) if at > 0 else 0
        if len(data) - end - 4 >= length and self._answer is not None:
            self._buffer = b""
            self._answer.set_result((int(data[9:12]), data[end + 4 :]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))


async def connect(port: int) -> Line:
    """Open a connection."""
    loop = asyncio.get_running_loop()
    return (await loop.create_connection(Line, "127.0.0.1", port))[1]


def request(method: str, path: str, key: str, body: bytes, more: str = "") -> bytes:
    """Return a request as it goes over the line."""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n{more}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(order: Ask) -> Outcome:
    """Send each request once."""
    lines = [await connect(order.port) for _ in range(order.connections)]
    waiting = deque(order.requests)
    outcome = Outcome({}, 0.0, [])
    statuses: Counter[int] = Counter()

    async def go_on(line: Line) -> None:
        while waiting:
            at = time.perf_counter()
            status, body = await line.send(waiting.popleft())
            outcome.times_ms.append((time.perf_counter() - at) * 1e3)
            statuses[status] += 1
            if status != 200:
                outcome.example = outcome.example or body[:300].decode()

    begun = time.perf_counter()
    await asyncio.gather(*map(go_on, lines))
    outcome.seconds = time.perf_counter() - begun
    outcome.statuses = dict(statuses)
    return outcome


class Putter:
    """Puts at a rate, and looks for some of them."""

    def __init__(self, order: Put) -> None:
        self._order = order
        self._free: list[Line] = []
        self._due: deque[float] = deque()
        self._chance = random.Random(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self.statuses: Counter[int] = Counter()
        self.outcome = Outcome({}, 0.0, [])

    async def run(self) -> Outcome:
        order = self._order
        self._free = [await connect(order.port) for _ in range(order.connections)]
        begun = time.perf_counter()
        due = begun
        while due < begun + order.seconds:
            while due <= time.perf_counter():
                self._due.append(due)
                due += self._chance.expovariate(order.per_s)
            self._send()
            await asyncio.sleep(0.001)
        while self._due:
            self._send()
            await asyncio.sleep(0.001)
        self.outcome.seconds = time.perf_counter() - begun
        await asyncio.gather(*self._tasks)
        self.outcome.statuses = dict(self.statuses)
        return self.outcome

    def _send(self) -> None:
        while self._due and self._free:
            task = asyncio.create_task(self._put(self._due.popleft(), self._free.pop()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _put(self, due: float, line: Line) -> None:
        number = self._count = self._count + 1
        key = self._order.keys[number % len(self._order.keys)]
        id = f"put{number % 50_000}"
        body = msgspec.json.encode({
            "title": f"a lamp number{number} of brass", "price": number % 10_000,
            "supplier": f"maker{number % 97}", "description": "it stands on a table and shines",
        })  # fmt: skip
        path = f"/search/collections/goods/documents/{id}"
        more = f"idempotency-key: bench-{time.time_ns()}-{number}\r\n"
        status, answer = await line.send(request("PUT", path, key, body, more))
        self.statuses[status] += 1
        self._free.append(line)
        if status != 200:
            self.outcome.example = self.outcome.example or answer[:300].decode()
            return
        self.outcome.times_ms.append((time.perf_counter() - due) * 1e3)
        if number % self._order.sample == 0:
            await self._look(due, key, number, msgspec.json.decode(answer)["change"])

    async def _look(self, due: float, key: str, number: int, change: int) -> None:
        """Search until the document is there."""
        line = await connect(self._order.port)
        asked = msgspec.json.encode({"q": f"number{number}", "typo": False, "change": change})
        text = request("POST", "/search/collections/goods/search", key, asked)
        end = time.perf_counter() + self._order.patience_s
        while time.perf_counter() < end:
            status, answer = await line.send(text)
            if status == 200 and msgspec.json.decode(answer)["found"]:
                self.outcome.visible_ms.append((time.perf_counter() - due) * 1e3)
                break
            if status == 200:  # a later put of the same id is there already
                break
            await asyncio.sleep(0.02)
        else:
            self.outcome.unseen += 1
        line.transport.close()


async def main() -> None:
    """Do what the order says."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Ask | Put)
    outcome = await (ask(order) if isinstance(order, Ask) else Putter(order).run())
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    uvloop.run(main())
