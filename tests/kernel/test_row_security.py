"""Row security: sites stay apart by PostgreSQL's own wall alone, also on shared connections."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from hansa.kernel import migration_sql, row_security
from hansa.kernel.compiler import Statements
from hansa.kernel.database import Db
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.problems import Conflict, DeadlineExceeded, StorageFailed
from hansa.kernel.storage import PLATFORM, Session
from hansa.testing.postgres import Cluster, Dsns
from tests.kernel.authoring import products
from tests.kernel.postgres_world import ADD, SCHEMA, World, add, run

SITES = ("ale", "bun", "cod")
ALL = "SELECT site, name FROM things ORDER BY site, name"
"""What no handler can say: nothing in it keeps to a site."""


# ---- connections that sites share

# A site, what it does, and a number: of the row, or of the turns of the loop before the cancelling.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(SITES),
        st.sampled_from(["one", "two", "add", "raise", "change", "remove", "across", "cancel"]),
        st.integers(0, 3),
    ),
    min_size=4,
    max_size=40,
)


async def _step(world: World, site: str, kind: str, number: int) -> None:
    """Do something without a condition on the site; check that only its rows were there."""

    async def look(session: Session) -> set[str]:
        return {row[0] for row in await session.fetch(ALL)}

    async def look_twice(session: Session) -> set[str]:
        return await look(session) | await look(session)

    async def put(session: Session) -> set[str]:
        await session.run(f"{ADD} ON CONFLICT DO NOTHING", (site, f"n{number}", 1))
        seen = await look(session)
        if kind == "raise":
            raise Conflict("no")
        return seen

    async def change(session: Session) -> set[str]:
        changed = await session.fetch("UPDATE things SET n = n + 1 RETURNING site")
        return {row[0] for row in changed}

    async def remove(session: Session) -> set[str]:
        gone = await session.fetch("DELETE FROM things WHERE name <> 'stays' RETURNING site")
        return {row[0] for row in gone}

    if kind == "across":
        assert await world.read(look, site=site, across=True, shape="a") == set(SITES)
        return
    if kind == "one":
        assert await world.read(look, site=site, shape="one") == {site}
    elif kind == "two":
        assert await world.read(look_twice, site=site, shape="two") == {site}
    elif kind == "cancel":
        task = asyncio.create_task(world.write(change, site=site))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    elif kind == "raise":
        with pytest.raises(Conflict):
            await world.write(put, site=site)
    else:
        body = {"add": put, "change": change, "remove": remove}[kind]
        assert (await world.write(body, site=site)).value <= {site}


def test_no_site_leaks_through_a_shared_connection(postgres_dsns: Dsns) -> None:
    with asyncio.Runner() as runner:
        storage = PostgresStorage(
            postgres_dsns.application, owner_dsn=postgres_dsns.owner, pool_max=2
        )
        world = World(storage, None, postgres_dsns)

        async def begin() -> None:
            await storage.open()
            await storage.apply(SCHEMA)
            for site in SITES:
                await world.write(add("stays", site=site), site=site)

        async def together(steps: list[tuple[str, str, int]]) -> None:
            async with asyncio.timeout(120):
                await asyncio.gather(*(_step(world, *step) for step in steps))

        @settings(max_examples=25)
        @given(STEPS)
        def check(steps: list[tuple[str, str, int]]) -> None:
            runner.run(together(steps))

        runner.run(begin())
        try:
            check()
        finally:
            runner.run(storage.close())


def test_across_is_for_who_asks(postgres_dsns: Dsns) -> None:
    async def look(session: Session) -> list[str]:
        return [row[0] for row in await session.fetch(ALL)]

    async def enter_and_look(session: Session) -> list[list[str]]:
        seen = [await look(session)]
        await session.enter_site("bun")
        seen.append(await look(session))
        await session.enter_site("*")
        seen.append(await look(session))
        return seen

    async def test(world: World) -> None:
        for site in SITES:
            await world.write(add("mug", site=site), site=site)
        for shape in ("", "one"):
            assert await world.read(look, site="ale", shape=shape) == ["ale"]
            assert await world.read(look, site=PLATFORM, shape=shape) == []
            assert await world.read(look, site=PLATFORM, across=True, shape=shape) == [*SITES]
            assert await world.read(look, site="ale", shape=shape) == ["ale"]
        entered = [["ale"], ["bun"], [*SITES]]
        assert (await world.write(enter_and_look, site="ale")).value == entered
        assert await world.read(enter_and_look, site="ale") == entered
        assert (await world.write(look, site="ale")).value == ["ale"]
        assert await world.read(look, site="ale", shape="one") == ["ale"]

    run(postgres_dsns, test, pool_max=1)


@pytest.mark.parametrize("site", ["", "?", "a'b", "a; SET x", "ü", "a" * 91, "*"])
def test_a_site_is_a_plain_name(postgres_dsns: Dsns, site: str) -> None:
    async def test(world: World) -> None:
        with pytest.raises(ValueError, match="letters, digits"):
            await world.read(lambda session: session.fetch(ALL), site=site, shape="one")
        with pytest.raises(ValueError, match="letters, digits"):
            await world.write(add("mug", site=site), site=site)
        await world.write(add("mug"))  # its connection came back

    run(postgres_dsns, test, pool_max=1)


def test_a_connection_in_doubt_serves_nobody_by_its_name(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug", site="ale"), site="ale")
        pool = world.storage._pool
        link = await pool.take(("ale", False), time.monotonic() + 60)
        # Broken off after the server had set it: nobody here knows what it is set to.
        await link.script("SET SESSION hansa.site = 'ale'", 60)
        with pytest.raises(DeadlineExceeded):
            await link.enter(("bun", False), time.monotonic() - 1)
        pool.give(link)
        for site in ("", "?"):
            with pytest.raises(ValueError, match="letters, digits"):
                await world.read(lambda session: session.fetch(ALL), site=site, shape="one")
        assert list(await world.read(lambda s: s.fetch(ALL), site="bun", shape="one")) == []

    run(postgres_dsns, test, pool_max=1)


# ---- the compiler's scoping switched off

Work = Callable[[Db], Awaitable[Any]]
IDS = select(products.c.id)


def test_without_the_compilers_scoping_the_wall_holds(postgres_dsns: Dsns) -> None:
    statements = Statements("postgresql")
    statements.scoped = False
    made: list[int] = []

    def new_id(prefix: str) -> str:
        made.append(1)
        return f"{prefix}_{len(made)}"

    def body(work: Work, site: str) -> Any:
        async def run_it(session: Session) -> Any:
            return await work(Db(session, site, "shop", statements, new_id))

        return run_it

    def put(handle: str) -> Work:
        return lambda db: db.insert(products, handle=handle, title="t", price=1, live=True)

    async def test(world: World) -> None:
        script = migration_sql.declared_statements([products], "postgresql")
        await world.storage.apply([*script, *row_security.secure(products)])

        async def do(work: Work, site: str, as_site: str = "") -> Any:
            return (await world.write(body(work, as_site or site), site=site)).value

        async def kept(site: str) -> list[tuple[Any, ...]]:
            rows = await world.door.fetch(
                f"SELECT id, price FROM {products.name} WHERE site = $1 ORDER BY id", site
            )
            return [tuple(row) for row in rows]

        ale, bun = await do(put("h"), "ale"), await do(put("h"), "bun")
        assert "site" not in statements.find(IDS, str, "shop").sql  # it is off indeed
        both = await world.read(body(lambda db: db.all(IDS, str), "ale"), site="ale", across=True)
        assert sorted(both) == sorted([ale, bun])  # and would find them, but for the wall

        for shape in ("", "one"):
            seen = await world.read(
                body(lambda db: db.all(IDS, str), "ale"), site="ale", shape=shape
            )
            assert seen == [ale]
        await do(lambda db: db.run(update(products).values(price=9)), "ale")
        assert (await kept("ale"), await kept("bun")) == ([(ale, 9)], [(bun, 1)])
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await do(put("mine"), "ale", as_site="bun")
        assert await kept("bun") == [(bun, 1)]
        await do(lambda db: db.run(delete(products).where(products.c.price > 0)), "ale")
        assert (await kept("ale"), await kept("bun")) == ([], [(bun, 1)])

    run(postgres_dsns, test)


def test_a_row_cannot_be_moved_to_another_site(postgres_dsns: Dsns) -> None:
    async def move(session: Session) -> None:
        await session.run("UPDATE things SET site = 'bun'")

    async def test(world: World) -> None:
        await world.write(add("mug", site="ale"), site="ale")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await world.write(move, site="ale")
        assert [tuple(row) for row in await world.door.fetch(ALL)] == [("ale", "mug")]

    run(postgres_dsns, test)


# ---- the roles


async def opens(dsn: str) -> None:
    storage = PostgresStorage(dsn)
    await storage.open()
    await storage.close()


def test_a_role_that_could_pass_the_wall_is_refused(
    postgres_cluster: Cluster, postgres_dsns: Dsns
) -> None:
    database = postgres_dsns.application.rpartition("/")[2]
    role = f"passing_{database}"
    login = f"LOGIN PASSWORD '{postgres_cluster.password}'"
    passing = postgres_dsns.application.replace(row_security.APPLICATION, role, 1)

    async def test(world: World) -> None:
        await opens(world.dsns.application)
        with pytest.raises(StorageFailed, match="is a superuser"):
            await opens(world.dsns.superuser)
        with pytest.raises(StorageFailed, match=r"hansa_owner owns the table (parts|things)"):
            await opens(world.dsns.owner)
        await world.door.execute(f"CREATE ROLE {role} BYPASSRLS {login}")
        try:
            with pytest.raises(StorageFailed, match="may bypass row security"):
                await opens(passing)
            await world.door.execute(f"ALTER ROLE {role} NOBYPASSRLS")
            await opens(passing)
            await world.door.execute(f"GRANT {row_security.OWNER} TO {role}")
            with pytest.raises(StorageFailed, match="owns the table"):
                await opens(passing)
        finally:
            await world.door.execute(f"DROP ROLE {role}")

    run(postgres_dsns, test)


def test_the_schema_is_changed_by_the_owner_and_by_nobody_else(postgres_dsns: Dsns) -> None:
    async def create(session: Session) -> None:
        await session.run("CREATE TABLE more (id BIGINT)")

    async def drop_policy(session: Session) -> None:
        await session.run("DROP POLICY hansa_site ON things")

    async def test(world: World) -> None:
        owners = await world.door.fetch(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        )
        assert [row[0] for row in owners] == [row_security.OWNER]
        for body in (create, drop_policy):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await world.write(body)
        with pytest.raises(asyncpg.UndefinedTableError):  # all of a script or nothing
            await world.storage.apply(["CREATE TABLE more (id BIGINT)", "DROP TABLE nothing"])
        assert await world.door.fetchval("SELECT to_regclass('more') IS NULL")
        with pytest.raises(StorageFailed, match="owner's DSN"):
            await PostgresStorage(world.dsns.application).apply(["SELECT 1"])

    run(postgres_dsns, test)


def test_the_owner_is_behind_the_wall_too(postgres_dsns: Dsns) -> None:
    async def test(world: World) -> None:
        await world.write(add("mug"))
        owner: Any = await asyncpg.connect(world.dsns.owner)
        try:
            assert await owner.fetch(ALL) == []
        finally:
            await owner.close()
        await world.storage.apply(["UPDATE things SET n = 5"])  # a migration is for all sites
        assert await world.level("mug") == 5

    run(postgres_dsns, test)
