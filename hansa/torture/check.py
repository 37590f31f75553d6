"""Check: after the kills, is every promise kept? Each violation is a sentence."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import MetaData

from hansa.assembly import Cell, Place
from hansa.kernel.commands import deadline_in
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.tables import events_table
from hansa.torture import journal
from hansa.torture.load import TORTURED, Scene

REST_S: Final = 90.0
_OPEN: Final = {
    "attempts": "SELECT count(*) FROM hansa_attempts WHERE status = 0",
    "deliveries": "SELECT count(*) FROM hansa_deliveries WHERE state IN ('waiting', 'queued')",
    "due work": "SELECT count(*) FROM hansa_due WHERE state = 'waiting' AND ready_at_us IS NOT NULL"
    # A schedule's next instant, spread over its sites, may lie ahead.
    " AND name <> 'commerce.release_hold' AND substr(id, 1, 6) <> 'every:'",
}
_PARKED: Final = {
    "deliveries": "SELECT count(*) FROM hansa_deliveries WHERE state = 'parked'",
    "due work": "SELECT count(*) FROM hansa_due WHERE state = 'parked'",
}

Rows = list[tuple[Any, ...]]
Read = Callable[[str], Rows]


class Books:
    """All rows of a cell that the checks look at, read at once after everything is at rest."""

    def __init__(
        self, tables: dict[str, list[dict[str, Any]]], ledger: list[dict[str, Any]]
    ) -> None:
        self.tables = tables
        self.ledger = ledger

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table."""
        return self.tables[table]


_TABLES: Final = (
    "hansa_events", "commerce_products", "commerce_variants", "commerce_stock",
    "commerce_stock_moves", "commerce_reservations", "commerce_carts", "commerce_orders",
    "commerce_payments", "commerce_imports", "commerce_takings", "torture_counters",
    "torture_marks", "torture_rings", "torture_planned", "torture_days",
)  # fmt: skip


async def look(place: Place, scene: Scene) -> tuple[Books | None, list[str]]:
    """Open the cell without load, let everything come to rest, and read it."""
    cell = Cell(place, services=TORTURED, testpay=True)
    await cell.open(migrate=False)
    try:
        unrest = await _rest(cell)
        if unrest:
            return None, [unrest]
        assert cell.provider is not None
        tables = {name: await _table(cell, name) for name in _TABLES}
        parked = [
            f"{count} parked {what}"
            for what, statement in _PARKED.items()
            if (count := (await _read(cell, statement))[0][0])
        ]
        return Books(tables, cell.provider.ledger()), parked
    finally:
        await cell.close()


async def _rest(cell: Cell) -> str:
    """Wait until nothing is open; return what still was at the end of the time."""
    assert cell.provider is not None
    end = time.monotonic() + REST_S
    while True:
        try:
            async with asyncio.timeout(max(end - time.monotonic(), 1.0)):
                await cell.runtime.dispatcher.rest()
        except TimeoutError:
            return f"deliveries are not at rest after {REST_S:g} s"
        still = [
            f"{count} open {what}"
            for what, statement in _OPEN.items()
            if (count := (await _read(cell, statement))[0][0])
        ]
        if not still and not cell.provider.due_webhooks(1):
            return ""
        if time.monotonic() > end:
            return f"not at rest after {REST_S:g} s: {', '.join(still)}"
        await asyncio.sleep(0.05)


async def _read(cell: Cell, statement: str) -> Rows:
    async def body(session: Session) -> Rows:
        return [tuple(row) for row in await session.fetch(statement)]

    return await cell.storage.read(body, site=PLATFORM, deadline=deadline_in(60), across=True)


async def _table(cell: Cell, name: str) -> list[dict[str, Any]]:
    table = {table.name: table for service in TORTURED for table in service.tables.values()}.get(
        name
    )
    if table is None:
        table = events_table(cell.storage.dialect, MetaData())
    names = [column.name for column in table.columns]
    quoted = ", ".join(f'"{column}"' for column in names)
    rows = await _read(cell, f"SELECT {quoted} FROM {name}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def violations(books: Books, folder: Path) -> list[str]:
    """Return every promise that was broken."""
    return [
        *_noted(folder), *_acknowledged(books, folder), *_sequences(books), *_effects(books),
        *_stock(books), *_money(books), *_time(books),
    ]  # fmt: skip


def _noted(folder: Path) -> Iterator[str]:
    for line in journal.read(folder):
        if line["kind"] == "violation":
            yield str(line["what"])


def _acknowledged(books: Books, folder: Path) -> Iterator[str]:
    """What was acknowledged is there."""
    there = {
        "commerce.create_product": {row["id"] for row in books.rows("commerce_products")},
        "commerce.create_cart": {row["id"] for row in books.rows("commerce_carts")},
        "commerce.complete": {row["id"] for row in books.rows("commerce_orders")},
        "torture.plan": {row["name"] for row in books.rows("torture_planned")},
    }
    counters = {row["name"]: row["value"] for row in books.rows("torture_counters")}
    imports = {row["source"]: row["next_line"] for row in books.rows("commerce_imports")}
    steps: dict[str, set[int]] = defaultdict(set)
    for line in journal.read(folder):
        if line["kind"] != "answer":
            continue
        operation, answer = line["operation"], line["answer"]
        if operation == "torture.step":
            steps[answer["name"]].add(answer["value"])
            if answer["value"] > counters.get(answer["name"], 0):
                yield f"{operation}: {answer} was acknowledged and is lost"
        elif operation == "commerce.import_products":
            if answer["next_line"] > imports.get(answer["source"], 0):
                yield f"{operation}: {answer} was acknowledged and is lost"
        elif operation in there:
            identity = answer["product"]["id"] if "product" in answer else None
            identity = identity or answer.get("id") or answer.get("name")
            if identity not in there[operation]:
                yield f"{operation}: {identity} was acknowledged and is lost"


def _sequences(books: Books) -> Iterator[str]:
    """The events of an aggregate are numbered without a gap, in the order of their positions."""
    by_aggregate: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for row in books.rows("hansa_events"):
        position = row["position"] or 0  # 0: it was never given one
        by_aggregate[row["site"], row["aggregate"]].append((row["seq"], position))
    for (_, aggregate), pairs in by_aggregate.items():
        pairs.sort()
        if [seq for seq, _ in pairs] != list(range(1, len(pairs) + 1)):
            yield f"{aggregate}: a gap in its sequence"
        positions = [position for _, position in pairs]
        if 0 in positions or positions != sorted(positions):
            yield f"{aggregate}: positions against its sequence"


def _effects(books: Books) -> Iterator[str]:
    """Every step had effect once and in order at both subscribers; every order was counted once."""
    counters = {row["name"]: row["value"] for row in books.rows("torture_counters")}
    marks = {(row["subscriber"], row["name"]): row for row in books.rows("torture_marks")}
    for name, value in counters.items():
        for subscriber in ("follow", "stumble"):
            mark = marks.get((subscriber, name))
            if mark is None or (mark["last"], mark["count"], mark["breaks"]) != (value, value, 0):
                yield f"{subscriber} {name}: {value} steps, but noted {mark}"
    counted = sum(row["orders"] for row in books.rows("commerce_takings"))
    if counted != len(books.rows("commerce_orders")):
        yield f"{counted} orders were counted of {len(books.rows('commerce_orders'))}"


def _stock(books: Books) -> Iterator[str]:
    """The ledger adds up to the counters, and to what orders have taken."""
    effects = {
        "receive": (1, 0), "adjust": (1, 0), "reserve": (0, 1), "release": (0, -1),
        "claim": (-1, -1), "return": (1, 0),
    }  # fmt: skip
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    claimed: Counter[str] = Counter()
    for move in books.rows("commerce_stock_moves"):
        on_hand, reserved = effects[move["kind"]]
        sums[move["variant_id"]][0] += on_hand * move["quantity"]
        sums[move["variant_id"]][1] += reserved * move["quantity"]
        if move["kind"] == "claim":
            claimed[move["variant_id"]] += move["quantity"]
    for level in books.rows("commerce_stock"):
        variant = level["variant_id"]
        if [level["on_hand"], level["reserved"]] != sums[variant]:
            have = (level["on_hand"], level["reserved"])
            yield f"stock {variant}: {have}, but the moves make {sums[variant]}"
        if not 0 <= level["reserved"] <= level["on_hand"]:
            yield f"stock {variant}: oversold, {level['reserved']} of {level['on_hand']}"
    held: Counter[str] = Counter()
    for one in books.rows("commerce_reservations"):
        if one["state"] == "held":
            held[one["variant_id"]] += one["quantity"]
    for level in books.rows("commerce_stock"):
        if level["reserved"] != held[level["variant_id"]]:
            promised = held[level["variant_id"]]
            yield f"stock {level['variant_id']}: reserved {level['reserved']}, held {promised}"
    sold: Counter[str] = Counter()
    for order in books.rows("commerce_orders"):
        for line in msgspec.json.decode(order["priced"])["lines"]:
            sold[line["variant_id"]] += line["quantity"]
    if sold != claimed:
        yield f"orders took {dict(sold)}, the ledger {dict(claimed)}"


def _money(books: Books) -> Iterator[str]:
    """No order without money, no money without order, at the provider's own books."""
    charges = {row["reference"]: row for row in books.ledger if row["purpose"] == "charge"}
    back: Counter[str] = Counter()
    for row in books.ledger:
        if row["purpose"] == "refund":
            back[row["parent"]] += row["amount"]
    payments = {row["id"]: row for row in books.rows("commerce_payments")}
    paid: set[str] = set()
    for order in books.rows("commerce_orders"):
        reference = payments[order["payment_id"]]["reference"]
        charge = charges.get(reference)
        paid.add(reference)
        if charge is None or charge["amount"] != order["paid_minor"]:
            yield f"order {order['id']} of {order['paid_minor']} has the charge {charge}"
        if back[reference] != order["refunded_minor"] or order["refunding_minor"]:
            yield (
                f"order {order['id']}: refunded {order['refunded_minor']},"
                f" the provider gave back {back[reference]}"
            )
    for reference, charge in charges.items():
        if reference not in paid and back[reference] != charge["amount"]:
            yield f"charge {charge['key']} of {charge['amount']} has no order"
    carts: Counter[str] = Counter(order["cart_id"] for order in books.rows("commerce_orders"))
    for cart, count in carts.items():
        if count > 1:
            yield f"cart {cart} became {count} orders"


def _time(books: Books) -> Iterator[str]:
    """What was planned rang once; each day of the moved clock came once."""
    rings = {row["name"]: row["count"] for row in books.rows("torture_rings")}
    for row in books.rows("torture_planned"):
        if rings.get(row["name"]) != 1:
            yield f"{row['name']} rang {rings.get(row['name'], 0)} times"
    counts = {row["day"]: row["count"] for row in books.rows("torture_days")}
    found = sorted(date.fromisoformat(day) for day in counts)
    for before, after in pairwise(found):
        if (after - before).days != 1:
            yield f"the days from {before} to {after} are missing"
    for day, count in counts.items():
        if count != 1:
            yield f"{day} came {count} times"
