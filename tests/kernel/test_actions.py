"""Actions: begin, the world, settle; finished by whoever is left, with effect once."""

import asyncio
from typing import Any

import pytest

from hansa.kernel import actions, codec, contracts
from hansa.kernel.actions import Done, Refused, Unknown, World
from hansa.kernel.columns import integer, text
from hansa.kernel.commands import deadline_in
from hansa.kernel.compiler import param, select, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Conflict, Unprocessable
from hansa.kernel.run import Run
from hansa.kernel.service import Service
from hansa.kernel.storage import Storage
from hansa.kernel.structs import Struct
from tests.kernel.cells import OWNER, REAL, HandClock, TestCell, opened, runtime_on

till = Service("till", owner="kernel", package=__name__)
NEEDS = "till.all:write"

marks = till.table("marks", text("name", primary=True), integer("count"))
_mark = upsert(
    marks, key=("name",), values={"name": param("name"), "count": 1},
    change={"count": marks.c.count + 1},
)  # fmt: skip
_count = select(marks.c.count).where(marks.c.name == param("name"))


class Wish(Struct):
    name: str
    minor: int = 1


class Ask(Struct):
    name: str
    minor: int


class Outcome(Struct):
    paid: bool


class Receipt(Struct):
    name: str
    paid: bool
    by: str = "caller"


class Hook(Struct):
    attempt: ID
    paid: bool


class Bank:
    """The world: answers by the name of the wish, and remembers whom it was asked for."""

    def __init__(self) -> None:
        self.asked: list[ID] = []
        self.silent = False
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def ask(self, key: ID, ask: Ask) -> Outcome:
        self.asked.append(key)
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.silent:
            raise ConnectionError("no answer")
        return Outcome(ask.name != "poor")


@till.action("POST /payments", request=Ask, outcome=Outcome, needs=NEEDS, backoff_s=(7.0,))
async def pay(ctx: Context, body: Wish) -> Ask | Done[Receipt]:
    if body.name == "refused":
        raise Conflict("not so")
    if body.minor == 0:
        return Done(Receipt(body.name, True, "nobody"))
    await ctx.db.run(_mark, name="begun")
    return Ask(body.name, body.minor)


@pay.outside
async def ask_bank(world: World, ask: Ask) -> Outcome:
    return await world.get(Bank).ask(world.key, ask)


@pay.settle
async def note_payment(ctx: Context, ask: Ask, outcome: Outcome) -> Receipt:
    await ctx.db.run(_mark, name="settled")
    if not outcome.paid:
        await ctx.db.run(_mark, name="declined")
        raise Refused(Unprocessable("no money", slug="declined"))
    return Receipt(ask.name, True)


@till.command("POST /hooks", needs=NEEDS)
async def hook(ctx: Context, body: Hook) -> Receipt:
    return await ctx.settle(pay, body.attempt, Outcome(body.paid))


@till.due("till.mark")
async def mark(ctx: Context, name: str) -> None:
    await ctx.db.run(_mark, name=name)


@till.command("POST /later", needs=NEEDS)
async def later(ctx: Context, what: str) -> None:
    if what == "slow":
        ctx.schedule(pay, at=ctx.now, body=Wish("slow"))
    else:
        ctx.schedule(mark, at=ctx.now, name=what)


async def count(cell: TestCell, name: str) -> int:
    rows = await cell.rows("SELECT count FROM till_marks WHERE name = ?1", name)
    return rows[0][0] if rows else 0


async def invoke(cell: TestCell, body: Wish, key: str | None = "k", hash: str = "h") -> Any:
    answer = await cell.runtime.invoke(pay, OWNER, {"body": body}, key=key, request_hash=hash)
    return answer.status, codec.decode(answer.body, Any), dict(answer.headers)


async def begin(cell: TestCell, body: Wish, key: str | None = "k") -> actions.Begun:
    """Run the first part alone: the process dies right behind it."""
    run = Run(REAL, OWNER.principal, pay.id, "till", "", deadline_in(10))
    begun = await actions.begin(cell.runtime, pay, run, {"body": body}, key, "h")
    assert isinstance(begun, actions.Begun)
    return begun


def test_the_three_parts_run_once_under_a_key(storage: Storage) -> None:
    async def go() -> None:
        bank = Bank()
        async with opened(storage, till, resources={Bank: bank}) as cell:
            first = await invoke(cell, Wish("a"))
            assert first[:2] == (200, {"name": "a", "paid": True, "by": "caller"})
            assert (await invoke(cell, Wish("a")))[:2] == first[:2]
            assert len(bank.asked) == 1
            assert await count(cell, "settled") == 1
            assert await cell.rows("SELECT 1 FROM hansa_due") == []
            with pytest.raises(Unprocessable) as caught:
                await invoke(cell, Wish("b"), hash="other")
            assert caught.value.slug == "idempotency-key-reused"

    asyncio.run(go())


def test_what_is_known_already_asks_nobody(storage: Storage) -> None:
    async def go() -> None:
        bank = Bank()
        async with opened(storage, till, resources={Bank: bank}) as cell:
            for _ in range(2):
                answer = await invoke(cell, Wish("a", 0))
                assert answer[:2] == (200, {"name": "a", "paid": True, "by": "nobody"})
            with pytest.raises(Conflict):
                await invoke(cell, Wish("refused"), key="k2")
            assert bank.asked == []
            assert await cell.rows("SELECT 1 FROM hansa_attempts") == []

    asyncio.run(go())


def test_a_refusal_by_settle_is_kept_with_what_it_wrote(storage: Storage) -> None:
    async def go() -> None:
        bank = Bank()
        async with opened(storage, till, resources={Bank: bank}) as cell:
            for _ in range(2):
                status, body, _ = await invoke(cell, Wish("poor"))
                assert (status, body["detail"]) == (422, "no money")
                with pytest.raises(Exception, match="no money"):
                    await cell.runtime.do(pay, OWNER, {"body": Wish("poor")}, key="k3")
            assert len(bank.asked) == 2
            assert await count(cell, "declined") == 2

    asyncio.run(go())


def test_an_unknown_outcome_is_finished_by_due_work(storage: Storage) -> None:
    async def go() -> None:
        bank, clock = Bank(), HandClock()
        bank.silent = True
        async with opened(storage, till, resources={Bank: bank}, clock=clock) as cell:
            status, body, headers = await invoke(cell, Wish("a"))
            assert status == 202
            assert headers["location"] == f"/attempts/{body['attempt']}"
            again = await invoke(cell, Wish("a"))
            assert again[:2] == (202, body)
            states = "SELECT state, attempt FROM hansa_due"
            assert await cell.rows(states) == [("waiting", 0)]
            clock.add(pay.outside_s + actions.MARGIN_S)
            cell.runtime.due.wake()
            await cell.until_rows([("waiting", 1)], states)
            ready = await cell.rows("SELECT ready_at_us FROM hansa_due")
            assert ready == [(clock.at_us + 7_000_000,)]  # the action's own backoff
            bank.silent = False
            clock.add(7)
            cell.runtime.due.wake()
            await cell.until_rows([], states)
            assert (await invoke(cell, Wish("a")))[0] == 200
            assert set(bank.asked) == {body["attempt"]}
            assert await count(cell, "settled") == 1

    asyncio.run(go())


def test_a_repeated_key_waits_for_the_one_under_way(storage: Storage) -> None:
    async def go() -> None:
        bank = Bank()
        bank.gate = asyncio.Event()
        async with opened(storage, till, resources={Bank: bank}) as cell:
            first = asyncio.create_task(invoke(cell, Wish("a")))
            await bank.entered.wait()
            second = asyncio.create_task(invoke(cell, Wish("a")))

            for _ in range(3):  # commands behind it have been answered: it has found its key
                await cell.runtime.do(pay, OWNER, {"body": Wish("other", 0)})
            assert not second.done()
            bank.gate.set()
            assert (await first)[:2] == (await second)[:2]
            assert (await first)[0] == 200
            assert len(bank.asked) == 1

    asyncio.run(go())


def test_the_first_outcome_counts(storage: Storage) -> None:
    async def go() -> None:
        bank = Bank()
        bank.gate = asyncio.Event()
        async with opened(storage, till, resources={Bank: bank}) as cell:
            caller = asyncio.create_task(invoke(cell, Wish("a")))
            await bank.entered.wait()
            body = {"body": Hook(bank.asked[0], True)}
            for _ in range(2):
                receipt = await cell.runtime.do(hook, OWNER, body)
                assert receipt == Receipt("a", True)
            late = {"body": Hook(bank.asked[0], False)}
            assert await cell.runtime.do(hook, OWNER, late) == Receipt("a", True)
            bank.gate.set()
            assert (await caller)[0] == 200
            assert await count(cell, "settled") == 1
            assert await count(cell, "declined") == 0
            assert await cell.rows("SELECT 1 FROM hansa_due") == []

    asyncio.run(go())


def test_a_dead_process_is_finished_by_another(storage: Storage) -> None:
    async def go() -> None:
        bank, clock = Bank(), HandClock()
        resources: dict[type, Any] = {Bank: bank}
        async with opened(
            storage, till, resources=resources, clock=clock, background=False
        ) as cell:
            begun = await begin(cell, Wish("a"))
            fresh = runtime_on(storage, [till], resources=resources, clock=clock)
            settled = await actions.finish(fresh, REAL.id, begun.attempt)
            assert codec.decode(settled.answer, Receipt) == Receipt("a", True)
            again = await actions.finish(fresh, REAL.id, begun.attempt)
            assert again.answer == settled.answer
            assert bank.asked == [begun.attempt]
            assert (await invoke(cell, Wish("a")))[1]["paid"] is True

            second = await begin(cell, Wish("b"), key="k2")
            clock.add(1000)
            await fresh.start()
            await cell.until_rows([], "SELECT id FROM hansa_due")
            assert bank.asked[-1] == second.attempt
            assert await count(cell, "settled") == 2
            await fresh.stop()

    asyncio.run(go())


def test_a_silent_world_raises_unknown_and_leaves_the_attempt_open(storage: Storage) -> None:
    async def go() -> None:
        bank = Bank()
        bank.silent = True
        async with opened(storage, till, resources={Bank: bank}) as cell:
            begun = await begin(cell, Wish("a"))
            with pytest.raises(Unknown):
                await actions.finish(cell.runtime, REAL.id, begun.attempt)
            assert await cell.rows("SELECT status FROM hansa_attempts") == [(0,)]
            with pytest.raises(Unknown):
                await cell.runtime.do(pay, OWNER, {"body": Wish("a")}, key=None)

    asyncio.run(go())


def test_an_attempt_of_a_newer_release_waits_for_it(storage: Storage) -> None:
    async def go() -> None:
        bank, clock = Bank(), HandClock()
        async with opened(storage, till, resources={Bank: bank}, clock=clock) as cell:
            begun = await begin(cell, Wish("a"))
            await cell.run("UPDATE hansa_attempts SET version = 2")
            with pytest.raises(contracts.VersionUnknown):
                await actions.finish(cell.runtime, REAL.id, begun.attempt)
            for _ in range(3):
                clock.add(60)
                cell.runtime.due.wake()
                at_us = clock.at_us + 60_000_000
                await cell.until_rows(
                    [("waiting", 0, at_us)], "SELECT state, attempt, ready_at_us FROM hansa_due"
                )
            assert bank.asked == []

    asyncio.run(go())


def test_a_kept_answer_is_read_by_its_version(storage: Storage) -> None:
    async def go() -> None:
        bank = Bank()
        async with opened(storage, till, resources={Bank: bank}) as cell:
            await invoke(cell, Wish("a"))
            body = {"body": Hook(bank.asked[0], True)}
            newer = b'{"name":"a","paid":true,"by":"caller","till":7}'  # a later optional field
            await cell.run("UPDATE hansa_attempts SET answer = ?1", newer)
            assert await cell.runtime.do(hook, OWNER, body) == Receipt("a", True)
            await cell.run("UPDATE hansa_attempts SET version = 2")
            with pytest.raises(contracts.VersionUnknown):
                await cell.runtime.do(hook, OWNER, body)

    asyncio.run(go())


def test_an_outside_that_does_not_answer_holds_up_no_other_due_work(storage: Storage) -> None:
    async def go() -> None:
        bank = Bank()
        bank.gate = asyncio.Event()
        clock = HandClock()
        async with opened(storage, till, resources={Bank: bank}, clock=clock) as cell:
            await cell.runtime.do(later, OWNER, {"what": "slow"})
            await bank.entered.wait()
            await cell.runtime.do(later, OWNER, {"what": "quick"})

            async def done() -> bool:
                return await count(cell, "quick") == 1

            await cell.until(done)
            assert await count(cell, "settled") == 0
            bank.gate.set()

            async def settled() -> bool:
                return await count(cell, "settled") == 1

            await cell.until(settled)

    asyncio.run(go())
