"""The tuned peer's store on SQLite: WAL, synchronous=FULL, one held reader, one held writer."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import orjson
from sqlalchemy import bindparam, create_engine, event, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError
from tables import (
    SHOWN,
    api_keys,
    cursors,
    idempotency_keys,
    metadata,
    outbox,
    products,
    seed_rows,
    tallies,
)

INLINE = os.environ.get("BENCH_INLINE_WRITES") != "0"

by_handle = select(*SHOWN).where(
    products.c.site == bindparam("site"), products.c.handle == bindparam("handle")
)
by_key = select(idempotency_keys.c.request, idempotency_keys.c.answer).where(
    idempotency_keys.c.site == bindparam("site"), idempotency_keys.c.key == bindparam("key")
)
add_key = insert(idempotency_keys).on_conflict_do_nothing()
add_product = insert(products)
add_event = insert(outbox)
position_now = select(cursors.c.position).where(cursors.c.subscriber == "count_products")
after = (
    select(outbox.c.position, outbox.c.site, outbox.c.data)
    .where(outbox.c.position > bindparam("position"))
    .order_by(outbox.c.position)
    .limit(bindparam("most"))
)
count_one = (
    update(tallies)
    .where(tallies.c.site == bindparam("of_site"))
    .values(created=tallies.c.created + 1)
)
move = update(cursors).where(cursors.c.subscriber == "count_products")
NAMES = [column.name for column in SHOWN]


class Store:
    def __init__(self, path):
        # AUTOCOMMIT: transactions are begun by hand below, and reads need none.
        self.engine = create_engine(
            f"sqlite:///{path}",
            isolation_level="AUTOCOMMIT",
            connect_args={"check_same_thread": False, "cached_statements": 256},
        )
        event.listen(self.engine, "connect", _pragmas)
        self.thread = ThreadPoolExecutor(1)

    async def open(self, seed):
        self.reader = self.engine.connect()
        self.writer = self.engine.connect()
        metadata.create_all(self.writer)
        if not self.writer.execute(select(func.count()).select_from(api_keys)).scalar():
            self.writer.exec_driver_sql("BEGIN IMMEDIATE")
            for table, rows in seed_rows(seed).items():
                self.writer.execute(table.insert(), rows)
            self.writer.exec_driver_sql("COMMIT")

    async def close(self):
        self.thread.shutdown()

    async def site_of(self, hash):
        found = select(api_keys.c.site).where(api_keys.c.hash == hash)
        return self.reader.execute(found).scalar()

    def product_now(self, site, handle):
        return self.reader.execute(by_handle, {"site": site, "handle": handle}).one_or_none()

    async def _write(self, work, *args):
        if INLINE:
            return work(*args)
        return await asyncio.get_running_loop().run_in_executor(self.thread, work, *args)

    async def create(self, *args):
        return await self._write(self._create, *args)

    def _create(self, site, row, event, key, digest, answer):
        run = self.writer.execute
        self.writer.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            if key:
                kept = {
                    "site": site, "key": key, "request": digest, "answer": answer,
                    "created_at": row[-1],
                }  # fmt: skip
                if not run(add_key, kept).rowcount:
                    known = run(by_key, {"site": site, "key": key}).one()
                    self.writer.exec_driver_sql("ROLLBACK")
                    return known
            run(add_product, dict(zip(NAMES, row, strict=True), site=site))
            run(add_event, {"site": site, "type": "product_created", "data": event})
            self.writer.exec_driver_sql("COMMIT")
        except IntegrityError:
            self.writer.exec_driver_sql("ROLLBACK")
            return "taken"
        except BaseException:
            self.writer.exec_driver_sql("ROLLBACK")
            raise
        return None

    async def deliver(self, most):
        return await self._write(self._deliver, most)

    def _deliver(self, most):
        """Move the cursor over up to `most` events in the transaction of their effects."""
        run = self.writer.execute
        self.writer.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            position = run(position_now).scalar()
            events = run(after, {"position": position, "most": most}).all()
            if events:
                for found in events:
                    orjson.loads(found.data)
                run(count_one, [{"of_site": found.site} for found in events])
                run(move, {"position": events[-1].position})
            self.writer.exec_driver_sql("COMMIT")
        except BaseException:
            self.writer.exec_driver_sql("ROLLBACK")
            raise
        return len(events)

    async def tally(self, site):
        return self.reader.execute(select(tallies.c.created).where(tallies.c.site == site)).scalar()

    async def count(self, site):
        return self.reader.execute(
            select(func.count()).select_from(products).where(products.c.site == site)
        ).scalar()


def _pragmas(connection, _):
    for pragma in (
        "journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "mmap_size=268435456",
        "temp_store=MEMORY", "wal_autocheckpoint=8000", "busy_timeout=10000",
    ):  # fmt: skip
        connection.execute(f"PRAGMA {pragma}")
