"""Fleets: the same services in one process or in several, on one database or on many.

Every process is one as operators start it. A fleet is shared by all tests of a session; each test
makes a site of its own in it.
"""

import asyncio
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from hansa import project
from hansa.assembly import OPERATOR, OUTWARD_ENV, SMTP_ENV, Cell, Place
from hansa.business.commerce.testpay import Testpay
from hansa.kernel.sealing import new_master_key
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.api import NewKey, create_key
from hansa.testing.postgres import Dsns
from tests.cli.server import ROOT, free_port
from tests.topology.wire import Wire

T = TypeVar("T")

SERVICES: Final = (
    "hansa.platform.webhooks", "hansa.platform.mail", "hansa.platform.blobs",
    "hansa.platform.search", "hansa.business.commerce", "tests.topology.steward",
)  # fmt: skip
STOP_S: Final = 30
STARTED: Final = re.compile(r"Hansa serves on")


class Background:
    """A loop in a thread of its own, for servers that play the world around the processes."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something there, and return what comes of it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def stop(self) -> None:
        """End the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Process:
    """A `hansa serve`, which can be stopped and started again."""

    def __init__(self, command: list[str], environment: dict[str, str], port: int) -> None:
        self.port = port
        self.said = ""
        self.environment = environment
        self._command = [sys.executable, "-m", "hansa.cli", "serve", *command, "--port", str(port)]
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._started = threading.Event()

    def start(self) -> None:
        """Start, and return when it serves."""
        self._started.clear()
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        assert self._started.wait(60), f"it did not start:\n{self.said}"
        assert self._process.poll() is None, self.said

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said += line
            if STARTED.search(line):
                self._started.set()
        self._started.set()

    def stop(self) -> None:
        """Ask it to stop, and return when it has, in good order."""
        if self._process is not None:
            self._process.terminate()
            assert self._end() == 0, self.said

    def kill(self) -> None:
        """End it where it stands."""
        assert self._process is not None
        self._process.kill()
        self._end()

    def _end(self) -> int:
        """Wait until it has ended, and return its status."""
        process = self._process
        assert process is not None
        try:
            return process.wait(STOP_S)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            assert self._reader is not None
            self._reader.join()
            assert process.stdout is not None
            process.stdout.close()
            self._process = None


@dataclass(frozen=True)
class Part:
    """An entry of the placement: what runs there, where its rows are, and in how many processes."""

    name: str
    services: tuple[str, ...]
    dsns: Dsns | None = None
    processes: int = 1


@dataclass
class Fleet:
    """Processes that serve together."""

    folder: Path
    parts: tuple[Part, ...]
    world: Background
    environment: dict[str, str] = field(default_factory=dict[str, str])
    seed: int | None = None
    """Of the faults between the processes; without one there are none."""
    services: tuple[str, ...] = SERVICES
    processes: dict[str, list[Process]] = field(default_factory=dict[str, list[Process]])
    wires: list[Wire] = field(default_factory=list[Wire])
    operator_key: str = ""

    @property
    def every(self) -> list[Process]:
        """All processes."""
        return [one for several in self.processes.values() for one in several]

    @property
    def urls(self) -> list[str]:
        """Where the processes are; every one of them takes every request."""
        return [f"http://127.0.0.1:{one.port}" for one in self.every]

    @property
    def faults(self) -> Counter[str]:
        """What was done on the wires, and how often."""
        return sum((wire.done for wire in self.wires), Counter())

    def provider(self) -> Testpay:
        """Return the provider that takes the shop's money, to look into its books."""
        (part,) = [one for one in self.parts if "commerce" in one.services]
        return Testpay(str(self.folder / part.name / "testpay.db"))

    def start(self) -> None:
        """Make the cells, and start everything."""
        self.environment = {
            **os.environ, OUTWARD_ENV: "127.0.0.0/8", "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1", **self.environment,
        }  # fmt: skip
        self.release("first", self.services)
        asyncio.run(self._make())
        ports = {part.name: [free_port() for _ in range(part.processes)] for part in self.parts}
        self._place(ports)
        for part in self.parts:
            self.processes[part.name] = [
                Process(self._command(part), self.environment, port) for port in ports[part.name]
            ]
        self.at_once(Process.start, self.every)

    def release(self, name: str, services: Sequence[str]) -> None:
        """Make a project of these services; it is what starts from now on."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        named = ", ".join(f'"{one}"' for one in services)
        (folder / "pyproject.toml").write_text(f"[tool.hansa]\nservices = [{named}]\n")
        self.environment = {**self.environment, project.PROJECT_ENV: str(folder)}
        for one in self.every:
            one.environment = self.environment

    def migrate(self, part: Part, *options: str) -> None:
        """Run `hansa migrate` on a cell: before and after a release on PostgreSQL, in between on a
        SQLite file, which one process owns."""
        place = self._location(part)
        command = ["--folder", str(place.folder)]
        if place.database:
            command += ["--database", place.database, "--owner-database", place.owner_database]
        done = subprocess.run(
            [sys.executable, "-m", "hansa.cli", "migrate", *command, *options], cwd=ROOT,
            env=self.environment, text=True, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @staticmethod
    def at_once(work: Callable[[Process], None], processes: Sequence[Process]) -> None:
        """Do the same with several processes."""
        with ThreadPoolExecutor(max(1, len(processes))) as pool:
            list(pool.map(work, processes))

    def stop(self) -> None:
        """Stop everything; each process ends in good order."""
        try:
            self.at_once(Process.stop, self.every)
        finally:
            for wire in self.wires:
                self.world.loop.call_soon_threadsafe(wire.close)

    async def _make(self) -> None:
        """Make the tables of each part, and the operator's key where the sites are."""
        services = project.find_project(self.folder / "first").load()
        master = new_master_key()
        for part in self.parts:
            place = self._location(part)
            place.folder.mkdir(mode=0o700)
            (place.folder / "master.key").touch(0o600)
            (place.folder / "master.key").write_text(master)
            cell = Cell(place, services, background=False)
            await cell.open()
            if "sites" in part.services:
                form = {"site": PLATFORM, "body": NewKey("operator", ("*",))}
                made = await cell.runtime.do(create_key, OPERATOR, form)
                self.operator_key = str(made.key)
            await cell.close()

    def _location(self, part: Part) -> Place:
        folder = self.folder / part.name
        if part.dsns is None:
            return Place(folder)
        return Place(folder, part.dsns.application, part.dsns.owner)

    def _place(self, ports: dict[str, list[int]]) -> None:
        """Write the placement; with faults it leads to the wires."""
        if self.seed is not None:
            for number, port in enumerate([one for several in ports.values() for one in several]):
                wire = Wire(port, random.Random(self.seed * 100 + number))
                self.world.run(wire.open())
                self.wires.append(wire)
        leads = {wire.to: wire.port for wire in self.wires}
        (self.folder / "placement.toml").write_text("\n".join(
            f"[processes.{part.name}]\n"
            f"urls = {[f'http://127.0.0.1:{leads.get(port, port)}' for port in ports[part.name]]}\n"
            f"services = {list(part.services)}\n"
            for part in self.parts
        ))  # fmt: skip

    def _command(self, part: Part) -> list[str]:
        place = self._location(part)
        command = ["--folder", str(place.folder), "--testpay"]
        if place.database:
            command += ["--database", place.database]
        if len(self.parts) > 1:
            placement = str(self.folder / "placement.toml")
            command += ["--services", ",".join(part.services), "--placement", placement]
        return command


EVERYTHING: Final = ("sites", "webhooks", "mail", "blobs", "search", "commerce", "steward")


def together(dsns: Dsns | None) -> tuple[Part, ...]:
    """Return one process with everything."""
    return (Part("all", EVERYTHING, dsns),)


def apart(dsns: Dsns) -> tuple[Part, ...]:
    """Return three databases: the shop's is PostgreSQL, with two processes on it."""
    return (
        Part("home", ("sites", "mail", "blobs", "webhooks", "search")),
        Part("shop", ("commerce",), dsns, processes=2),
        Part("desk", ("steward",)),
    )


def smtp_environment(port: int) -> dict[str, str]:
    """Return what has mail go to a server of this machine."""
    return {SMTP_ENV: f"smtp+plain://127.0.0.1:{port}?from=shop@hooks.example"}
