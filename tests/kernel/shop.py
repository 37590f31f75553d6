"""A service of which only the revisions exist, and how a test opens a cell to apply them to."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy import CheckConstraint, Column, MetaData, PrimaryKeyConstraint, Table
from sqlalchemy import Text as SqlText

from hansa.kernel.storage import PLATFORM, Session, Storage

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


def declared(metadata: MetaData, *more: Column[object] | CheckConstraint) -> Table:
    """Return the table that the revision `FIRST` makes, with more columns or checks."""
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
