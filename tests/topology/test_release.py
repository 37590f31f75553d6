"""A release replaces another one, process by process, under load: nobody is refused anything."""

import http.client
import itertools
import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from hansa.testing.postgres import Cluster
from tests.topology.fleet import Background, Fleet, Part, Process
from tests.topology.person import Person, until

LANES: Final = 4
ONE: Final = ("tests.topology.release_1.porter", "tests.topology.release_1.tally")
TWO: Final = ("tests.topology.release_2.porter", "tests.topology.release_2.tally")


@dataclass
class Load:
    """Callers who take no "later" for an answer. Like a load balancer they knock at the next door
    where nobody opens; what was sent once is not sent again."""

    urls: list[str]
    site: str
    answered: Counter[str] = field(default_factory=Counter[str])
    failed: list[str] = field(default_factory=list[str])
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have every lane taken care of by a caller of its own while the body runs."""
        threads = [threading.Thread(target=self._call, args=(number,)) for number in range(LANES)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def go_on(self) -> None:
        """Return when every lane has had a few more answers."""
        before = self.answered.copy()
        lanes = [f"lane-{number}" for number in range(LANES)]
        until(lambda: self.failed or all(self.answered[one] > before[one] + 3 for one in lanes))

    def _call(self, number: int) -> None:
        lane = f"lane-{number}"
        turn = itertools.count(number)
        while not self._over.is_set() and not self.failed:
            taken = self._ask("POST", "/porter/parcels", turn, {"lane": lane})
            if taken["parcels"] != self.answered[lane] + 1:
                self.failed.append(f"{lane} has {taken} after {self.answered[lane]}")
            self.answered[lane] += 1
            self._over.wait(0.01)  # the processes share the machine with the callers
            both = self._ask("GET", f"/tally/both/{lane}", turn)
            if both["taken"] < self.answered[lane]:
                self.failed.append(f"{lane} has {both} after {self.answered[lane]}")

    def _ask(self, method: str, path: str, turn: "itertools.count[int]", body: Any = None) -> Any:
        for _ in self.urls:
            address = urlsplit(self.urls[next(turn) % len(self.urls)])
            line = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
            try:
                try:
                    line.connect()
                except ConnectionRefusedError:
                    continue
                headers = {"Hansa-Site": self.site, "Content-Type": "application/json"}
                if body is not None:
                    headers["Idempotency-Key"] = secrets.token_hex(12)
                data = None if body is None else json.dumps(body).encode()
                line.request(method, path, data, headers)
                reply = line.getresponse()
                value = json.loads(reply.read())
                if reply.status < 300:
                    return value
                self.failed.append(f"{method} {path} at {address.port}: {reply.status} {value}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{method} {path} at {address.port}: {error!r}")
            finally:
                line.close()
            break
        else:
            self.failed.append("nobody opens")
        return {"parcels": 0, "taken": 0}


@pytest.fixture
def fleet(tmp_path: Path, world: Background, postgres_cluster: Cluster) -> Iterator[Fleet]:
    """Release 1: two services, each with a database of its own and two processes."""
    parts = (
        Part("home", ("sites",)),
        Part("porter", ("porter",), postgres_cluster.new_database("release_porter"), processes=2),
        Part("tally", ("tally",), postgres_cluster.new_database("release_tally"), processes=2),
    )
    made = Fleet(tmp_path / "fleet", parts, world, services=ONE)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        for one in (process for group in made.processes.values() for process in group):
            print(one.said)  # shown where the test fails


def replace(process: Process) -> None:
    """Stop a process in good order, and start what there is now in its place."""
    process.stop()
    process.start()


def test_a_release_replaces_another_one_and_nobody_is_refused(fleet: Fleet) -> None:
    operator = Person(fleet.urls, key=fleet.operator_key)
    site = operator.post("/sites", {"name": "harbour"})["id"]
    visitor = Person(fleet.urls, site)
    load = Load(fleet.urls, site)
    with load.running():
        load.go_on()
        fleet.release("second", TWO)
        home, *shared = fleet.parts
        for part in shared:
            fleet.migrate(part, "--until", "expand")
        load.go_on()
        first, second = zip(fleet.processes["porter"], fleet.processes["tally"], strict=True)
        fleet.at_once(replace, first)  # both releases of both services, side by side
        load.go_on()
        newer = Person([f"http://127.0.0.1:{one.port}" for one in first], site)
        weighed = [newer.ask("POST", "/porter/lanes/lane-0/weigh") for _ in range(4)]
        load.go_on()
        fleet.at_once(replace, second)
        load.go_on()
        (only,) = fleet.processes["home"]
        only.stop()
        fleet.migrate(home)
        only.start()
        for part in shared:
            fleet.migrate(part)
        load.go_on()
    assert load.failed == []
    assert [one.status for one in weighed] == [200] * 4
    assert newer.again == 0
    for lane, taken in load.answered.items():
        path = f"/tally/lanes/{lane}"
        until(lambda path=path, taken=taken: visitor.get(path)["parcels"] == taken)  # type: ignore[misc]
        assert visitor.get(path)["last"] == taken
    until(lambda: visitor.get("/tally/lanes/lane-0/weight"))
    lane = visitor.post("/porter/lanes/lane-0/weigh")
    assert 0 < lane["weight_g"] < 100 * lane["parcels"]  # those of the first release weigh nothing
