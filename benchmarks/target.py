"""Target: a server under test, started for one run and stopped by its process id."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from benchmarks import meter
from benchmarks.installing import HERE, node_of_fastify, python_of_peers
from benchmarks.workload import Seed, Site
from hansa.testing.postgres import Dsns

Engine = Literal["sqlite", "postgres"]
START_S: Final = 60.0
STOP_S: Final = 15.0
DELIVERED_S: Final = 60.0


class TargetFailed(Exception):
    """A server did not start, answered wrongly, or lost or doubled something."""


@dataclass(frozen=True)
class Reply:
    """An answer of a target to a single request."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Target:
    """A server that is to be measured. `process` is there while it runs."""

    name: str
    title: str
    engine: Engine
    command: list[str]
    seed: Seed
    folder: Path
    port: int
    acknowledged: int = 0
    """Creations that were answered with 201 since the database was made."""
    process: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def start(self, cpu: int) -> None:
        """Start the server on one core and wait until it answers. Raises TargetFailed."""
        log = (self.folder / f"{self.name}.log").open("wb")
        self.process = subprocess.Popen(
            self.command, cwd=HERE.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **self.environment}, start_new_session=True,
        )  # fmt: skip
        meter.pin([self.process.pid], cpu)
        end = time.monotonic() + START_S
        while True:
            try:
                if self.ask("GET", "/bench/tally").status == 200:
                    meter.pin(meter.tree(self.process.pid), cpu)
                    return
            except (OSError, http.client.HTTPException):
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise TargetFailed(f"{self.name} did not start: {self.last_words()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server in good order, or hard after a while."""
        process, self.process = self.process, None
        if process is None:
            return
        children = meter.tree(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for pid in children:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            process.wait(STOP_S)

    def last_words(self) -> str:
        """Return the end of what the server wrote."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-2000:]

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self.process is None or self.process.poll() is not None:
            raise TargetFailed(f"{self.name} is not running: {self.last_words()}")
        return self.process.pid

    # ---- single requests

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        site: Site | None = None,
        key: str = "",
        authorization: str | None = None,
    ) -> Reply:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {(site or self.seed.sites[0]).key}"}
        if authorization is not None:
            headers["Authorization"] = authorization
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        try:
            data = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read())
        finally:
            connection.close()

    def total(self, path: str, name: str) -> int:
        """Return the sum of a number over all sites."""
        found = 0
        for site in self.seed.sites:
            reply = self.ask("GET", path, site=site)
            if reply.status != 200:
                raise TargetFailed(f"{self.name} {path}: {reply.status} {reply.body[:300]!r}")
            value: Any = msgspec.json.decode(reply.body)
            found += value[name]
        return found

    def wait_delivered(self) -> None:
        """Wait until each creation reached the subscriber exactly once. Raises TargetFailed."""
        end = time.monotonic() + DELIVERED_S
        while (found := self.total("/bench/tally", "created")) != self.acknowledged:
            if found > self.acknowledged or time.monotonic() > end:
                raise TargetFailed(
                    f"{self.name}: {self.acknowledged} creations, {found} deliveries"
                )
            time.sleep(0.02)

    def check_count(self) -> None:
        """Check that the rows are those acknowledged. Raises TargetFailed."""
        begun = sum(len(products) for products in self.seed.products.values())
        found = self.total("/bench/count", "products")
        if found != begun + self.acknowledged:
            raise TargetFailed(
                f"{self.name}: {self.acknowledged} creations acknowledged, {found - begun} rows"
            )


# ---- which there are

TITLES: Final = {
    "hansa": "Hansa",
    "tuned": "FastAPI + SQLAlchemy Core, tuned",
    "usual": "FastAPI + SQLAlchemy ORM, usual style",
    "fastify": "Fastify + better-sqlite3",
}
NAMES: Final[Mapping[Engine, tuple[str, ...]]] = {
    "sqlite": ("hansa", "tuned", "usual", "fastify"),
    "postgres": ("hansa", "tuned", "usual"),
}


def make_target(name: str, engine: Engine, seed: Seed, folder: Path, dsns: Dsns | None) -> Target:
    """Return a target on an empty database, not started. Raises PeerMissing."""
    port = free_port()
    seed_file = str(folder / "seed.json")
    where = str(folder / f"{name}.sqlite") if dsns is None else dsns.superuser
    dialect = "sqlite" if dsns is None else "postgresql"
    environment: dict[str, str] = {}
    if name == "hansa":
        command = [sys.executable, "-m", "benchmarks.hansa_app", dialect]
        command += [where if dsns is None else dsns.application]
        command += [seed_file, str(port)]
        environment["HANSA_BENCH_OWNER_DSN"] = dsns.owner if dsns else ""
        environment["HANSA_BENCH_FOLDER"] = str(folder / "hansa")
    elif name == "fastify":
        command = [str(node_of_fastify()), str(HERE / "fastify" / "server.js")]
        command += [where, seed_file, str(port)]
    else:
        command = [str(python_of_peers()), str(HERE / "peers" / f"{name}.py")]
        command += [dialect, where, seed_file, str(port)]
    return Target(name, TITLES[name], engine, command, seed, folder, port, environment=environment)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
