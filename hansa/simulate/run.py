"""Run: one plan from its first wish to the check, in virtual time."""

import asyncio
import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from hansa.kernel import machine
from hansa.kernel.ids import random_bits
from hansa.kernel.sqlite.connection import Synchronous
from hansa.simulate.aging import age
from hansa.simulate.check import unrest, violations
from hansa.simulate.client import Clients, Violation
from hansa.simulate.history import WORLD, History, Line
from hansa.simulate.league import League
from hansa.simulate.loop import AtRest, Process, Spinning, VirtualLoop, current_process, ignored
from hansa.simulate.machinery import Disk
from hansa.simulate.mint import Mint
from hansa.simulate.network import Network
from hansa.simulate.node import Node
from hansa.simulate.plan import Mishap, Passage, Plan
from hansa.simulate.roaming import Roaming

REST_S: Final = 120.0
LOOK_S: Final = 0.25
MEMORY: Final = "/dev/shm"  # noqa: S108 - a folder of its own is made in it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan."""

    plan: Plan
    violations: tuple[Violation, ...]
    lines: tuple[Line, ...]
    digest: str
    virtual_s: float


class Theatre:
    """Where plans are run, one after another: a folder, and the files to begin with."""

    def __init__(self, nodes: int, folder: Path, *, synchronous: Synchronous = "FULL") -> None:
        self.nodes = nodes
        self._synchronous: Synchronous = synchronous
        self._folder = folder
        self._leagues: dict[bool, tuple[League, list[Path]]] = {}
        self._runs = 0

    def run(self, plan: Plan) -> Outcome:
        """Run a plan and return what became of it: the same each time."""
        self._league(plan.roams)  # made outside of virtual time
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        try:
            with _alone():
                return self._performed(plan, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _league(self, roams: bool) -> tuple[League, list[Path]]:
        """Return a league and the files to begin with."""
        found = self._leagues.get(roams)
        if found is None:
            league = League(self.nodes, roams=roams)
            folder = self._folder / f"begin-{roams}"
            folder.mkdir()
            found = self._leagues[roams] = league, league.files(folder)
        return found

    def _performed(self, plan: Plan, folder: Path) -> Outcome:
        loop = VirtualLoop()
        history = History(loop)
        try:
            found = self._directed(loop, history, plan, folder)
        finally:
            loop.end()
        lasted_s = loop.now - history.start_s
        return Outcome(plan, tuple(found), tuple(history.lines), history.digest(), lasted_s)

    def _directed(
        self, loop: VirtualLoop, history: History, plan: Plan, folder: Path
    ) -> list[Violation]:
        """Run a plan with everything put in place of what is real."""
        with ExitStack() as stack:
            stack.enter_context(_logged(history))
            chance = Random(f"bytes {plan.seed}")
            stack.enter_context(machine.replaced(loop.time, chance.randbytes))
            random_bits.forget()
            stack.callback(random_bits.forget)
            asyncio.set_event_loop(loop)
            stack.callback(asyncio.set_event_loop, None)
            disks = [
                stack.enter_context(_disk(number, folder, begin, plan))
                for number, begin in enumerate(self._league(plan.roams)[1])
            ]
            return self._play(loop, history, plan, disks)

    def _play(
        self, loop: VirtualLoop, history: History, plan: Plan, disks: list[Disk]
    ) -> list[Violation]:
        loop.network = Network(loop, Random(f"network {plan.seed}"), history)
        league = self._league(plan.roams)[0]
        mint = Mint(Random(f"mint {plan.seed}"))
        nodes: list[Node] = []
        for number, disk in enumerate(disks):
            chance = Random(f"node {plan.seed} {number}")
            nodes.append(Node(loop, history, league, number, mint, disk, chance, self._synchronous))
        clients = Clients(loop, history, league.ports, Random(f"clients {plan.seed}"))
        stage = _Stage(loop, history, plan, league, nodes, clients)
        try:
            loop.run_until_complete(stage.play())
        except AtRest as rest:
            return [Violation(f"everything stands still: {rest}")]
        except Spinning as spinning:
            return [Violation(str(spinning))]
        found = [*clients.promises.broken, *(Violation(one) for one in loop.failures)]
        if stage.unrest:
            return [*found, Violation(stage.unrest)]
        reading = violations(league, nodes, mint, clients.promises)
        return found + loop.run_until_complete(reading)


class _Stage:
    """The course of one plan."""

    def __init__(
        self,
        loop: VirtualLoop,
        history: History,
        plan: Plan,
        league: League,
        nodes: list[Node],
        clients: Clients,
    ) -> None:
        self.unrest = ""
        self._loop = loop
        self._history = history
        self._plan = plan
        self._league = league
        self._nodes = nodes
        self._clients = clients
        self._roaming = Roaming(loop, history, league, Random(f"roaming {plan.seed}"))

    async def play(self) -> None:
        """Load and trouble; then heal, and wait for rest."""
        for node in self._nodes:
            node.start()
        troubles = [asyncio.create_task(self._trouble(one)) for one in self._plan.mishaps]
        passages = [asyncio.create_task(self._pass(one)) for one in self._plan.passages]
        wishes: list[asyncio.Task[None]] = []
        for wish in self._plan.wishes:
            await self._at(wish.at_s)
            process = Process(f"c{wish.number}")
            wishes.append(self._loop.spawn(process, self._clients.fulfil(wish)))
        await asyncio.gather(*troubles, *passages)
        await self._at(self._plan.load_s)
        self._loop.network.calm()
        self._history.note(WORLD, "all is well from here on")
        if self._plan.passages:
            await self._roaming.go(self._plan.passages[-1].to, REST_S)
        await asyncio.gather(*wishes)
        await self._rest()

    async def _at(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, self._history.start_s + seconds - self._loop.now))

    async def _rest(self) -> None:
        end = self._loop.now + REST_S
        while True:
            for node in self._nodes:
                if node.process is None:
                    node.restart()
            try:
                async with asyncio.timeout(REST_S):
                    self.unrest = await unrest(self._league, self._nodes)
            except TimeoutError:
                self.unrest = "events were not delivered"
            if not self.unrest or self._loop.now > end:
                return
            await asyncio.sleep(LOOK_S)

    async def _pass(self, passage: Passage) -> None:
        await self._at(passage.at_s)
        await self._roaming.go(passage.to, passage.for_s)

    async def _trouble(self, mishap: Mishap) -> None:
        await self._at(mishap.at_s)
        node = self._nodes[mishap.node]
        match mishap.kind:
            case "crash":
                if node.process is not None:
                    node.crash()
                await asyncio.sleep(mishap.for_s)
                if node.process is None:
                    node.restart()
            case "cut":
                await self._partition(node.name, self._nodes[mishap.other].name, mishap.for_s)
            case "slow":
                self._history.note(WORLD, f"the disk of {node.name} is slow")
                node.disk.slow = True
                await asyncio.sleep(mishap.for_s)
                node.disk.slow = False
                self._history.note(WORLD, f"the disk of {node.name} is as before")
            case "skew":
                seconds = round((mishap.for_s - 1.0) * 4, 3)
                self._history.note(WORLD, f"the clock of {node.name} is set by {seconds:+} s")
                node.clock.step(seconds)
            case "age":
                if node.up and node.process is not None:
                    aging = self._loop.spawn(node.process, age(node, self._history))
                    await asyncio.wait([aging], timeout=mishap.for_s)
            case _:
                self._history.note(WORLD, f"the disk of {node.name} fails: {mishap.kind}")
                node.disk.fail(mishap.kind)
                await asyncio.sleep(mishap.for_s)
                node.disk.heal()
                self._history.note(WORLD, f"the disk of {node.name} is healed")

    async def _partition(self, one: str, other: str, for_s: float) -> None:
        network = self._loop.network
        if one == other or network.is_cut(one, other):
            return
        self._history.note(WORLD, f"{one} and {other} do not reach each other")
        network.cut(one, other)
        await asyncio.sleep(for_s)
        network.heal(one, other)
        self._history.note(WORLD, f"{one} and {other} reach each other again")


@contextmanager
def _alone() -> Iterator[None]:
    """Keep Python's own cleaning up out of a run: what it would finish belongs to the dead. After
    the run it is done at once, and in silence."""
    was = gc.isenabled()
    hook = sys.unraisablehook
    gc.disable()
    gc.freeze()  # what stands is not looked through after every run
    sys.unraisablehook = ignored
    try:
        yield
    finally:
        logging.disable()
        gc.collect()
        logging.disable(logging.NOTSET)
        sys.unraisablehook = hook
        gc.unfreeze()
        if was:
            gc.enable()


@contextmanager
def _disk(number: int, folder: Path, template: Path, plan: Plan) -> Iterator[Disk]:
    disk = Disk(f"n{number}", folder, Random(f"disk {plan.seed} {number}"))
    disk.format(template)
    try:
        yield disk
    finally:
        disk.scrap()


class _Scribe(logging.Handler):
    """Notes what the kernel warns of, without what may differ in a text, such as a folder."""

    def __init__(self, history: History) -> None:
        super().__init__(logging.WARNING)
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        """Note a warning."""
        with suppress(RuntimeError):
            self._history.note(current_process().name, f"logs {record.msg!r}")


@contextmanager
def _logged(history: History) -> Iterator[None]:
    log, scribe = logging.getLogger("hansa"), _Scribe(history)
    before: tuple[Any, ...] = log.handlers, log.propagate
    log.handlers, log.propagate = [scribe], False
    try:
        yield
    finally:
        log.handlers, log.propagate = before


@contextmanager
def folder_of_runs() -> Iterator[Path]:
    """Make a folder for simulated disks: in memory where this machine has such a place, since
    nobody reads them after the run."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hansa-simulate-", dir=memory) as folder:
        yield Path(folder)
