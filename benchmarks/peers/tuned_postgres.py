"""The tuned peer's store on PostgreSQL: asyncpg under SQLAlchemy Core, connections held in a stack.

A command is one statement (and so one transaction and one round trip): the key, the product and the
event in common table expressions. The cursor is (xid, position) below the oldest transaction still
open, since positions of a sequence are not in commit order.
"""

import asyncio

import orjson
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from tables import (
    SHOWN,
    api_keys,
    cursors,
    idempotency_keys,
    metadata,
    products,
    seed_rows,
    tallies,
)

CONNECTIONS = 16

by_handle = select(*SHOWN).where(
    products.c.site == bindparam("site"), products.c.handle == bindparam("handle")
)
by_key = select(idempotency_keys.c.request, idempotency_keys.c.answer).where(
    idempotency_keys.c.site == bindparam("site"), idempotency_keys.c.key == bindparam("key")
)
NAMES = [column.name for column in SHOWN]
_PRODUCT = f"""
INSERT INTO products (site, {", ".join(NAMES)}) SELECT :site, {", ".join(":" + n for n in NAMES)}"""
_EVENT = "INSERT INTO outbox (site, type, data) SELECT :site, 'product_created', :data"
create_plain = text(f"WITH made AS ({_PRODUCT}), event AS ({_EVENT}) SELECT 1")
create_keyed = text(f"""
WITH first AS (
    INSERT INTO idempotency_keys (site, key, request, answer, created_at)
    VALUES (:site, :key, :request, :answer, :created_at) ON CONFLICT DO NOTHING RETURNING 1
), made AS ({_PRODUCT} WHERE EXISTS (SELECT FROM first)
), event AS ({_EVENT} WHERE EXISTS (SELECT FROM first)
) SELECT count(*) FROM first""")
after = text("""
SELECT o.position, o.xid::text AS xid, o.site, o.data FROM outbox o,
    (SELECT c.position, c.xid::xid8 AS xid FROM cursors c WHERE subscriber = 'count_products') c
WHERE (o.xid, o.position) > (c.xid, c.position)
    AND o.xid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY o.xid, o.position LIMIT :most""")
lock_cursor = text("SELECT 1 FROM cursors WHERE subscriber = 'count_products' FOR UPDATE")
count_one = (
    update(tallies)
    .where(tallies.c.site == bindparam("of_site"))
    .values(created=tallies.c.created + 1)
)
move = update(cursors).where(cursors.c.subscriber == "count_products")


class Store:
    def __init__(self, dsn):
        dsn = dsn.replace("postgresql://", "postgresql+asyncpg://")
        # AUTOCOMMIT: each request is one statement, so that it needs no BEGIN and no COMMIT.
        self.engine = create_async_engine(
            dsn, isolation_level="AUTOCOMMIT", pool_size=CONNECTIONS, max_overflow=2
        )
        self.transactions = create_async_engine(dsn, pool_size=2)
        self.idle = asyncio.Semaphore(CONNECTIONS)
        self.stack = []

    async def open(self, seed):
        async with self.transactions.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.execute(
                text(
                    "ALTER TABLE outbox ADD COLUMN IF NOT EXISTS"
                    " xid xid8 NOT NULL DEFAULT pg_current_xact_id()"
                )
            )
            await connection.execute(
                text("CREATE INDEX IF NOT EXISTS outbox_log ON outbox (xid, position)")
            )
            if not (await connection.execute(select(func.count()).select_from(api_keys))).scalar():
                for table, rows in seed_rows(seed).items():
                    await connection.execute(table.insert(), rows)
        self.stack = [await self.engine.connect() for _ in range(CONNECTIONS)]

    async def close(self):
        for connection in self.stack:
            await connection.close()
        await self.engine.dispose()
        await self.transactions.dispose()

    async def _execute(self, statement, parameters):
        """Run one statement on a held connection: the pool's checkout and reset are not needed."""
        async with self.idle:
            connection = self.stack.pop()
            try:
                return await connection.execute(statement, parameters)
            finally:
                self.stack.append(connection)

    async def site_of(self, hash):
        found = select(api_keys.c.site).where(api_keys.c.hash == bindparam("hash"))
        return (await self._execute(found, {"hash": hash})).scalar()

    async def product(self, site, handle):
        return (await self._execute(by_handle, {"site": site, "handle": handle})).one_or_none()

    async def create(self, site, row, event, key, digest, answer):
        values = dict(zip(NAMES, row, strict=True), site=site, data=event)
        try:
            if not key:
                await self._execute(create_plain, values)
                return None
            values.update(key=key, request=digest, answer=answer)
            if (await self._execute(create_keyed, values)).scalar():
                return None
        except IntegrityError:
            return "taken"
        return (await self._execute(by_key, {"site": site, "key": key})).one()

    async def deliver(self, most):
        """Move the cursor over up to `most` events in the transaction of their effects."""
        async with self.transactions.begin() as connection:
            await connection.execute(lock_cursor)
            events = (await connection.execute(after, {"most": most})).all()
            if events:
                for found in events:
                    orjson.loads(found.data)
                await connection.execute(count_one, [{"of_site": one.site} for one in events])
                last = {"position": events[-1].position, "xid": events[-1].xid}
                await connection.execute(move, last)
        return len(events)

    async def tally(self, site):
        found = select(tallies.c.created).where(tallies.c.site == site)
        return (await self._execute(found, {})).scalar()

    async def count(self, site):
        found = select(func.count()).select_from(products).where(products.c.site == site)
        return (await self._execute(found, {})).scalar()
