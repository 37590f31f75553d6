"""A drafted revision makes what is declared, in portable types and in the right order."""

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import MetaData, Table

from hansa.kernel.columns import (
    Part,
    build_table,
    date,
    enum,
    instant,
    integer,
    json,
    money,
    position,
    text,
)
from hansa.kernel.drafting import draft, missing
from hansa.kernel.migrating import migrate
from hansa.kernel.revisions import chain_of
from hansa.kernel.schema import differences
from hansa.kernel.sqlite import SqliteStorage


@dataclass
class Shop:
    """A service with tables and an empty folder of revisions."""

    package: str
    name: str = "shop"
    tables: dict[str, Table] = field(default_factory=dict[str, Table])


def declare(*more: Part) -> dict[str, Table]:
    metadata = MetaData()
    carts = build_table(metadata, "shop", "carts", [instant("opened_at")], prefix="cart")
    lines = build_table(
        metadata,
        "shop",
        "lines",
        [
            text("cart_id"), text("sku"), integer("quantity"), money("price"), json("extra"),
            date("day"), position("since"),
            enum("state", ("open", "it's done")), *more,
        ],
        unique=[("cart_id", "sku")],
        foreign=[("cart_id", carts)],
        checks=["quantity > 0"],
    )  # fmt: skip
    return {"lines": lines, "carts": carts}


def test_drafts_follow_the_declarations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "shop_to_draft"
    folder = tmp_path / package / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    shop = Shop(package, tables=declare())
    name, source = draft(shop, "carts_and_lines")
    assert name == "0001_carts_and_lines.py"
    assert all(own not in source for own in ("Instant", "Day(", "Json", "LogPosition", "info="))
    (folder / name).write_text(source)
    with pytest.raises(ValueError, match="already make"):
        draft(shop, "nothing")

    shop.tables = declare(text("note", nullable=True), text("tag", default=""))
    lines = f"{shop.tables['lines'].name}: no revision makes the column "
    assert missing(shop) == [f"{lines}note", f"{lines}tag"]
    name, source = draft(shop, "notes")
    assert name == "0002_notes.py"
    (folder / name).write_text(source)
    assert missing(shop) == []
    assert [one.down_revision for one in chain_of(shop)] == [None, "0001"]

    async def main() -> list[str]:
        cell, empty = (SqliteStorage(tmp_path / f"{part}.db", readers=1) for part in ("a", "b"))
        await cell.open()
        await empty.open()
        try:
            await migrate(cell, [shop])
            return await differences(cell, empty, [shop])
        finally:
            await empty.close()
            await cell.close()

    assert asyncio.run(main()) == []
