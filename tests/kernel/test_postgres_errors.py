"""What PostgreSQL refuses, told in the kernel's words."""

import pytest

from hansa.kernel.problems import (
    DeadlineExceeded,
    Invalid,
    Overloaded,
    StorageFailed,
    StorageFull,
    TooLarge,
)
from hansa.kernel.storage import ConstraintFailed, Session
from hansa.testing.postgres import Dsns
from tests.kernel.postgres_world import World, add, raising, run


@pytest.mark.parametrize(
    ("sql", "kind", "constraint"),
    [
        ("INSERT INTO things VALUES ('tea', 'mug', 1)", "unique", "things_pkey"),
        ("INSERT INTO things VALUES ('tea', 'cup', -1)", "check", "things_n_check"),
        ("INSERT INTO things VALUES ('tea', 'cup', NULL)", "null", "n"),
        ("INSERT INTO parts VALUES ('tea', 'lid')", "foreign", "parts_site_name_fkey"),
    ],
)
def test_a_constraint_is_named(postgres_dsns: Dsns, sql: str, kind: str, constraint: str) -> None:
    async def refused(session: Session) -> None:
        await session.run(sql)

    async def swallows(session: Session) -> None:
        try:
            await session.run(sql)
        except ConstraintFailed:
            return

    async def test(world: World) -> None:
        await world.write(add("mug"))
        for body in (refused, swallows):
            with pytest.raises(ConstraintFailed) as failure:
                await world.write(body)
            assert (failure.value.kind, failure.value.constraint) == (kind, constraint)
        assert await world.names() == ["mug"]

    run(postgres_dsns, test)


@pytest.mark.parametrize(
    ("name", "n", "problem"),
    [
        ("a\0b", 1, Invalid),
        ("\ud800", 1, Invalid),
        ("big", 2**63, Invalid),
        ("".join(chr(0x4E00 + i % 20_000) for i in range(9_000)), 1, TooLarge),
    ],
)
def test_a_value_that_cannot_be_kept_is_a_refusal(
    postgres_dsns: Dsns, name: str, n: int, problem: type[Exception]
) -> None:
    async def test(world: World) -> None:
        with pytest.raises(problem):
            await world.write(add(name, n))
        await world.write(add("fine"))

    run(postgres_dsns, test, pool_max=1)


@pytest.mark.parametrize(
    ("code", "problem"),
    [("53100", StorageFull), ("58030", StorageFailed), ("53200", Overloaded),
     ("57014", DeadlineExceeded)],
)  # fmt: skip
def test_a_failing_machine_is_told_in_the_kernels_words(
    postgres_dsns: Dsns, code: str, problem: type[Exception]
) -> None:
    async def test(world: World) -> None:
        tries: list[int] = []
        with pytest.raises(problem):
            await world.write(raising(code, 1, tries))
        assert len(tries) == 1
        assert await world.names() == []

    run(postgres_dsns, test)
