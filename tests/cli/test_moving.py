"""`hansa sites move` between real processes, which are killed on the way, with a shop at work."""

import http.client
import json
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import uvloop

from hansa.kernel.clock import MachineClock
from hansa.kernel.problems import Problem
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import read_placement
from hansa.kernel.sealing import load_sealer
from hansa.platform.sites.mover import OWN, Mover
from tests.cli.server import Server, free_port, hansa

SERVES = "commerce,webhooks,mail,blobs"
NAMES = ("home", "north", "south")


class League:
    """Three processes, each of which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in NAMES}
        self.file = folder / "placement.toml"
        self.file.write_text("".join(self._entry(name) for name in NAMES))
        self.servers: dict[str, Server] = {}
        for name in NAMES:
            assert hansa("migrate", folder=folder / name).returncode == 0
        site = hansa("sites", "create", "shop", folder=folder / "home").stdout.strip()
        self.site = site
        key = hansa("sites", "key", site, "commerce.*", folder=folder / "home")
        self.key = key.stdout.strip()
        for name in NAMES[1:]:
            shutil.copy2(self._master, folder / name / "master.key")

    @property
    def _master(self) -> Path:
        return self.folder / "home" / "master.key"

    def _serves(self, name: str) -> str:
        return "sites" if name == "home" else SERVES

    def _entry(self, name: str) -> str:
        services = json.dumps(self._serves(name).split(","))
        url = f"http://127.0.0.1:{self.ports[name]}"
        return f'[processes.{name}]\nurls = ["{url}"]\nservices = {services}\n'

    def start(self, name: str) -> None:
        """Start a process."""
        self.servers[name] = Server(
            self.folder / name, "serve", "--services", self._serves(name), "--process", name,
            "--placement", str(self.file), port=self.ports[name],
        )  # fmt: skip
        self.servers[name].wait_for("Hansa serves on")

    def kill(self, name: str) -> None:
        """Kill a process as a machine that goes away does, and start it anew."""
        server = self.servers[name]
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        self.start(name)

    def move(self, to: str, told: Callable[[str], None]) -> None:
        """Move the site, and go on with it as often as it breaks off."""

        async def go() -> None:
            sealer = load_sealer(self._master, None)
            placement = read_placement(self.file.read_text())
            seal = Seal(lambda: sealer.derived("hansa/link"))
            remote = Remote(placement, OWN, seal, MachineClock())
            try:
                await Mover(placement, remote, told).move(self.site, to)
            finally:
                remote.close()

        uvloop.run(go())

    def stop(self) -> None:
        """Stop all."""
        for server in self.servers.values():
            if server.process.poll() is None:
                server.stop()


class Client(threading.Thread):
    """Creates products one after the other, each until it is done, as clients with keys do."""

    def __init__(self, league: League, number: int) -> None:
        super().__init__()
        self._league = league
        self._number = number
        self.done: list[str] = []
        self.refused: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            handle = f"tea-{self._number}-{len(self.done)}"
            while not self._create(handle):
                pass
            self.done.append(handle)

    def _create(self, handle: str) -> bool:
        body = {
            "handle": handle, "title": handle,
            "variants": [{"sku": handle, "title": "", "price": {"minor": 5, "currency": "EUR"}}],
        }  # fmt: skip
        headers = {
            "content-type": "application/json", "hansa-site": self._league.site,
            "authorization": f"Bearer {self._league.key}", "idempotency-key": f"make-{handle}",
        }  # fmt: skip
        name = ("home", "north", "south")[self._number % 3]
        connection = http.client.HTTPConnection("127.0.0.1", self._league.ports[name], timeout=30)
        try:
            connection.request("POST", "/commerce/products", json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            self.ended.wait(0.02)
            return False
        finally:
            connection.close()
        if answer.status >= 500 and answer.getheader("retry-after"):
            self.ended.wait(0.05)
            return False
        if answer.status >= 300:
            self.refused.append(f"{answer.status} {text}")
        return True


class Killer:
    """Kills a process when a mover comes to a step."""

    def __init__(self, league: League, step: str, victim: str) -> None:
        self._league = league
        self._step = step
        self._victim = victim
        self.done = False

    def __call__(self, step: str) -> None:
        if step == self._step and not self.done:
            self.done = True
            self._league.kill(self._victim)


def test_processes_are_killed_while_a_site_moves(tmp_path: Path) -> None:
    league = League(tmp_path)
    try:
        for name in NAMES:
            league.start(name)
        clients = [Client(league, number) for number in range(3)]
        for client in clients:
            client.start()
        kills = [("south", "copy", "north"), ("north", "copy", "north"), ("south", "flip", "home"),
                 ("north", "leave", "south")]  # fmt: skip
        for to, step, victim in kills:
            before = [len(client.done) for client in clients]
            killer = Killer(league, step, victim)
            while True:
                try:
                    league.move(to, killer)
                    break
                except Problem:
                    continue  # as somebody does who runs it again
            assert killer.done
            for client, count in zip(clients, before, strict=True):
                while len(client.done) <= count and client.is_alive():
                    client.join(0.02)
        for client in clients:
            client.ended.set()
        for client in clients:
            client.join()
            assert client.refused == []
    finally:
        league.stop()
    made = sorted(handle for client in clients for handle in client.done)
    rows = read(tmp_path / "north", "SELECT handle FROM commerce_products ORDER BY handle")
    assert [row[0] for row in rows] == made
    events = "SELECT count(*), count(DISTINCT aggregate || seq) FROM hansa_events WHERE type = ?"
    told_of = "commerce.product_created"
    assert read(tmp_path / "north", events, told_of) == [(len(made), len(made))]
    for table in ("commerce_products", "hansa_events", "hansa_due", "hansa_keys"):
        assert read(tmp_path / "south", f"SELECT count(*) FROM {table} WHERE site = ?",
                    league.site) == [(0,)]  # fmt: skip


def read(folder: Path, text: str, *arguments: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "hansa.db")
    try:
        return connection.execute(text, arguments).fetchall()
    finally:
        connection.close()


def test_what_cannot_be_moved_is_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert hansa("migrate", folder=home).returncode == 0
    site = hansa("sites", "create", "shop", folder=home).stdout.strip()
    no_file = hansa("sites", "move", site, "--to", "south", folder=home)
    assert no_file.returncode == 1
    assert "--placement" in no_file.stderr
    file = tmp_path / "placement.toml"
    file.write_text("[processes.home]\nurls=['http://127.0.0.1:1']\nservices=['sites']\n")
    more = ("--placement", str(file))
    nowhere = hansa("sites", "move", site, "--to", "south", *more, folder=home)
    assert "no cell south" in nowhere.stderr
    assert "Run it again" not in no_file.stderr + nowhere.stderr
    unread = hansa("sites", "move", site, "--to", "south", "--placement", "no.toml", folder=home)
    assert (
        unread.stderr == "hansa: The placement no.toml cannot be read: No such file or directory.\n"
    )
    bad = tmp_path / "bad.toml"
    bad.write_text("=")
    broken = hansa("sites", "move", site, "--to", "south", "--placement", str(bad), folder=home)
    assert f"{bad}: not TOML" in broken.stderr
    keyless = hansa("sites", "move", site, "--to", "south", *more, folder=tmp_path / "other")
    assert "master key" in keyless.stderr
    assert "Traceback" not in no_file.stderr + nowhere.stderr + keyless.stderr
