"""FastAPI with SQLAlchemy Core, tuned by somebody who measures.

Typed path and body parameters, as FastAPI is meant to be used, but the caller is found without a
dependency, answers are bytes from orjson (no response model), statements are Core and made once,
connections are held. What was tried and left out is named in RESULTS.md.

    python tuned.py sqlite|postgresql <file or DSN> <seed.json> <port>
"""

import asyncio
import gc
import hashlib
import secrets
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field

ENGINE, WHERE, SEED, PORT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
SQLITE = ENGINE == "sqlite"
SEEDED = orjson.loads(Path(SEED).read_bytes())
KEY_FRESH_S = 60.0
POLL_S = 0.02

if SQLITE:
    from tuned_sqlite import Store
else:
    from tuned_postgres import Store  # type: ignore[assignment]


class Price(BaseModel):
    minor: int = Field(ge=0)
    currency: str = Field(pattern="^[A-Z]{3}$")


class NewProduct(BaseModel):
    model_config = {"extra": "forbid"}
    handle: str = Field(min_length=1, max_length=80)
    title: str = Field(min_length=1, max_length=200)
    description: str = Field(max_length=5000)
    price: Price
    stock: int = Field(ge=0)
    tags: list[str]
    attributes: dict[str, str]


store = Store(WHERE)
created = asyncio.Event()
keys: dict[str, tuple[str, float]] = {}


async def deliver_forever() -> None:
    """Give events to the subscriber, some 20 ms after the first of them, many in a transaction."""
    while True:
        await created.wait()
        await asyncio.sleep(POLL_S)
        created.clear()
        while await store.deliver(500) == 500:
            pass


@asynccontextmanager
async def lifespan(_: FastAPI) -> Any:
    await store.open(SEEDED)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    created.set()
    task = asyncio.create_task(deliver_forever())
    yield
    task.cancel()
    await store.close()


app = FastAPI(lifespan=lifespan)


async def site_of(request: Request) -> str:
    """Return the site of the caller's key; what the database said is kept for a minute.

    Called by hand: a dependency would cost 30 us of each request.
    """
    authorization = request.headers.get("authorization", "")
    known = keys.get(authorization)
    if known is not None and known[1] > time.monotonic():
        return known[0]
    secret = authorization.removeprefix("Bearer ").rpartition("_")[2]
    site = await store.site_of(hashlib.sha256(secret.encode()).hexdigest())
    if site is None or not authorization.startswith("Bearer "):
        raise HTTPException(401, "The API key is not known here.")
    if len(keys) > 10_000:
        keys.clear()
    keys[authorization] = (site, time.monotonic() + KEY_FRESH_S)
    return site


def new_id() -> str:
    """Return an identifier that sorts by time, so that rows are added at the end of the index."""
    return f"prod_{time.time_ns():016x}{secrets.token_hex(8)}"


def product_json(row: Any) -> bytes:
    """Return a row as JSON; tags and attributes are spliced in as they were stored."""
    id, handle, title, description, minor, currency, stock, tags, attributes, created_at = row
    return orjson.dumps(
        {
            "id": id,
            "handle": handle,
            "title": title,
            "description": description,
            "price": {"minor": minor, "currency": currency},
            "stock": stock,
            "tags": orjson.Fragment(tags),
            "attributes": orjson.Fragment(attributes),
            "created_at": created_at,
        }
    )


@app.get("/bench/products/{handle}")
async def get_product(handle: str, request: Request) -> Response:
    site = await site_of(request)
    row = store.product_now(site, handle) if SQLITE else await store.product(site, handle)
    if row is None:
        raise HTTPException(404, "There is no such product.")
    return Response(product_json(row), media_type="application/json")


@app.post("/bench/products", status_code=201)
async def create_product(body: NewProduct, request: Request) -> Response:
    site = await site_of(request)
    key = request.headers.get("idempotency-key")
    row = (
        new_id(), body.handle, body.title, body.description, body.price.minor,
        body.price.currency, body.stock, orjson.dumps(body.tags).decode(),
        orjson.dumps(body.attributes).decode(), datetime.now(UTC).isoformat(),
    )  # fmt: skip
    answer = product_json(row)
    event = orjson.dumps({"id": row[0], "handle": row[1]}).decode()
    digest = hashlib.sha256(await request.body()).hexdigest() if key else ""
    kept = await store.create(site, row, event, key, digest, answer)
    if kept is None:
        created.set()
        return Response(answer, 201, media_type="application/json")
    if kept == "taken":
        raise HTTPException(409, "There is a product with this handle.")
    if kept[0] != digest:
        raise HTTPException(422, "This Idempotency-Key was used for a different request.")
    return Response(kept[1], 201, {"idempotency-replayed": "true"}, media_type="application/json")


@app.get("/bench/tally")
async def tally(request: Request) -> dict[str, int]:
    return {"created": await store.tally(await site_of(request))}


@app.get("/bench/count")
async def count(request: Request) -> dict[str, int]:
    return {"products": await store.count(await site_of(request))}


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=PORT, http="httptools", loop="uvloop", access_log=False,
        log_level="warning", server_header=False, proxy_headers=False, ws="none",
        timeout_keep_alive=75,
    )  # fmt: skip
