"""What is declared and what the revisions make are the same, or every difference is told."""

import pytest
from sqlalchemy import BigInteger, CheckConstraint, Column, MetaData, Table
from sqlalchemy import Text as SqlText

from hansa.kernel.migrating import migrate
from hansa.kernel.revisions import RevisionsInvalid
from hansa.kernel.schema import checks_in, compare, differences, lacking
from hansa.kernel.storage import Storage
from tests.kernel.shop import FIRST, SECOND, Shop, declared, on


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


def test_what_a_start_would_lack_is_told(shop: Shop, storage: Storage) -> None:
    shop.revision("0001", FIRST)
    metadata = MetaData()
    loose = Table("shop_loose", metadata, Column("name", SqlText))

    async def body(storage: Storage) -> list[dict[str, list[str]]]:
        shop.tables = {"items": declared(MetaData())}
        await migrate(storage, [shop])
        none = await lacking(storage, [shop])
        shop.tables = {"items": declared(metadata, Column("brand", SqlText)), "loose": loose}
        return [none, await lacking(storage, [shop])]

    assert on(storage, body) == [{}, {"shop": ["shop_items.brand", "shop_loose"]}]


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
