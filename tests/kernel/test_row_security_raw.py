"""What row security lets raw statements and the application's role do, and what it costs."""

from typing import Any, Final

import asyncpg
import pytest
from sqlalchemy import Column, MetaData, Table, Text

from hansa.kernel import row_security
from hansa.kernel.storage import Session
from hansa.testing.postgres import Cluster, Dsns
from tests.kernel.postgres_world import Body, World, add, run

EVERYTHING: Final = "SELECT site, name FROM things ORDER BY site, name"
SITES: Final = ("amber", "birch", "cedar", "delta")


async def everything(session: Session) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in await session.fetch(EVERYTHING)]


async def twice(session: Session) -> list[tuple[str, str]]:
    assert await everything(session) == await everything(session)
    return await everything(session)


async def fill(world: World) -> None:
    """Put one row into each site."""
    for site in SITES:
        await world.write(add("mug", site=site), site=site)


def of(site: str) -> list[tuple[str, str]]:
    return [(site, "mug")]


# ---- the statements


def test_a_sites_table_gets_its_policy_and_any_other_only_its_grant() -> None:
    sites = Table("things", MetaData(), Column("site", Text), info={"scope": "site"})
    every = Table("hosts", MetaData(), Column("host", Text), info={"scope": "platform"})
    told = " ".join(row_security.secure(sites))
    for part in ("ENABLE ROW", "FORCE ROW", "USING", "WITH CHECK", "GRANT SELECT, INSERT"):
        assert part in told
    assert row_security.secure(every) == [
        'GRANT SELECT, INSERT, UPDATE, DELETE ON "hosts" TO hansa_app'
    ]


@pytest.mark.parametrize(("database", "password"), [("a;b", "x"), ("a", "x'y"), ('a"', "x")])
def test_what_could_end_a_statement_is_no_name(database: str, password: str) -> None:
    with pytest.raises(ValueError, match="letters and digits"):
        row_security.bootstrap(database, password)


def test_the_roles_can_be_made_twice(postgres_cluster: Cluster, postgres_dsns: Dsns) -> None:
    name = postgres_dsns.owner.rpartition("/")[2]
    again = row_security.bootstrap(name, postgres_cluster.password)
    postgres_cluster.run_sql("; ".join(again), name)


# ---- raw statements


def test_a_raw_statement_sees_the_rows_of_its_site_only(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await fill(world)
        for site in SITES:
            assert await world.read(everything, site=site) == of(site)
            assert await world.read(everything, site=site, shape="one") == of(site)
            assert await world.read(twice, site=site, shape="two") == of(site)
            assert (await world.write(everything, site=site)).value == of(site)
        assert await world.read(everything, site="nobody") == []

    run(postgres_dsns, test)


def test_a_raw_write_reaches_the_rows_of_its_site_only(postgres_dsns: Dsns) -> None:
    async def change(session: Session) -> int:
        return await session.run("UPDATE things SET n = n + 1")

    async def remove(session: Session) -> int:
        return await session.run("DELETE FROM things")

    async def move(session: Session) -> int:
        return await session.run("UPDATE things SET site = 'birch', name = 'moved'")

    async def test(world: World) -> None:
        await fill(world)
        assert (await world.write(change, site="amber")).value == 1
        for body in (add("cup", site="birch"), move):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await world.write(body, site="amber")
        assert (await world.write(remove, site="amber")).value == 1
        assert await world.door.fetchval("SELECT count(*) FROM things") == 3

    run(postgres_dsns, test)


def test_across_sees_every_site_and_nobody_after_it(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await fill(world)
        every = [(site, "mug") for site in SITES]
        for shape in ("", "one"):
            assert await world.read(everything, site="platform", across=True, shape=shape) == every
            assert await world.read(everything, site="platform", shape=shape) == []
        assert (await world.write(everything, site="platform", across=True)).value == every
        assert (await world.write(everything, site="platform")).value == []

    run(postgres_dsns, test, pool_max=1)


def test_a_session_can_enter_another_site_to_its_end(postgres_dsns: Dsns) -> None:
    async def enters(session: Session) -> list[Any]:
        seen = [await everything(session)]
        for site in ("birch", "*"):
            await session.enter_site(site)
            seen.append(await everything(session))
        return seen

    async def before(session: Session) -> list[tuple[str, str]]:
        await session.enter_site("birch")
        return await everything(session)

    async def test(world: World) -> None:
        await fill(world)
        every = [(site, "mug") for site in SITES]
        for _ in range(2):
            for shape in ("", "enters"):
                found = await world.read(enters, site="amber", shape=shape)
                assert found == [of("amber"), of("birch"), every]
                assert await world.read(everything, site="amber", shape="one") == of("amber")
                assert await world.read(before, site="amber", shape=f"{shape}b") == of("birch")
                assert await world.read(everything, site="amber", shape="one") == of("amber")
            committed = await world.write(enters, site="amber")
            assert committed.value == [of("amber"), of("birch"), every]
            assert (await world.write(everything, site="amber")).value == of("amber")

    run(postgres_dsns, test, pool_max=1)


@pytest.mark.parametrize("site", ["", "a'b", "a; SET hansa.across = 'on'", "ä", "a" * 91, "?"])
def test_what_is_no_site_is_refused(postgres_dsns: Dsns, site: str) -> None:
    async def test(world: World) -> None:
        for call in (
            world.read(everything, site=site),
            world.read(everything, site=site, shape="one"),
            world.write(everything, site=site),
        ):
            with pytest.raises(ValueError, match="letters"):
                await call
        await fill(world)
        assert await world.read(everything, site="amber") == of("amber")

    run(postgres_dsns, test, pool_max=1)


# ---- the roles


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE things DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE things OWNER TO hansa_app",
        "DROP POLICY hansa_site ON things",
        "TRUNCATE things",
        "CREATE TABLE mine (a INT)",
        "CREATE TEMPORARY TABLE things (a INT)",
        "SET ROLE hansa_owner",
        "SET SESSION AUTHORIZATION hansa_owner",
        "ALTER ROLE hansa_app BYPASSRLS",
        "CREATE FUNCTION f() RETURNS INT LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_the_application_cannot_lift_it(postgres_dsns: Dsns, sql: str) -> None:
    async def body(session: Session) -> None:
        await session.run(sql)

    async def test(world: World) -> None:
        with pytest.raises(asyncpg.PostgresError, match=r"denied|must be owner|must be superuser"):
            await world.write(body)

    run(postgres_dsns, test)


# ---- its price


def lines_of(sql: str) -> Body:
    async def body(session: Session) -> list[str]:
        return [row[0] for row in await session.fetch(sql)]

    return body


def test_a_scoped_statement_still_goes_through_the_key(postgres_dsns: Dsns) -> None:
    """The policy is a filter on rows that the compiler's own predicate has found by the index."""

    async def test(world: World) -> None:
        await world.door.execute(
            "INSERT INTO things SELECT 'site' || i % 50, 'thing' || i, 1"
            " FROM generate_series(1, 5000) AS i"
        )
        await world.door.execute("ANALYZE things")
        for where in ("site = 'site7' AND name = 'thing7'", "site = 'site7' AND name LIKE 't%'"):
            sql = f"EXPLAIN SELECT n FROM things WHERE {where}"
            plan = "\n".join(await world.read(lines_of(sql), site="site7"))
            assert "Seq Scan" not in plan
            assert "Index Cond: ((site = 'site7'::text)" in plan or "Index Cond: (site =" in plan

    run(postgres_dsns, test)
