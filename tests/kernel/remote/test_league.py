"""Two processes on two databases are as one: calls, refusals, keys, events, restarts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Caller, Principal
from hansa.kernel.clock import Clock, MachineClock
from hansa.kernel.commands import deadline_in
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.problems import (
    Conflict,
    DeadlineExceeded,
    Denied,
    NotFound,
    Problem,
    Unauthenticated,
    Unprocessable,
)
from hansa.kernel.remote import following
from hansa.kernel.remote.calls import Remote, Unreachable
from hansa.kernel.remote.following import Follower
from hansa.kernel.remote.passport import Seal
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import PLATFORM, Session, Storage
from hansa.testing.postgres import Dsns
from hansa.testing.schema import make_tables
from tests.kernel.cells import REAL
from tests.kernel.remote import hearing as H
from tests.kernel.remote import telling as T
from tests.kernel.remote.latecomer import latecomer
from tests.kernel.remote.league import KEY, Node, league

ANYBODY = Caller(REAL.id, PUBLIC_PRINCIPAL)
HEARD = "SELECT number, name, count FROM hearer_heard ORDER BY name, number"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """The cell of who hears, on each engine; who tells is on SQLite."""
    if request.param == "sqlite":
        return SqliteStorage(tmp_path / "hearing.db", synchronous="OFF")
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    return PostgresStorage(dsns.application, owner_dsn=dsns.owner)


def run(tmp_path: Path, place: Storage, test: Callable[[Node, Node], Awaitable[None]]) -> None:
    async def go() -> None:
        telling = SqliteStorage(tmp_path / "telling.db", synchronous="OFF")
        async with league(telling, place) as (teller, hearer):
            await test(teller, hearer)

    asyncio.run(go())


async def counted(hearer: Node, name: str, count: int) -> None:
    """Wait until so many were heard; they were heard in order, each once."""
    wanted = [(number, name, number) for number in range(1, count + 1)]
    of = "SELECT number, name, count FROM hearer_heard WHERE name = ?1 ORDER BY number"
    await hearer.cell.until_rows(wanted, of, name)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_call_is_as_one_in_the_same_process(tmp_path: Path, place: Storage) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        assert await hearer.do(T.tell, name="a") == T.Count("a", 1)
        assert await hearer.do(H.ask, name="a") == T.Count("a", 1)
        said = await hearer.runtime.do(H.ask_inside, ANYBODY, {"name": "b"})
        assert said == f"public on {REAL.id} asks for b"
        with pytest.raises(NotFound) as missing:
            await hearer.do(H.ask, name="nobody")
        assert (missing.value.slug, missing.value.detail) == ("nobody-told", "Nobody was told.")
        with pytest.raises(Unprocessable) as odd:
            await hearer.do(H.ask, name="odd")
        assert odd.value.errors[0].pointer == "/name"
        with pytest.raises(Conflict) as refused:
            await hearer.do(T.refuse)
        assert refused.value.document()["price"] == 7
        with pytest.raises(Problem) as broken:
            await hearer.do(H.ask, name="broken")
        assert broken.value.status == 500
        assert "secret" not in str(broken.value.document())

    run(tmp_path, place, test)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_one_that_stops_is_there_for_what_it_has_under_way(tmp_path: Path, place: Storage) -> None:
    """What it has taken from outside is answered by another process, which asks it in turn."""

    async def test(teller: Node, hearer: Node) -> None:
        H.asking, H.go_on = asyncio.Event(), asyncio.Event()
        await teller.do(T.tell, name="later")
        address = teller.entry.addresses[0]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        head = f"GET /hearer/asked/later HTTP/1.1\r\nHost: a.example\r\nHansa-Site: {REAL.id}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n")
        await H.asking.wait()
        stopping = asyncio.create_task(teller.stop())
        while not teller.app.draining:
            await asyncio.wait([stopping], timeout=0.01)
        H.go_on.set()
        answered = await reader.read()
        writer.close()
        await stopping
        assert b" 200 " in answered.splitlines()[0], answered
        assert b'"count":1' in answered
        await teller.start()

    run(tmp_path, place, test)


class Ahead(MachineClock):
    """The clock of a machine that is a day ahead."""

    def now_us(self) -> int:
        return super().now_us() + 86_400_000_000


@pytest.mark.parametrize(
    ("seal", "clock"), [(Seal([bytes(32)]), MachineClock()), (Seal([KEY]), Ahead())],
    ids=["key", "clock"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_processes_that_do_not_agree_are_no_fault_of_the_caller(
    tmp_path: Path, place: Storage, seal: Seal, clock: Clock
) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        odd = Remote(hearer.placement, hearer.entry, seal, clock)
        operation = hearer.runtime.by_id["teller.tell"]
        with pytest.raises(Unreachable, match="no time or key") as refused:
            await odd.invoke(operation, REAL.id, SYSTEM, {"name": "a"}, deadline=deadline_in(30))
        assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
        odd.close()

    run(tmp_path, place, test)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_permissions_are_those_of_the_caller(tmp_path: Path, place: Storage) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        reader = Principal("key_1", frozenset({"teller.all:read"}), "key", REAL.id)
        runtime = hearer.runtime
        assert await runtime.do(H.ask_locked, Caller(REAL.id, reader), {}) == "open"
        with pytest.raises(Unauthenticated):
            await runtime.do(H.ask_locked, ANYBODY, {})
        with pytest.raises(Denied):
            await runtime.do(T.tell, Caller(REAL.id, reader), {"name": "a"})
        with pytest.raises(Denied):
            await runtime.do(T.whisper, ANYBODY, {"name": "a"})

    run(tmp_path, place, test)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_key_has_effect_once_wherever_it_is_sent(tmp_path: Path, place: Storage) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        key = "k" * 22
        for node in (hearer, teller, hearer):
            assert await node.do(T.tell, key=key, name="a") == T.Count("a", 1)
        for node in (hearer, teller):
            for _ in range(2):
                await node.do(T.tell, name="b")
        assert await teller.do(T.get_told, name="b") == T.Count("b", 4)
        answers = [
            await hearer.runtime.invoke(
                T.publish, ANYBODY, {"name": "c"}, key=key, request_hash="r"
            )
            for _ in range(2)
        ]
        assert answers[0].body == answers[1].body
        assert ("idempotency-replayed", "true") in answers[1].headers
        with pytest.raises(Unprocessable):
            await hearer.runtime.invoke(
                T.publish, ANYBODY, {"name": "c"}, key=key, request_hash="s"
            )

    run(tmp_path, place, test)


def test_events_are_heard_once_and_in_order(tmp_path: Path, place: Storage) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        for number in range(60):
            await teller.do(T.tell, name=f"n{number % 3}")
        for name in ("n0", "n1", "n2"):
            await counted(hearer, name, 20)
        copied = "SELECT DISTINCT type FROM hansa_events"
        assert await hearer.cell.rows(copied) == [("teller.told",)]

    run(tmp_path, place, test)


async def join_latecomer(hearer: Node) -> None:
    """Have one more service where there is one that hears."""
    await hearer.stop()
    hearer.services = [*hearer.services, latecomer]
    hearer.entry = replace(hearer.entry, services=("hearer", "latecomer"))
    await hearer.storage.open()
    await make_tables(hearer.storage, latecomer)
    await hearer.storage.close()
    await hearer.start()


async def follow_anew(hearer: Node) -> None:
    """Follow a log from its beginning, as where a site comes in with another cell's positions."""

    async def body(session: Session) -> None:
        await following.go_back(session, {})

    for one in hearer.followers:
        await one.stop()
    await hearer.storage.write(body, site=PLATFORM, deadline=deadline_in(30), across=True)
    for one in hearer.followers:
        await one.catch_up()
        await one.start()
    await hearer.runtime.dispatcher.rest()


def test_what_was_copied_and_pruned_is_not_heard_again(tmp_path: Path, place: Storage) -> None:
    """However long the log that it comes from has it; what comes of its aggregate is heard."""

    async def test(teller: Node, hearer: Node) -> None:
        for name, count in (("b", 1), ("a", 3)):
            for _ in range(count):
                await teller.do(T.tell, name=name)
            await counted(hearer, name, count)
        await hearer.cell.run("UPDATE hansa_events SET recorded_at_us = 0 WHERE seq < 5")
        await hearer.cell.run("UPDATE hansa_receipts SET at_us = 0")
        await hearer.cell.run("UPDATE hansa_subscribers SET floor = 1000")
        assert (await hearer.runtime.pruner.prune())["hansa_events"] == 3  # the last of a stays
        await follow_anew(hearer)
        await counted(hearer, "a", 3)
        await counted(hearer, "b", 1)
        await teller.do(T.tell, name="a")
        await counted(hearer, "a", 4)
        await join_latecomer(hearer)  # whose own events are between those of the others
        wanted = [("a", 4), ("b", 1)]
        of = "SELECT name, count FROM latecomer_whispers ORDER BY name"
        await hearer.cell.until_rows(wanted, of)
        await follow_anew(hearer)
        assert await hearer.cell.rows(of) == wanted
        await counted(hearer, "a", 4)

    run(tmp_path, place, test)


def test_a_new_subscription_begins_with_the_log(tmp_path: Path, place: Storage) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        for _ in range(3):
            await teller.do(T.tell, name="a")
        await counted(hearer, "a", 3)  # so its log is followed already, but not its whispers
        await join_latecomer(hearer)
        await hearer.cell.until_rows([("a", 3)], "SELECT name, count FROM latecomer_whispers")
        await teller.do(T.tell, name="a")
        await hearer.cell.until_rows([("a", 4)], "SELECT name, count FROM latecomer_whispers")
        await counted(hearer, "a", 4)

    run(tmp_path, place, test)


def test_processes_of_a_cell_copy_each_what_they_subscribe_to(
    tmp_path: Path, place: Storage
) -> None:
    """What one of them has copied is not taken for copied by the other one."""

    async def test(teller: Node, hearer: Node) -> None:
        for _ in range(3):
            await teller.do(T.tell, name="a")
        await counted(hearer, "a", 3)
        entry = hearer.remote.others[0]
        other = Follower(hearer.runtime, hearer.remote, entry, ("teller.whispered",))
        await other.start()
        try:
            of = "SELECT count(*) FROM hansa_events WHERE type = 'teller.whispered'"
            await hearer.cell.until_rows([(3,)], of)
        finally:
            await other.stop()

    run(tmp_path, place, test)


def test_who_was_away_hears_what_was_told_meanwhile(tmp_path: Path, place: Storage) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        await teller.do(T.tell, name="a")
        await counted(hearer, "a", 1)
        await hearer.stop()
        for _ in range(5):
            await teller.do(T.tell, name="a")
        await hearer.start()
        await counted(hearer, "a", 6)
        await teller.stop()
        await teller.start()
        await teller.do(T.tell, name="a")
        await counted(hearer, "a", 7)

    run(tmp_path, place, test)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_restart_fails_no_request(tmp_path: Path, place: Storage) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        done = 0
        over = False

        async def client() -> None:
            nonlocal done
            while not over:
                await hearer.do(T.tell, name="a")
                await hearer.do(H.ask, name="a")
                done += 1

        clients = [asyncio.create_task(client()) for _ in range(8)]
        for _ in range(3):
            before = done
            await teller.stop()
            await teller.start()

            async def goes_on(before: int = before) -> bool:
                return done > before + 20

            await hearer.cell.until(goes_on)
        over = True
        await asyncio.gather(*clients)
        assert (await teller.do(T.get_told, name="a")).count == done
        await counted(hearer, "a", done)

    run(tmp_path, place, test)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_who_is_away_is_told_in_time(tmp_path: Path, place: Storage) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        await teller.stop()
        with pytest.raises(Unreachable) as away:
            await hearer.runtime.invoke(
                T.get_told, ANYBODY, {"name": "a"}, deadline=deadline_in(0.2)
            )
        assert (away.value.status, away.value.slug) == (503, "service-unreachable")
        await teller.start()
        assert await hearer.do(H.ask, name="a") == T.Count("a", 0)

    run(tmp_path, place, test)


@asynccontextmanager
async def silent(node: Node) -> AsyncIterator[None]:
    """Have a process take requests and not answer."""
    whole = node.runtime.invoke_here
    node.runtime.invoke_here = _never  # type: ignore[method-assign]
    try:
        yield
    finally:
        node.runtime.invoke_here = whole  # type: ignore[method-assign]


async def _never(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_who_does_not_answer_is_waited_for_until_the_deadline(
    tmp_path: Path, place: Storage
) -> None:
    async def test(teller: Node, hearer: Node) -> None:
        async with silent(teller):
            with pytest.raises(DeadlineExceeded):
                await hearer.runtime.invoke(
                    T.get_told, ANYBODY, {"name": "a"}, deadline=deadline_in(0.3)
                )
        assert (await hearer.do(T.get_told, name="a")).count == 0

    run(tmp_path, place, test)


def test_on_a_shared_database_each_does_its_own(postgres_dsns: Dsns) -> None:
    async def go() -> None:
        first, second = (
            PostgresStorage(postgres_dsns.application, owner_dsn=postgres_dsns.owner)
            for _ in range(2)
        )
        async with league(first, second, shared=True) as (teller, hearer):
            assert hearer.followers == []
            for number in range(20):
                await hearer.do(T.tell, name=f"n{number % 2}")
                await teller.do(H.plan, name="due")
            for name in ("n0", "n1"):
                await counted(hearer, name, 10)
            done = "SELECT count(*) FROM hearer_heard WHERE name = 'due'"
            await hearer.cell.until_rows([(20,)], done)
            late = "SELECT name, attempt FROM hansa_due"
            assert await hearer.cell.rows(late) == []
            assert await hearer.cell.rows("SELECT count(*) FROM hansa_deliveries") == [(0,)]

    asyncio.run(go())


def test_due_work_of_others_is_left_to_them(postgres_dsns: Dsns) -> None:
    async def go() -> None:
        first, second = (
            PostgresStorage(postgres_dsns.application, owner_dsn=postgres_dsns.owner)
            for _ in range(2)
        )
        async with league(first, second, shared=True) as (teller, hearer):
            await hearer.runtime.due.stop()
            await teller.do(H.plan, name="due")
            await teller.do(T.tell, name="a")
            await counted(hearer, "a", 1)
            for _ in range(3):  # who tells looks at what is due, and leaves it
                teller.runtime.due.wake()
                await teller.do(T.tell, name="b")
            rows = await teller.cell.rows("SELECT name, attempt, error FROM hansa_due")
            assert rows == [("hearer.note", 0, "")]

    asyncio.run(go())
