"""Revisions are read, judged, applied once, and make what is declared."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from hansa.kernel import row_security
from hansa.kernel.commands import deadline_in
from hansa.kernel.migrating import (
    TABLE,
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
from hansa.kernel.migration_sql import lint, lint_all, statements_of, tables_after
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.revisions import RevisionsInvalid, chain_of, read_chain
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Session, Storage
from hansa.testing.postgres import Dsns
from tests.kernel.shop import FIRST, SECOND, THIRD, Shop, columns_of, declared, on

KERNEL = [("kernel", one.revision) for one in chain_of(KernelSchema("sqlite"))]

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
            *KERNEL, ("shop", "0001"), ("shop", "0002"), ("shop", "0003"),
        ]  # fmt: skip
        first = await migrate(storage, [shop], until="expand")
        assert first == [step for step in steps if step.phase == "expand"]
        assert await columns_of(storage, "shop_items") == ["site", "id", "title", "price"]
        assert await plan(storage, [shop], until="expand") == []
        later = await migrate(storage, [shop], now_us=lambda: 7)
        assert later == [step for step in steps if step.phase == "contract"]
        assert await columns_of(storage, "shop_items") == ["site", "id", "title"]
        assert await migrate(storage, [shop]) == []

    on(storage, body)


def test_what_is_applied_is_not_read_again(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)

    async def body(storage: Storage) -> None:
        assert len(await migrate(storage, [shop])) == len(KERNEL) + 1
        file = chain_of(shop)[0].file
        file.write_text("this is no Python\n")
        assert await plan(storage, [shop]) == []
        shop.revision("0002", SECOND)
        with pytest.raises(RevisionsInvalid, match="line 1"):
            await plan(storage, [shop])

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
        assert len([step for run in runs for step in run]) == len(KERNEL) + 2
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
        *KERNEL, ("shop", "0001"), ("shop", "0002"),
    ]  # fmt: skip


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


def test_a_cell_of_the_first_release_goes_on(storage: Storage) -> None:
    """Its receipts are kept, and stand by site from then on."""
    first = chain_of(KernelSchema(storage.dialect))[0]
    receipts = [("mail", f"event_{number}", f"site_{number % 2}", number) for number in range(4)]
    values = ", ".join(f"('{one}', '{event}', '{site}', {at})" for one, event, site, at in receipts)

    async def body(storage: Storage) -> None:
        made = {"hansa_migrations", *tables_after([first], storage.dialect)}
        tables = [one for one in KernelSchema(storage.dialect).tables.values() if one.name in made]
        secured = [line for one in tables for line in row_security.secure(one)]
        await storage.apply([
            TABLE,
            "INSERT INTO hansa_migrations (service, revision, phase, applied_at_us)"
            " VALUES ('kernel', '0001', 'expand', 1)",
            *statements_of(first, storage.dialect),
            f"INSERT INTO hansa_receipts (subscriber, event, site, at_us) VALUES {values}",
            *(secured if storage.dialect == "postgresql" else ()),
        ])  # fmt: skip
        assert [(step.service, step.revision) for step in await migrate(storage, [])] == KERNEL[1:]

        async def rows(session: Session) -> object:
            found = await session.fetch(
                "SELECT subscriber, event, site, at_us FROM hansa_receipts ORDER BY at_us"
            )
            return [tuple(row) for row in found]

        kept = await storage.read(rows, site="platform", deadline=deadline_in(30), across=True)
        assert kept == receipts

    on(storage, body)


# ---- for people


def test_steps_read_well(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)
    every = on(storage, lambda storage: plan(storage, [shop]))
    steps = [every[0], every[-1]]
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
