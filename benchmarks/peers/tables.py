"""The tables of the tuned peer, in SQLAlchemy Core."""

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
products = Table(
    "products",
    metadata,
    Column("site", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("handle", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_currency", Text, nullable=False),
    Column("stock", BigInteger, nullable=False),
    Column("tags", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("site", "handle"),
)
SHOWN = [column for column in products.c if column.name != "site"]
api_keys = Table(
    "api_keys",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("site", Text, nullable=False),
    sqlite_with_rowid=False,
)
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("site", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request", Text, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("created_at", Text, nullable=False),
    sqlite_with_rowid=False,
)
outbox = Table(
    "outbox",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("site", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", Text, nullable=False),
)
cursors = Table(
    "cursors",
    metadata,
    Column("subscriber", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("xid", Text, nullable=False),
)
tallies = Table(
    "tallies",
    metadata,
    Column("site", Text, primary_key=True),
    Column("created", BigInteger, nullable=False),
)


def seed_rows(seed):
    """Return the rows of the seed by table."""
    return {
        api_keys: [{"hash": site["key_hash"], "site": site["id"]} for site in seed["sites"]],
        products: [
            {
                "site": site, "id": one["id"], "handle": one["handle"], "title": one["title"],
                "description": one["description"], "price_minor": one["price"]["minor"],
                "price_currency": one["price"]["currency"], "stock": one["stock"],
                "tags": _json(one["tags"]), "attributes": _json(one["attributes"]),
                "created_at": one["created_at"],
            }
            for site, found in seed["products"].items()
            for one in found
        ],
        cursors: [{"subscriber": "count_products", "position": 0, "xid": "0"}],
        tallies: [{"site": site["id"], "created": 0} for site in seed["sites"]],
    }  # fmt: skip


def _json(value):
    import orjson

    return orjson.dumps(value).decode()
