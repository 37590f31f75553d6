"""What the tests of the PostgreSQL engine share: a cell with two tables, and a door beside it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvloop
from sqlalchemy import Column, MetaData, Table, Text

from hansa.kernel import row_security
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.storage import Committed, Session
from hansa.testing.postgres import Dsns

THINGS = Table("things", MetaData(), Column("site", Text), info={"scope": "site"})
PARTS = Table("parts", MetaData(), Column("site", Text), info={"scope": "site"})
SCHEMA = [
    "CREATE TABLE things (site TEXT NOT NULL, name TEXT NOT NULL,"
    " n BIGINT NOT NULL CHECK (n >= 0), PRIMARY KEY (site, name))",
    "CREATE TABLE parts (site TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (site, name),"
    " FOREIGN KEY (site, name) REFERENCES things (site, name))",
    *row_security.secure(THINGS),
    *row_security.secure(PARTS),
]
SITE = "tea"
ADD = "INSERT INTO things (site, name, n) VALUES ($1, $2, $3)"
LEVEL = "SELECT n FROM things WHERE site = $1 AND name = $2"
SET = "UPDATE things SET n = $3 WHERE site = $1 AND name = $2"
NAMES = "SELECT name FROM things WHERE site = $1 ORDER BY name"
PAUSE = "SELECT pg_advisory_xact_lock_shared(7)"
"""Waits as long as the test holds the gate."""

Body = Callable[[Session], Coroutine[Any, Any, Any]]


class World:
    """An open cell with empty tables, and the superuser's connection beside it."""

    def __init__(self, storage: PostgresStorage, door: Any, dsns: Dsns) -> None:
        self.storage = storage
        self.door = door
        self.dsns = dsns

    async def write(self, body: Body, seconds: float = 60, **options: Any) -> Committed[Any]:
        options.setdefault("site", SITE)
        return await self.storage.write(body, deadline=time.monotonic() + seconds, **options)

    async def read(
        self, body: Callable[[Session], Awaitable[Any]], seconds: float = 60, **options: Any
    ) -> Any:
        options.setdefault("site", SITE)
        return await self.storage.read(body, deadline=time.monotonic() + seconds, **options)

    async def names(self) -> list[str]:
        rows = await self.read(lambda session: session.fetch(NAMES, (SITE,)), shape="names")
        return [row[0] for row in rows]

    async def level(self, name: str) -> int:
        value: int = await self.door.fetchval(LEVEL, SITE, name)
        return value

    @asynccontextmanager
    async def gate(self) -> AsyncIterator[None]:
        """Hold up everybody who does PAUSE, to the end of the block."""
        await self.door.execute("SELECT pg_advisory_lock(7)")
        try:
            yield
        finally:
            await self.door.execute("SELECT pg_advisory_unlock(7)")

    async def paused(self, count: int) -> list[int]:
        """Wait until so many wait at the gate; return their backends."""
        while True:
            rows = await self.door.fetch(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if len(rows) >= count:
                return [row[0] for row in rows]
            await asyncio.sleep(0.005)

    async def busy(self) -> int:
        """Count what the application's backends are at, or hold open."""
        count: int = await self.door.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state <> 'idle'"
            " AND datname = current_database()",
            row_security.APPLICATION,
        )
        return count

    async def at_rest(self) -> None:
        """Wait until no backend of the application does anything."""
        while True:
            if not await self.busy():
                return
            await asyncio.sleep(0.005)


def run(dsns: Dsns, test: Callable[[World], Awaitable[None]], **options: Any) -> None:
    """Run `test` in an empty cell on the loop that serves; fail when it hangs."""

    async def main() -> None:
        storage = PostgresStorage(dsns.application, owner_dsn=dsns.owner, **options)
        await storage.open()
        await storage.apply(SCHEMA)
        door: Any = await asyncpg.connect(dsns.superuser)
        try:
            async with asyncio.timeout(120):
                await test(World(storage, door, dsns))
        finally:
            door.terminate()
            await storage.close()

    uvloop.run(main())


def add(name: str, n: int = 1, site: str = SITE) -> Body:
    async def body(session: Session) -> str:
        await session.run(ADD, (site, name, n))
        return name

    return body


def raising(code: str, times: int, tries: list[int], after: Body | None = None) -> Body:
    """Return a body whose statement fails with a code so many times; `tries` counts its runs."""

    async def body(session: Session) -> Any:
        tries.append(1)
        await session.run(ADD, (SITE, "row", 1))
        if len(tries) <= times:
            await session.run(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
        return await after(session) if after else "done"

    return body
