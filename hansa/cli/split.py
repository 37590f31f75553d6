"""Split: `hansa up` in several processes, to see that it makes no difference.

This process serves the platform and is in front; each business service runs in a child, on a SQLite
file of its own, or all on one PostgreSQL. A child that dies is started again, and who calls it
meanwhile waits. Children end with this process, however it ends.

What must never happen: two of these in one folder, of which the second would write over the
placement that the first goes by.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvloop

from hansa import project
from hansa.assembly import Cell, Place
from hansa.cli.drift import check_declared
from hansa.kernel.calling import EVERYWHERE
from hansa.kernel.http.server import check_address
from hansa.kernel.interventions import interventions
from hansa.kernel.observe.options import FILE
from hansa.kernel.sealing import MASTER_KEY_ENV, MasterKeyInvalid, load_sealer
from hansa.kernel.sqlite.connection import FileLock, InUse

FRONT: Final = "platform"
AGAIN_S: Final = 0.2
STOP_S: Final = 30.0
LEAVE_S: Final = 40.0
"""How long a child of a parent that was killed may take to end what it has under way."""
_OBSERVING: Final = {
    "HANSA_TRACE_FILE": "",
    "HANSA_TRACE_SAMPLE": "1",
    "HANSA_TRACE_PAYLOADS": "on",
}


class Child:
    """A process that serves one service, started again whenever it ends by itself."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._stopping = False
        self._turn = threading.Condition()
        self._process = self._start()
        self._watch = threading.Thread(target=self._follow, name="hansa-child", daemon=True)
        self._watch.start()

    def _start(self) -> "subprocess.Popen[bytes]":
        # A session of its own: Ctrl-C is for the one in front, which then stops the others. Its
        # standard input is a pipe that nobody writes to, and that ends when this process does.
        return subprocess.Popen(self._command, start_new_session=True, stdin=subprocess.PIPE)

    def _follow(self) -> None:
        while True:
            self._process.wait()
            with self._turn:
                if self._turn.wait_for(lambda: self._stopping, AGAIN_S):
                    return
                self._close_pipe()
                self._process = self._start()

    def _close_pipe(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self) -> None:
        """End it as an operator does, or at last by force."""
        with self._turn:
            self._stopping = True
            self._turn.notify()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._watch.join()
        self._close_pipe()


@contextmanager
def running(options: argparse.Namespace) -> Iterator[None]:
    """Run the other services while the body serves the one in front; `options` become its own.

    Raises InUse where another one runs in the folder, AddressTaken and OSError for an address that
    cannot be listened on, and MasterKeyInvalid; then nothing was changed.
    """
    folder = Path(options.folder) / "split"
    with _alone(folder):
        check_address(options.host, options.port)
        _set_environment(folder)
        entries = _entries(options.port)
        placement = folder / "placement.toml"
        placement.write_text(_placement(entries, shared=bool(options.database)))
        options.placement, options.services = placement, ",".join(entries[FRONT][1])
        options.folder = str(folder / FRONT)
        children: list[Child] = []
        try:
            for name, (port, _) in entries.items():
                if name != FRONT:
                    database, owner = options.database or "", options.owner_database or ""
                    place = Place(folder / name, database, owner)
                    _make(place)
                    children.append(Child(_command(place, name, port, placement)))
            yield
        finally:
            for child in children:
                child.stop()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the one that runs in a folder. Raises InUse where another does."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        lock = FileLock(str(folder))
    except InUse as taken:
        raise InUse(
            f"`hansa up --split` runs already in {folder.parent}, as process {taken.owner}: stop"
            " that one first, or give this one a --folder of its own.",
            taken.owner,
        ) from None
    try:
        yield
    finally:
        lock.release()


def _set_environment(folder: Path) -> None:
    """Set what this process and its children share: the master key, and what is observed."""
    if not os.environ.get(MASTER_KEY_ENV):
        if not (folder / "master.key").exists() and any(folder.glob("*/hansa.db")):
            raise MasterKeyInvalid(
                f"{folder / 'master.key'} is not there, with which the cells in {folder} are"
                " sealed. Put your copy of it there."
            )
        load_sealer(folder / "master.key", None)  # which makes it
        os.environ[MASTER_KEY_ENV] = (folder / "master.key").read_text().strip()
    for name, value in _OBSERVING.items():  # one file for all, and in it everything, as in one
        os.environ.setdefault(name, value or str(folder.parent / FILE))


def _entries(port: int) -> dict[str, tuple[int, list[str]]]:
    """Return the processes by name, with their ports and services."""
    in_each = (EVERYWHERE, interventions.name)
    services = [one for one in project.services() if one.name not in in_each]
    platform = [one.name for one in services if one.package.startswith("hansa.platform.")]
    entries = {FRONT: (port, platform)}
    for service in services:
        if service.name not in platform:
            entries[service.name] = (_free_port(), [service.name])
    return entries


def _placement(entries: dict[str, tuple[int, list[str]]], *, shared: bool) -> str:
    cell = '\ncell = "shared"' if shared else ""
    return "\n".join(
        f'[processes.{name}]\nurls = ["http://127.0.0.1:{port}"]\n'
        f"services = {json.dumps(services)}{cell}\n"
        for name, (port, services) in entries.items()
    )


def _command(place: Place, name: str, port: int, placement: Path) -> list[str]:
    command = [
        sys.executable, "-m", "hansa.cli", "serve", "--folder", str(place.folder),
        "--port", str(port), "--services", name, "--placement", str(placement), "--testpay",
        "--pages", "--while-stdin",
    ]  # fmt: skip
    return [*command, "--database", place.database] if place.database else command


def _make(place: Place) -> None:
    """Make the cell of a service, or bring it up to date. Raises InUse.

    A child whose parent was killed has it until it has ended what was under way; it is waited for.
    """

    async def open_once() -> None:
        cell = Cell(place, project.services(), background=False)
        await cell.open(check=check_declared)
        await cell.close()

    end = time.monotonic() + LEAVE_S
    while True:
        try:
            return uvloop.run(open_once())
        except InUse:
            if time.monotonic() > end:
                raise
        time.sleep(AGAIN_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
