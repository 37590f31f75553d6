"""Network: connections between simulated machines, with everything that happens to real ones.

A connection keeps its bytes in order, as TCP does; between connections anything may overtake
anything. Bytes are late, come in pieces, wait for a partition to heal or for a retransmission; a
connection breaks when its machine dies, or its peer never hears of it. A request may arrive a
second time, on a connection of its own, as a proxy that tries again would have it.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from random import Random
from typing import Any, Final

from hansa.simulate.history import History
from hansa.simulate.loop import Process, VirtualLoop, current_process

LATENCY_S: Final = (0.0002, 0.004)
STALL_S: Final = (0.05, 1.5)
FAR_S: Final = (0.005, 0.15)
"""To and from who is far away: each step takes long enough for much to happen meanwhile."""
STALLS: Final = 0.02
"""How often a packet is lost and sent again."""
DOUBLES: Final = 0.04
SILENCE: Final = 0.3
"""How often nobody tells the peers of a machine that it died."""

Factory = Callable[[], asyncio.Protocol]


class Network:
    """All links between the machines, by their names `host:port`."""

    def __init__(self, loop: VirtualLoop, chance: Random, history: History) -> None:
        self.loop = loop
        self.chance = chance
        self.history = history
        self.far: set[str] = set()
        """The machines that are far away."""
        self._doubles = DOUBLES
        self._stalls = STALLS
        self._listening: dict[str, tuple[Process, Factory]] = {}
        self._cut: dict[frozenset[str], list[Callable[[], None]]] = {}
        self._ends: dict[Process, list[End]] = {}
        self._nobody = copy_context()  # what is under way outlives its sender

    # ---- what happens to it

    def cut(self, one: str, other: str) -> None:
        """Let nothing through between two machines."""
        self._cut.setdefault(frozenset((one, other)), [])

    def heal(self, one: str, other: str) -> None:
        """Let everything through again, and what waited first."""
        for waiting in self._cut.pop(frozenset((one, other)), []):
            waiting()

    def is_cut(self, one: str, other: str) -> bool:
        """Tell whether there is a partition between two machines."""
        return frozenset((one, other)) in self._cut

    def calm(self) -> None:
        """Let nothing be lost or doubled any more."""
        self._doubles = self._stalls = 0.0

    def listen(self, address: str, factory: Factory) -> None:
        """Take connections, in the process that runs now."""
        self._listening[address] = (current_process(), factory)

    def lose(self, process: Process) -> None:
        """End the connections of a process that has died; its peers may hear of it."""
        for address, (owner, _) in list(self._listening.items()):
            if owner is process:
                del self._listening[address]
        for end in self._ends.pop(process, []):
            if not end.closed and self.chance.random() >= SILENCE:
                end.tell_peer(ConnectionResetError("reset by peer"))
            end.closed = True

    # ---- what processes do with it

    async def connect(self, factory: Factory, address: str) -> tuple["End", Any]:
        """Return both ends' transport and protocol here. Raises OSError where nobody listens."""
        here = current_process()
        there = address.partition(":")[0]
        done: asyncio.Future[None] = self.loop.create_future()
        self.send(here.name, there, lambda: _settle(done))
        await done
        await asyncio.sleep(self.latency_s())  # the way back
        listening = self._listening.get(address)
        if listening is None or not listening[0].alive:
            raise ConnectionRefusedError(f"{address}: nobody listens")
        near = End(self, here)
        protocol: Any = factory()
        far = End(self, listening[0])
        near.join(far, protocol)
        far.join(near, listening[1]())
        self.loop.call_soon(far.protocol.connection_made, far, context=far.process.context)
        protocol.connection_made(near)
        return near, protocol

    def double(self, end: "End", data: bytes) -> None:
        """Perhaps have a request arrive once more, later, on a connection of its own."""
        if self.chance.random() >= self._doubles:
            return
        process = end.peer.process
        factory = next((f for p, f in self._listening.values() if p is process), None)
        if factory is None:
            return
        wait_s = self.chance.choice((0.0, 0.01, 0.3, 2.0)) + self.latency_s()
        self.history.note(end.process.name, f"a request to {process.name} is doubled")
        self.loop.call_later(wait_s, self._arrive, process, factory, data, context=process.context)

    def _arrive(self, process: Process, factory: Factory, data: bytes) -> None:
        ghost, nobody = End(self, process), End(self, process)
        ghost.join(nobody, factory())
        nobody.join(ghost, asyncio.Protocol())
        ghost.protocol.connection_made(ghost)
        ghost.protocol.data_received(data)

    def enter(self, end: "End") -> None:
        """Keep an end with its process."""
        self._ends.setdefault(end.process, []).append(end)

    def latency_s(self) -> float:
        """Return how long the next packet is under way."""
        if self.chance.random() < self._stalls:
            return self.chance.uniform(*STALL_S)
        return self.chance.uniform(*LATENCY_S)

    def send(self, one: str, other: str, arrive: Callable[[], None], after: float = 0.0) -> float:
        """Have something arrive, not before `after`; return when, unless a partition holds it."""
        latency_s = self.latency_s()
        if self.far and (one in self.far or other in self.far):
            latency_s += self.chance.uniform(*FAR_S)
        when = max(self.loop.now + latency_s, after)
        self.loop.call_at(when, self._through, one, other, arrive, context=self._nobody)
        return when

    def _through(self, one: str, other: str, arrive: Callable[[], None]) -> None:
        held = self._cut.get(frozenset((one, other)))
        if held is None:
            arrive()
        else:
            held.append(arrive)


class End(asyncio.Transport):
    """One end of a connection, in one process."""

    def __init__(self, network: Network, process: Process) -> None:
        super().__init__()
        self.process = process
        self.closed = False
        self.peer: End
        self.protocol: asyncio.Protocol
        self._network = network
        self._is_client = False
        self._last = 0.0
        network.enter(self)

    def join(self, peer: "End", protocol: asyncio.Protocol) -> None:
        """Connect with the other end."""
        self.peer = peer
        self.protocol = protocol

    def write(self, data: Any) -> None:
        """Send, whole or in two pieces; what the peer's death or ours ends goes nowhere."""
        if self.closed:
            return
        network = self._network
        whole = bytes(data)
        pieces = [whole]
        if network.chance.random() < 0.05 and len(whole) > 1:
            at = network.chance.randrange(1, len(whole))
            pieces = [whole[:at], whole[at:]]
        for piece in pieces:
            self._send(lambda piece=piece: self.peer.receive(piece))  # type: ignore[misc]
        if whole.startswith((b"POST ", b"GET ")):
            network.double(self, whole)

    def receive(self, data: bytes) -> None:
        """Hand what arrived to the process, if it still lives."""
        if not self.closed:
            self._network.loop.call_soon(
                self.protocol.data_received, data, context=self.process.context
            )

    def close(self) -> None:
        """Hang up, after what was written."""
        if not self.closed:
            self.closed = True
            self.tell_peer(None)
            self._network.loop.call_soon(
                self.protocol.connection_lost, None, context=self.process.context
            )

    def abort(self) -> None:
        """Hang up."""
        self.close()

    def is_closing(self) -> bool:
        """Tell whether it was hung up."""
        return self.closed

    def tell_peer(self, error: Exception | None) -> None:
        """Have the peer hear that the connection is over."""
        self._send(lambda: self.peer.lost(error))

    def lost(self, error: Exception | None) -> None:
        """Hear it."""
        if not self.closed:
            self.closed = True
            self._network.loop.call_soon(
                self.protocol.connection_lost, error, context=self.process.context
            )

    def _send(self, arrive: Callable[[], None]) -> None:
        """Have something happen at the peer, behind all that was sent before."""
        peer = self.peer.process
        self._last = self._network.send(self.process.name, peer.name, arrive, self._last + 1e-6)


def _settle(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)
