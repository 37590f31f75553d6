"""Commands: one transaction, remembered by its key, and only for who may, on both engines."""

import asyncio
from typing import Any

import pytest

from hansa.kernel import codec
from hansa.kernel.answer import ANSWER_BYTES_MAX
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.operation import Operation
from hansa.kernel.problems import (
    CommandSuspended,
    Conflict,
    DeadlineExceeded,
    Denied,
    Invalid,
    NotFound,
    Problem,
    TooLarge,
    Unauthenticated,
    Unprocessable,
)
from hansa.kernel.storage import PLATFORM, Storage
from tests.kernel import ledger as L
from tests.kernel.cells import ANYBODY, OTHER, OWNER, REAL, TestCell, key_of, opened
from tests.kernel.ledger import Doc, Step, Trouble, Value, ledger


@pytest.fixture(autouse=True)
def _no_trouble() -> None:
    Trouble.reset()


async def invoke(
    cell: TestCell,
    operation: Operation[..., Any],
    body: Any = None,
    *,
    key: str | None = None,
    hash: str = "h",
    caller: Caller = OWNER,
) -> tuple[int, Any, dict[str, str]]:
    arguments = {} if body is None else {"body": body}
    answer = await cell.runtime.invoke(operation, caller, arguments, key=key, request_hash=hash)
    return answer.status, codec.decode(answer.body, Any), dict(answer.headers)


# ---- keys


def test_the_same_key_gets_the_same_answer(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            first = await invoke(cell, L.step, Step("a"), key="k")
            again = await invoke(cell, L.step, Step("a"), key="k")
            assert first[:2] == again[:2] == (200, {"name": "a", "value": 1})
            assert "idempotency-replayed" not in first[2]
            assert again[2]["idempotency-replayed"] == "true"
            other = await invoke(cell, L.step, Step("a"), key="k2")
            assert other[1]["value"] == 2
            assert (await invoke(cell, L.step, Step("a")))[1]["value"] == 3

    asyncio.run(go())


def test_a_key_belongs_to_its_site_principal_and_operation(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            callers = [
                OWNER,
                Caller(OTHER.id, SYSTEM),
                key_of(REAL.id, L.WRITE, name="key_a"),
                key_of(REAL.id, L.WRITE, name="key_b"),
            ]
            for caller in callers:
                answer = await invoke(cell, L.step, Step("a"), key="k", caller=caller)
                assert "idempotency-replayed" not in answer[2]
            assert "idempotency-replayed" not in (await invoke(cell, L.hop, Step("a"), key="k"))[2]
            assert (await cell.runtime.do(L.get_value, ANYBODY, {"name": "a"})).value == 4

    asyncio.run(go())


@pytest.mark.parametrize("key", ["1", "first-product", "a b" * 10, "caf\u00e9" * 8, "x" * 21])
def test_visitors_cannot_take_a_key_that_another_may_take(storage: Storage, key: str) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            with pytest.raises(Invalid) as caught:
                await invoke(cell, L.sign, Step("a"), key=key, caller=ANYBODY)
            assert (caught.value.status, caught.value.slug) == (400, "weak-idempotency-key")
            await invoke(cell, L.sign, Step("a"), key=key, caller=OWNER)

    asyncio.run(go())


@pytest.mark.parametrize("key", ["8e03978e-40d5-43e8-bc93-6894a57f9324", "AZaz09._~-AZaz09._~-12"])
def test_visitors_are_answered_again_under_keys_of_their_own(storage: Storage, key: str) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            first = await invoke(cell, L.sign, Step("a"), key=key, caller=ANYBODY)
            again = await invoke(cell, L.sign, Step("a"), key=key, caller=ANYBODY)
            assert first[1]["value"] == again[1]["value"] == 1
            assert "idempotency-replayed" in again[2]

    asyncio.run(go())


def test_an_answer_has_a_bound_and_what_exceeds_it_leaves_nothing(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            for operation in (L.get_long, L.make_long):
                with pytest.raises(TooLarge) as caught:
                    await cell.runtime.invoke(operation, OWNER, {"letters": ANSWER_BYTES_MAX})
                assert caught.value.slug == "answer-too-large"
                few = await cell.runtime.invoke(operation, OWNER, {"letters": 10})
                assert few.status == 200
            assert (await cell.runtime.do(L.get_value, ANYBODY, {"name": "long"})).value == 1

    asyncio.run(go())


def test_another_body_under_the_same_key_is_refused(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            await invoke(cell, L.step, Step("a"), key="k", hash="one")
            with pytest.raises(Unprocessable) as caught:
                await invoke(cell, L.step, Step("b"), key="k", hash="two")
            assert (caught.value.status, caught.value.slug) == (422, "idempotency-key-reused")
            assert (await cell.runtime.do(L.get_value, ANYBODY, {"name": "b"})).value == 0

    asyncio.run(go())


@pytest.mark.parametrize("operation", [L.step, L.hop], ids=["queued", "racing"])
def test_concurrent_duplicates_run_once(storage: Storage, operation: Operation[..., Value]) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            answers = await asyncio.gather(
                *(invoke(cell, operation, Step("a"), key=f"k{n % 3}") for n in range(24))
            )
            assert sorted({answer[1]["value"] for answer in answers}) == [1, 2, 3]
            fresh = [one for one in answers if "idempotency-replayed" not in one[2]]
            assert len(fresh) == 3

    asyncio.run(go())


def test_concurrent_duplicates_with_a_unique_row_get_one_answer(storage: Storage) -> None:
    """A duplicate that loses the race for a unique row is told what the winner was told."""

    async def go() -> None:
        async with opened(storage, ledger) as cell:
            answers = await asyncio.gather(
                *(invoke(cell, L.make_doc, Doc("", "t"), key="k") for _ in range(8))
            )
            assert len({answer[1]["id"] for answer in answers}) == 1

    asyncio.run(go())


def test_refusals_and_errors_are_not_remembered(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            Trouble.failing = {"a", "!b"}
            with pytest.raises(Conflict):
                await invoke(cell, L.fussy, Step("a"), key="k")
            with pytest.raises(RuntimeError):
                await invoke(cell, L.fussy, Step("b"), key="k")
            assert await cell.rows("SELECT 1 FROM hansa_keys") == []
            assert await cell.rows("SELECT 1 FROM hansa_events") == []
            Trouble.failing = set()
            assert (await invoke(cell, L.fussy, Step("a"), key="k"))[1]["value"] == 1
            assert "idempotency-replayed" in (await invoke(cell, L.fussy, Step("a"), key="k"))[2]

    asyncio.run(go())


def test_secrets_in_kept_answers_are_sealed(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            first = await invoke(cell, L.make_token, key="k")
            rows = await cell.rows("SELECT answer, sealed FROM hansa_keys")
            assert rows[0][1] == 1
            assert b"swordfish" not in bytes(rows[0][0])
            again = await invoke(cell, L.make_token, key="k")
            assert first[1] == again[1]
            assert first[1]["secret"] == "swordfish"

    asyncio.run(go())


# ---- prepare, suspension, calls


def test_prepare_reads_and_waits_before_the_transaction(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            await cell.runtime.do(L.step, OWNER, {"body": Step("base", 40)})
            made = await invoke(cell, L.prepared_step, Step("a", 2), key="k")
            assert made[1]["value"] == 42
            Trouble.refuse_prepare = True
            again = await invoke(cell, L.prepared_step, Step("a", 2), key="k")
            assert again[1] == made[1]  # the first answer, whatever prepare would say today
            with pytest.raises(Conflict):
                await invoke(cell, L.prepared_step, Step("a", 2), key="k2")

    asyncio.run(go())


@pytest.mark.parametrize("name", ["sleep", "future"])
def test_a_command_suspends_only_in_its_database(storage: Storage, name: str) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            with pytest.raises(CommandSuspended):
                await invoke(cell, L.sleepy, Step(name))
            assert await cell.rows("SELECT name FROM ledger_counters") == []
            assert (await invoke(cell, L.step, Step("a")))[1]["value"] == 1

    asyncio.run(go())


@pytest.mark.parametrize("remote", [False, True])
def test_calls_are_for_queries(storage: Storage, remote: bool) -> None:
    async def go() -> None:
        async with opened(storage, ledger, as_if_remote=remote) as cell:
            await cell.runtime.do(L.step, OWNER, {"body": Step("a", 3)})
            twice: Value = await cell.runtime.do(L.get_twice, ANYBODY, {"name": "a"})
            assert twice == Value("a", 6)
            with pytest.raises(TypeError, match="cannot call"):
                await cell.runtime.do(L.calling, OWNER, {})
            with pytest.raises(TypeError, match="only reads"):
                await cell.runtime.do(L.query_that_writes, ANYBODY, {})

    asyncio.run(go())


# ---- who may


def test_what_is_not_declared_is_denied(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            with pytest.raises(Denied):
                await cell.runtime.do(L.undeclared, OWNER, {})
            with pytest.raises(Denied):
                await cell.runtime.do(L.get_hidden, OWNER, {"name": "a"})
            with pytest.raises(Unauthenticated):
                await cell.runtime.do(L.step, ANYBODY, {"body": Step("a")})
            with pytest.raises(Denied):
                caller = key_of(REAL.id, "ledger.docs:create")
                await cell.runtime.do(L.step, caller, {"body": Step("a")})
            caller = key_of(REAL.id, "ledger.*")
            assert (await cell.runtime.do(L.step, caller, {"body": Step("a")})).value == 1

    asyncio.run(go())


def test_the_platform_refuses_every_key_of_a_site(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            with pytest.raises(Denied):
                await cell.runtime.do(L.of_platform, key_of(REAL.id, "*"), {})
            assert (await cell.runtime.do(L.of_platform, key_of(PLATFORM, "*"), {})).value == 1
            with pytest.raises(Invalid):
                await cell.runtime.do(L.step, key_of(PLATFORM, "*"), {"body": Step("a")})
            with pytest.raises(NotFound):
                await cell.runtime.do(L.step, key_of("site_none", "*"), {"body": Step("a")})

    asyncio.run(go())


def test_relations_give_what_the_key_does_not(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            ann = key_of(REAL.id, "ledger.docs:create", name="ann")
            ben = key_of(REAL.id, "ledger.docs:create", name="ben")
            made = [
                await cell.runtime.do(L.make_doc, who, {"body": Doc("", title)})
                for who, title in ((ann, "one"), (ben, "two"), (ann, "three"))
            ]
            assert await cell.runtime.do(L.get_doc, ann, {"id": made[0].id}) == made[0]
            with pytest.raises(Denied):
                await cell.runtime.do(L.get_doc, ben, {"id": made[0].id})
            listed = await cell.runtime.do(L.list_docs, ann, {})
            assert [doc.title for doc in listed] == ["one", "three"]
            everything = await cell.runtime.do(L.list_docs, OWNER, {})
            assert [doc.title for doc in everything] == ["one", "three", "two"]
            elsewhere = key_of(OTHER.id, "ledger.docs:create", name="ann")
            assert await cell.runtime.do(L.list_docs, elsewhere, {}) == []
            await cell.runtime.do(L.forget, ann, {"body": made[0]})
            with pytest.raises(Denied):
                await cell.runtime.do(L.get_doc, ann, {"id": made[0].id})

    asyncio.run(go())


# ---- time, queues, positions, rules


def test_a_deadline_that_is_over_leaves_nothing(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            with pytest.raises(Problem) as caught:
                await cell.runtime.do(L.step, OWNER, {"body": Step("a")}, deadline=0.001)
            assert isinstance(caught.value, DeadlineExceeded)
            assert await cell.rows("SELECT name FROM ledger_counters") == []

    asyncio.run(go())


@pytest.mark.parametrize("operation", [L.step, L.hop], ids=["queued", "racing"])
def test_a_hot_row_counts_every_command(storage: Storage, operation: Operation[..., Value]) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            values = await asyncio.gather(
                *(cell.runtime.do(operation, OWNER, {"body": Step("hot")}) for _ in range(40))
            )
            assert sorted(one.value for one in values) == list(range(1, 41))

    asyncio.run(go())


def test_serial_by_takes_its_arguments(storage: Storage) -> None:
    assert L.step.serial_names == ("body",)


def test_positions_rise_and_are_checked(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            tokens = [
                (await invoke(cell, L.step, Step("a")))[2]["hansa-position"] for _ in range(3)
            ]
            positions = [int(token.split(":")[2]) for token in tokens]
            assert positions == sorted(set(positions))
            assert {token.split(":")[0] for token in tokens} == {cell.storage.cell}
            arguments = {"name": "a"}
            await cell.runtime.invoke(L.get_value, ANYBODY, arguments, token=tokens[-1])
            with pytest.raises(Invalid) as caught:
                await cell.runtime.invoke(L.get_value, ANYBODY, arguments, token="5")
            assert caught.value.slug == "invalid-position"

    asyncio.run(go())


def test_rules_of_the_data_are_conflicts(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            await cell.runtime.do(L.make_doc, OWNER, {"body": Doc("", "one")})
            with pytest.raises(Conflict) as unique:
                await cell.runtime.do(L.make_doc, OWNER, {"body": Doc("", "one")})
            assert unique.value.status == 409
            with pytest.raises(Conflict) as check:
                await cell.runtime.do(L.step, OWNER, {"body": Step("a", 1001)})
            assert check.value.slug == "constraint-failed"
            assert check.value.detail
            assert check.value.detail not in str(check.value.document())
            other = Caller(OTHER.id, SYSTEM)
            await cell.runtime.do(L.make_doc, other, {"body": Doc("", "one")})

    asyncio.run(go())
