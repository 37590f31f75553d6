"""Revisions are read, judged, applied once, and make what is declared."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import BigInteger, CheckConstraint, Column, MetaData, PrimaryKeyConstraint, Table
from sqlalchemy import Text as SqlText

from hansa.kernel.migrating import (
    KernelSchema,
    MigrationFailed,
    MigrationRefused,
    Step,
    lines_of,
    migrate,
    pending,
    plan,
    read_applied,
)
from hansa.kernel.migration_sql import lint, lint_all, statements_of
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.revisions import RevisionsInvalid, chain_of, read_chain
from hansa.kernel.schema import checks_in, compare, differences
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import PLATFORM, Session, Storage
from hansa.testing.postgres import Cluster, Dsns

T = TypeVar("T")

FIRST = """
    op.create_table("shop_items", sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False, server_default="50% off; 'now' %s"),
        sa.PrimaryKeyConstraint("site", "id"))
"""
SECOND = 'op.add_column("shop_items", sa.Column("price", sa.BigInteger()))'
THIRD = 'op.drop_column("shop_items", "price")'


@dataclass
class Shop:
    """A service in a folder of its own."""

    folder: Path
    package: str
    name: str = "shop"
    tables: dict[str, Table] = field(default_factory=dict[str, Table])

    def revision(
        self, number: str, body: str, phase: str = "expand", down: str | None = "-"
    ) -> Path:
        """Write one revision, by default after the one with the number before it."""
        before = f"{int(number) - 1:04d}" if int(number) > 1 else None
        file = self.folder / f"{number}_step_{number}.py"
        file.write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n\n"
            f"revision = {number!r}\ndown_revision = {before if down == '-' else down!r}\n"
            f"phase: str = {phase!r}\n\n\ndef upgrade() -> None:\n    {body.strip()}\n".replace(
                f"down_revision = {before}\n", f"down_revision = {before!r}\n"
            )
        )
        return file


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Shop:
    """A service with a package that can be imported and an empty folder of revisions."""
    package = f"shop_{abs(hash(request.node.nodeid))}"
    folder = tmp_path / package / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return Shop(folder, package)


@pytest.fixture
def empty(storage: Storage, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Another cell with nothing in it, of the same engine."""
    if storage.dialect == "sqlite":
        yield SqliteStorage(tmp_path / "empty.db", synchronous="OFF")
        return
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    dsns = cluster.new_database(f"empty_{tmp_path.name}"[:60])
    yield PostgresStorage(dsns.application, owner_dsn=dsns.owner)
    cluster.drop(f"empty_{tmp_path.name}"[:60])


def on(storage: Storage, body: Callable[[Storage], Awaitable[T]]) -> T:
    """Run `body` with a cell that is open."""

    async def run() -> T:
        await storage.open()
        try:
            return await body(storage)
        finally:
            await storage.close()

    return asyncio.run(run())


async def columns_of(storage: Storage, table: str) -> list[str]:
    async def body(session: Session) -> list[str]:
        question = (
            "SELECT name FROM pragma_table_info(?1)"
            if session.dialect == "sqlite"
            else "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 "
            "AND NOT attisdropped ORDER BY attnum"
        )
        return [str(row[0]) for row in await session.fetch(question, (table,))]

    loop = asyncio.get_running_loop()
    return await storage.read(body, site=PLATFORM, deadline=loop.time() + 10)


# ---- the chain


def test_a_folder_is_read_without_alembic(shop: Shop) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", THIRD, "contract")
    chain = chain_of(shop)
    assert [(one.revision, one.phase) for one in chain] == [
        ("0001", "expand"),
        ("0002", "contract"),
    ]


def test_a_service_in_a_plain_module_has_no_revisions() -> None:
    assert chain_of(Shop(Path(), "hansa.kernel.ids")) == []
    with pytest.raises(RevisionsInvalid, match="no package"):
        chain_of(Shop(Path(), "hansa_nowhere"))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("0002_b.py", ("'0002'", "'0003'"), 'write revision = "0002"'),
        ("0002_b.py", ("'expand'", "'other'"), 'write phase = "expand"'),
        ("0002_b.py", ("down_revision = '0001'", ""), "write down_revision"),
        ("0002_b.py", ("def upgrade", "def update"), "no function upgrade"),
        ("0002_b.py", ("def upgrade", "def downgrade(): ...\ndef upgrade"), "forward only"),
        ("0002_b.py", ("'0001'", "'0007'"), "follows 0007, which is missing"),
        ("0002_b.py", ("'0001'", "None"), "one line of revisions"),
        ("0002_b.py", ("import", "imp ort"), "line 1"),
        ("2_b.py", ("", ""), "name it NNNN"),
        ("0001_b.py", ("'0002'", "'0001'"), "give the later one the next number"),
    ],
)
def test_a_broken_chain_says_what_to_change(
    shop: Shop, name: str, change: tuple[str, str], words: str
) -> None:
    shop.revision("0001", FIRST)
    file = shop.revision("0002", SECOND)
    text = file.read_text().replace(*change)
    file.unlink()
    (shop.folder / name).write_text(text)
    with pytest.raises(RevisionsInvalid, match=words):
        chain_of(shop)


def test_the_first_revision_cannot_contract(shop: Shop) -> None:
    shop.revision("0001", FIRST, "contract")
    with pytest.raises(RevisionsInvalid, match="nothing to contract"):
        chain_of(shop)


# ---- the linter


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('op.drop_table("shop_items")', "dropping a table"),
        ('op.drop_column("shop_items", "title")', "dropping a column"),
        ('op.execute("drop  table shop_items")', "dropping a table"),
        ('op.execute("alter table shop_items add column x text not null")', "server_default"),
        (
            'op.add_column("shop_items", sa.Column("x", sa.Text(), nullable=False))',
            "server_default",
        ),
        ('op.rename_table("shop_items", "shop_things")', "does not know the new name"),
        ('op.alter_column("shop_items", "title", new_column_name="name")', "the new name"),
        (
            'with op.batch_alter_table("shop_items", copy_from=sa.Table("shop_items", '
            'sa.MetaData(), sa.Column("title", sa.Text()))) as items:\n'
            '        items.alter_column("title", type_=sa.BigInteger())',
            "add a new column",
        ),
        (
            'with op.batch_alter_table("shop_items", copy_from=sa.Table("shop_items", '
            'sa.MetaData(), sa.Column("title", sa.Text()))) as items:\n'
            '        items.alter_column("title", nullable=False)',
            "NOT NULL on a column in use",
        ),
        (
            'with op.batch_alter_table("shop_items", copy_from=sa.Table("shop_items", '
            'sa.MetaData(), sa.Column("title", sa.Text()), '
            'sa.CheckConstraint("1 = 1", name="sure"))) as items:\n'
            '        items.drop_constraint("sure", type_="check")',
            "dropping a constraint",
        ),
    ],
)
def test_what_takes_away_belongs_into_a_contract(shop: Shop, body: str, words: str) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", body)
    faults = lint(chain_of(shop)[1])
    assert [words in str(fault) for fault in faults] == [True]
    shop.revision("0002", body, "contract")
    left = [str(fault) for fault in lint(chain_of(shop)[1])]
    assert all("ADD COLUMN" in fault.upper() for fault in left)


@pytest.mark.parametrize(
    "body",
    [
        SECOND,
        'op.create_index("shop_by_title", "shop_items", ["site", "title"])',
        "op.execute(\"UPDATE shop_items SET title = 'DROP TABLE, RENAME -- TRUNCATE'\")",
        'op.add_column("shop_items", sa.Column("x", sa.Text(), nullable=False, server_default=""))',
        (
            'with op.batch_alter_table("shop_items", copy_from=sa.Table("shop_items", '
            'sa.MetaData(), sa.Column("title", sa.Text()))) as items:\n'
            '        items.create_check_constraint("short", "length(title) < 90")'
        ),
    ],
)
def test_what_adds_is_free(shop: Shop, body: str) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", body)
    assert lint(chain_of(shop)[1]) == []


def test_a_contract_does_not_add(shop: Shop) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", SECOND, "contract")
    assert "expand revision" in str(lint(chain_of(shop)[1])[0])


def test_a_refused_revision_changes_nothing(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", 'op.drop_column("shop_items", "title")')

    async def body(storage: Storage) -> None:
        with pytest.raises(RevisionsInvalid, match="dropping a column"):
            await migrate(storage, [shop])
        assert "shop" not in await read_applied(storage)

    on(storage, body)


# ---- applying


def test_text_reaches_the_database_as_written(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)
    shop.tables = {"items": declared(MetaData())}

    async def body(storage: Storage) -> None:
        await migrate(storage, [shop])
        await storage.apply(["INSERT INTO shop_items (site, id) VALUES ('s', 'i')"])

        async def read(session: Session) -> object:
            return (await session.fetch("SELECT title FROM shop_items"))[0][0]

        loop = asyncio.get_running_loop()
        title = await storage.read(read, site="s", deadline=loop.time() + 10)
        assert title == "50% off; 'now' %s"

    on(storage, body)
    for dialect in ("sqlite", "postgresql"):
        found = statements_of(chain_of(shop)[0], dialect)
        assert len(found) == 1
        assert "'50% off; ''now'' %s'" in found[0]


def test_expand_first_then_contract(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", SECOND)
    shop.revision("0003", THIRD, "contract")

    async def body(storage: Storage) -> None:
        steps = await plan(storage, [shop])
        assert [(step.service, step.revision) for step in steps] == [
            ("kernel", "0001"),
            ("shop", "0001"),
            ("shop", "0002"),
            ("shop", "0003"),
        ]
        assert await migrate(storage, [shop], until="expand") == steps[:3]
        assert await columns_of(storage, "shop_items") == ["site", "id", "title", "price"]
        assert await plan(storage, [shop], until="expand") == []
        assert await migrate(storage, [shop], now_us=lambda: 7) == steps[3:]
        assert await columns_of(storage, "shop_items") == ["site", "id", "title"]
        assert await migrate(storage, [shop]) == []

    on(storage, body)


def test_a_failing_service_keeps_nothing_and_the_others_stay(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", 'op.execute("INSERT INTO shop_nowhere VALUES (1)")')

    async def body(storage: Storage) -> None:
        with pytest.raises(MigrationFailed, match="shop 0001, 0002"):
            await migrate(storage, [shop])
        assert (await read_applied(storage)).keys() == {"kernel"}
        assert await columns_of(storage, "shop_items") == []
        shop.revision("0002", SECOND)
        assert len(await migrate(storage, [shop])) == 2

    on(storage, body)


def test_many_who_start_at_once_migrate_once(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", SECOND)

    async def body(storage: Storage) -> None:
        runs = await asyncio.gather(*(migrate(storage, [shop]) for _ in range(5)))
        assert len([step for run in runs for step in run]) == 3
        assert len((await read_applied(storage))["shop"]) == 2

    on(storage, body)


def test_many_processes_on_postgres_migrate_once(shop: Shop, postgres_dsns: Dsns) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", SECOND)

    async def one() -> list[Step]:
        storage = PostgresStorage(postgres_dsns.application, owner_dsn=postgres_dsns.owner)
        await storage.open()
        try:
            return await migrate(storage, [shop])
        finally:
            await storage.close()

    async def main() -> list[list[Step]]:
        return await asyncio.gather(*(one() for _ in range(6)))

    steps = [step for run in asyncio.run(main()) for step in run]
    assert sorted((step.service, step.revision) for step in steps) == [
        ("kernel", "0001"),
        ("shop", "0001"),
        ("shop", "0002"),
    ]


def test_a_start_with_nothing_to_do_does_not_load_alembic(shop: Shop, tmp_path: Path) -> None:
    shop.revision("0001", FIRST)
    on(SqliteStorage(tmp_path / "cell.db"), lambda storage: migrate(storage, [shop]))
    script = f"""
import asyncio, sys
from hansa.kernel.migrating import migrate
from hansa.kernel.sqlite import SqliteStorage
class Shop: name, package, tables = "shop", {shop.package!r}, {{}}
async def main():
    storage = SqliteStorage({str(tmp_path / "cell.db")!r})
    await storage.open()
    assert await migrate(storage, [Shop()]) == []
    await storage.close()
asyncio.run(main())
assert "alembic" not in sys.modules
"""
    paths = [str(tmp_path), *sys.path]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{script}"], check=True
    )


# ---- code and database apart


def chain(shop: Shop, *phases: str) -> dict[str, list[object]]:
    for number, phase in enumerate(phases, 1):
        shop.revision(f"{number:04d}", "pass", phase)
    return {"shop": list(chain_of(shop))}


def refusal(chains: object, applied: object) -> str:
    with pytest.raises(MigrationRefused) as refused:
        pending(chains, applied, "contract")  # type: ignore[arg-type]
    return str(refused.value)


def test_a_database_that_is_newer_by_a_contract_is_refused(shop: Shop) -> None:
    chains = chain(shop, "expand")
    assert "newer than this code" in refusal(
        chains, {"shop": {"0001": "expand", "0002": "contract"}}
    )


def test_a_database_that_is_newer_by_an_expand_serves_the_release_before(shop: Shop) -> None:
    chains = chain(shop, "expand")
    applied = {"shop": {"0001": "expand", "0002": "expand"}}
    assert pending(chains, applied, "contract") == []  # type: ignore[arg-type]


def test_two_branches_are_refused(shop: Shop) -> None:
    chains = chain(shop, "expand", "expand")
    assert "branches" in refusal(chains, {"shop": {"0001": "expand", "0009": "expand"}})


def test_a_gap_is_refused(shop: Shop) -> None:
    chains = chain(shop, "expand", "expand")
    assert "end of the line" in refusal(chains, {"shop": {"0002": "expand"}})


def test_services_need_their_own_names(shop: Shop, storage: Storage) -> None:
    async def body(storage: Storage) -> None:
        with pytest.raises(RevisionsInvalid, match="two services"):
            await plan(storage, [shop, shop])

    on(storage, body)


# ---- declared and migrated


def declared(metadata: MetaData, *more: Column[object] | CheckConstraint) -> Table:
    return Table(
        "shop_items",
        metadata,
        Column("site", SqlText, nullable=False),
        Column("id", SqlText, nullable=False),
        Column("title", SqlText, nullable=False, server_default="50% off; 'now' %s"),
        *more,
        PrimaryKeyConstraint("site", "id"),
        info={"service": "shop", "scope": "site"},
    )


def differ(shop: Shop, storage: Storage, empty: Storage, table: Table | None) -> list[str]:
    shop.tables = {} if table is None else {"items": table}

    async def body(storage: Storage) -> list[str]:
        await migrate(storage, [shop])
        await empty.open()
        try:
            return await differences(storage, empty, [shop])
        finally:
            await empty.close()

    return on(storage, body)


def test_the_kernel_and_an_equal_service_do_not_differ(
    shop: Shop, storage: Storage, empty: Storage
) -> None:
    shop.revision("0001", FIRST)
    assert differ(shop, storage, empty, declared(MetaData())) == []


def test_every_difference_is_told(shop: Shop, storage: Storage, empty: Storage) -> None:
    shop.revision("0001", FIRST)
    shop.revision("0002", SECOND)
    table = declared(
        MetaData(),
        Column("price", BigInteger, nullable=False, server_default="0"),
        Column("brand", SqlText, index=True, unique=True),
        CheckConstraint("price >= 0 AND title <> ')'", name="sane"),
    )
    only = "shop_items: only declared: "
    assert (
        differ(shop, storage, empty, table)
        == {
            "sqlite": [
                f"{only}check price >= 0 AND title <> ')'",
                f"{only}column brand TEXT",
                f"{only}column price BIGINT not null default '0'",
                f"{only}unique index ix_shop_items_brand (brand)",
                "shop_items: only migrated: column price BIGINT",
            ],
            "postgresql": [
                f"{only}CREATE UNIQUE INDEX ix_shop_items_brand ON USING btree (brand)",
                f"{only}column brand text",
                f"{only}column price bigint not null default '0'::bigint",
                f"{only}constraint sane CHECK (((price >= 0) AND (title <> ')'::text)))",
                "shop_items: only migrated: column price bigint",
            ],
        }[storage.dialect]
    )


def test_a_table_that_nobody_declares_is_told(shop: Shop, storage: Storage, empty: Storage) -> None:
    shop.revision("0001", FIRST)
    assert differ(shop, storage, empty, None) == [
        "shop_items: is made by a revision, but not declared"
    ]


def test_a_table_without_a_revision_is_told() -> None:
    assert compare({"shop_x": frozenset()}, {}) == ["shop_x: is declared, but no revision makes it"]


def test_checks_are_found_whole() -> None:
    sql = "CREATE TABLE t (a TEXT CHECK (a IN ('x)', 'it''s (')), CHECK  ((1) = (1)))"
    assert checks_in(sql) == ["(1) = (1)", "a IN ('x)', 'it''s (')"]


def test_a_declared_table_that_no_revision_makes_stops_the_migration(
    shop: Shop, storage: Storage
) -> None:
    shop.revision("0001", "op.execute('SELECT 1')")
    shop.revision("0002", "op.execute('SELECT 1')", "contract")
    shop.tables = {"items": declared(MetaData())}

    async def body(storage: Storage) -> None:
        with pytest.raises(RevisionsInvalid, match="declares shop_items"):
            await migrate(storage, [shop])
        await migrate(storage, [shop], until="expand")

    on(storage, body)


# ---- for people


def test_steps_read_well(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)
    steps = on(storage, lambda storage: plan(storage, [shop]))
    assert lines_of(steps, done=False) == [
        "2 revisions to apply:",
        "  kernel  0001  expand    kernel",
        "  shop    0001  expand    step 0001",
    ]
    assert lines_of(steps[:1], done=True)[0] == "1 revision applied:"
    assert lines_of([], done=True) == ["The schema is up to date."]


def test_the_kernels_own_revisions_are_in_order() -> None:
    assert lint_all([KernelSchema("sqlite")]) == []
    assert read_chain("kernel", Path(__file__).parent / "nowhere") == []
