"""Wires between processes that do what networks do: lose, delay, repeat, and break off.

A wire listens in front of a process and understands requests and answers of HTTP/1.1 just so far
that it knows where they end. What it does to each is drawn from a seed.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

DELAY_S: Final = 0.03
FAULTS: Final = {"refuse": 0.02, "lose": 0.03, "break": 0.02, "repeat": 0.06, "delay": 0.12}
"""How often each happens. What may have arrived is sent again in at most one of ten calls, so lost
and broken answers together stay below that."""


@dataclass
class Wire:
    """A port in front of another one."""

    to: int
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter[str])
    """How often what was done."""
    port: int = 0
    _server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                head = await near.readuntil(b"\r\n\r\n")
                fault = self._draw()
                if fault == "refuse":
                    return
                if fault == "delay":
                    await asyncio.sleep(self.chance.uniform(0, DELAY_S))
                if far is None:
                    far = await asyncio.open_connection("127.0.0.1", self.to)
                if b" /_hansa/" not in head:  # a file, as it flows
                    far[1].write(head)
                    await asyncio.gather(_pour(near, far[1]), _pour(far[0], back))
                    return
                request = head + await _rest(head, near)
                if fault == "repeat":
                    await self._once_more(request)
                far[1].write(request)
                answer = await _message(far[0])
                if fault == "lose":
                    return
                if fault == "break":
                    back.write(answer[: len(answer) // 2])
                    await back.drain()
                    return
                back.write(answer)
                await back.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            back.close()
            if far is not None:
                far[1].close()

    def _draw(self) -> str:
        drawn = self.chance.choices([*FAULTS, "pass"], [*FAULTS.values(), 1 - sum(FAULTS.values())])
        self.done[drawn[0]] += 1
        return drawn[0]

    async def _once_more(self, request: bytes) -> None:
        """Have a request arrive an extra time, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.to)
        try:
            writer.write(request)
            await _message(reader)
        finally:
            writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await _rest(head, reader)


async def _rest(head: bytes, reader: asyncio.StreamReader) -> bytes:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return await reader.readexactly(int(value))
    return b""


async def _pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    while piece := await source.read(1 << 16):
        into.write(piece)
        await into.drain()
    into.close()
