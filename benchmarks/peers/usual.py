"""FastAPI with the SQLAlchemy ORM as tutorials and most code bases have it: a session for each
request from a dependency, models in, response models out, aiosqlite or asyncpg below.

    python usual.py sqlite|postgresql <file or DSN> <seed.json> <port>
"""

import asyncio
import hashlib
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Integer,
    LargeBinary,
    UniqueConstraint,
    event,
    func,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ENGINE, WHERE, SEED, PORT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
SEEDED = json.loads(Path(SEED).read_text())
KEY_FRESH_S = 60.0
POLL_S = 0.02
SQLITE = ENGINE == "sqlite"


# ---- models


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    __table_args__ = (UniqueConstraint("site", "handle"),)
    site: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    handle: Mapped[str]
    title: Mapped[str]
    description: Mapped[str]
    price_minor: Mapped[int] = mapped_column(BigInteger)
    price_currency: Mapped[str]
    stock: Mapped[int] = mapped_column(BigInteger)
    tags: Mapped[Any] = mapped_column(JSON)
    attributes: Mapped[Any] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))

    @property
    def price(self) -> dict[str, Any]:
        return {"minor": self.price_minor, "currency": self.price_currency}


class ApiKey(Base):
    __tablename__ = "api_keys"
    hash: Mapped[str] = mapped_column(primary_key=True)
    site: Mapped[str]


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"
    site: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    answer: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class OutboxEvent(Base):
    __tablename__ = "outbox"
    position: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True
    )
    site: Mapped[str]
    type: Mapped[str]
    data: Mapped[Any] = mapped_column(JSON)


class Cursor(Base):
    __tablename__ = "cursors"
    subscriber: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    xid: Mapped[str]


class Tally(Base):
    __tablename__ = "tallies"
    site: Mapped[str] = mapped_column(primary_key=True)
    created: Mapped[int] = mapped_column(BigInteger)


# ---- schemas


class Price(BaseModel):
    minor: int = Field(ge=0)
    currency: str = Field(pattern="^[A-Z]{3}$")


class NewProduct(BaseModel):
    model_config = ConfigDict(extra="forbid")
    handle: str = Field(min_length=1, max_length=80)
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(max_length=5000)
    price: Price
    stock: int = Field(ge=0)
    tags: list[str]
    attributes: dict[str, str]


class ProductOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    handle: str
    title: str
    description: str
    price: Price
    stock: int
    tags: list[str]
    attributes: dict[str, str]
    created_at: datetime


# ---- database

if SQLITE:
    engine = create_async_engine(f"sqlite+aiosqlite:///{WHERE}", pool_size=10)
    writer = create_async_engine(f"sqlite+aiosqlite:///{WHERE}", pool_size=1, max_overflow=0)

    def pragmas(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", pragmas)
    event.listen(writer.sync_engine, "connect", pragmas)
    event.listen(writer.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
else:
    dsn = WHERE.replace("postgresql://", "postgresql+asyncpg://")
    engine = writer = create_async_engine(dsn, pool_size=16, max_overflow=4)
sessions = async_sessionmaker(engine, expire_on_commit=False)
writing = async_sessionmaker(writer, expire_on_commit=False)


async def reading_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


async def writing_session() -> AsyncIterator[AsyncSession]:
    async with writing() as session:
        yield session


created = asyncio.Event()
keys: dict[str, tuple[str, float]] = {}


async def caller(authorization: Annotated[str, Header()] = "") -> str:
    known = keys.get(authorization)
    if known is not None and known[1] > time.monotonic():
        return known[0]
    secret = authorization.removeprefix("Bearer ").rpartition("_")[2]
    async with sessions() as session:
        found = await session.get(ApiKey, hashlib.sha256(secret.encode()).hexdigest())
    if found is None or not authorization.startswith("Bearer "):
        raise HTTPException(401, "The API key is not known here.")
    keys[authorization] = (found.site, time.monotonic() + KEY_FRESH_S)
    return found.site


Caller = Annotated[str, Depends(caller)]
Reading = Annotated[AsyncSession, Depends(reading_session)]
Writing = Annotated[AsyncSession, Depends(writing_session)]

# ---- the subscriber


async def deliver(most: int) -> int:
    """Move the cursor over up to `most` events in the transaction of their effects."""
    async with writing() as session:
        cursor = (
            await session.execute(
                select(Cursor).where(Cursor.subscriber == "count_products").with_for_update()
            )
        ).scalar_one()
        query = select(OutboxEvent).limit(most)
        if SQLITE:
            query = query.where(OutboxEvent.position > cursor.position)
            query = query.order_by(OutboxEvent.position)
        else:
            # A sequence is not in commit order: stay below the oldest open transaction.
            query = query.add_columns(text("outbox.xid::text AS xid")).where(
                text(
                    "(outbox.xid, outbox.position) > (CAST(CAST(:xid AS text) AS xid8), :position)"
                    " AND outbox.xid < pg_snapshot_xmin(pg_current_snapshot())"
                ).bindparams(xid=cursor.xid, position=cursor.position)
            )
            query = query.order_by(text("outbox.xid, outbox.position"))
        found = (await session.execute(query)).all()
        for row in found:
            tally = await session.get(Tally, row[0].site)
            assert tally is not None
            tally.created += 1
            cursor.position = row[0].position
            if not SQLITE:
                cursor.xid = row[1]
        await session.commit()
        return len(found)


async def deliver_forever() -> None:
    while True:
        await created.wait()
        await asyncio.sleep(POLL_S)
        created.clear()
        while await deliver(500) == 500:
            pass


async def prepare(seed: Any) -> None:
    async with writer.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        if not SQLITE:
            await connection.execute(
                text(
                    "ALTER TABLE outbox ADD COLUMN IF NOT EXISTS"
                    " xid xid8 NOT NULL DEFAULT pg_current_xact_id()"
                )
            )
            await connection.execute(
                text("CREATE INDEX IF NOT EXISTS outbox_log ON outbox (xid, position)")
            )
    async with writing() as session:
        if (await session.execute(select(func.count()).select_from(ApiKey))).scalar():
            return
        for site in seed["sites"]:
            session.add(ApiKey(hash=site["key_hash"], site=site["id"]))
            session.add(Tally(site=site["id"], created=0))
            for one in seed["products"][site["id"]]:
                price = one.pop("price")
                one["created_at"] = datetime.fromisoformat(one["created_at"])
                session.add(
                    Product(
                        site=site["id"], price_minor=price["minor"],
                        price_currency=price["currency"], **one,
                    )
                )  # fmt: skip
        session.add(Cursor(subscriber="count_products", position=0, xid="0"))
        await session.commit()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await prepare(SEEDED)
    created.set()
    task = asyncio.create_task(deliver_forever())
    yield
    task.cancel()
    await engine.dispose()
    await writer.dispose()


app = FastAPI(lifespan=lifespan)

# ---- handlers


@app.get("/bench/products/{handle}", response_model=ProductOut)
async def get_product(handle: str, site: Caller, session: Reading) -> Product:
    found = (
        await session.execute(select(Product).where(Product.site == site, Product.handle == handle))
    ).scalar_one_or_none()
    if found is None:
        raise HTTPException(404, "There is no such product.")
    return found


@app.post("/bench/products", status_code=201, response_model=ProductOut)
async def create_product(
    body: NewProduct,
    site: Caller,
    session: Writing,
    request: Request,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Any:
    digest = hashlib.sha256(await request.body()).hexdigest()
    if idempotency_key:
        kept = await session.get(IdempotencyKey, (site, idempotency_key))
        if kept is not None:
            return replayed(kept, digest)
    price = body.price
    product = Product(
        site=site, id=f"prod_{uuid.uuid4().hex}", price_minor=price.minor,
        price_currency=price.currency, created_at=datetime.now(UTC),
        **body.model_dump(exclude={"price"}),
    )  # fmt: skip
    session.add(product)
    data = {"id": product.id, "handle": product.handle}
    session.add(OutboxEvent(site=site, type="product_created", data=data))
    if idempotency_key:
        answer = ProductOut.model_validate(product).model_dump_json().encode()
        session.add(
            IdempotencyKey(
                site=site, key=idempotency_key, request=digest, answer=answer,
                created_at=product.created_at,
            )
        )  # fmt: skip
    try:
        await session.commit()
    except IntegrityError as error:
        await session.rollback()
        if idempotency_key and (kept := await session.get(IdempotencyKey, (site, idempotency_key))):
            return replayed(kept, digest)
        raise HTTPException(409, "There is a product with this handle.") from error
    created.set()
    return product


def replayed(kept: IdempotencyKey, digest: str) -> Response:
    if kept.request != digest:
        raise HTTPException(422, "This Idempotency-Key was used for a different request.")
    headers = {"idempotency-replayed": "true"}
    return Response(kept.answer, 201, headers, media_type="application/json")


@app.get("/bench/tally")
async def tally(site: Caller, session: Reading) -> dict[str, int]:
    found = await session.get(Tally, site)
    return {"created": found.created if found else 0}


@app.get("/bench/count")
async def count(site: Caller, session: Reading) -> dict[str, int]:
    query = select(func.count()).select_from(Product).where(Product.site == site)
    return {"products": (await session.execute(query)).scalar_one()}


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=PORT, access_log=False, log_level="warning",
        timeout_keep_alive=75,
    )  # fmt: skip
