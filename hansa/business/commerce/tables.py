"""What commerce keeps: the catalogue, stock with its ledger, carts, orders and payments."""

from hansa.business.commerce import commerce
from hansa.kernel.columns import date, enum, instant, integer, json, money, text

products = commerce.table(
    "products",
    text("handle", unique="site"),
    text("title"),
    text("description"),
    enum("status", ("active", "draft", "archived")),
    json("attributes"),
    integer("version"),
    instant("created_at"),
    prefix="prod",
)

variants = commerce.table(
    "variants",
    text("product_id", index=True),
    text("sku", unique="site"),
    text("title"),
    money("price"),
    integer("place"),
    prefix="var",
    foreign=[("product_id", products)],
)

stock = commerce.table(
    "stock",
    text("variant_id", primary=True),
    integer("on_hand"),
    integer("reserved"),
    foreign=[("variant_id", variants)],
    checks=["reserved >= 0", "reserved <= on_hand"],
)

stock_moves = commerce.table(
    "stock_moves",
    text("variant_id"),
    enum("kind", ("receive", "adjust", "reserve", "release", "claim", "return")),
    integer("quantity"),
    text("ref"),
    instant("at"),
    prefix="move",
    index=[("variant_id", "id")],
    foreign=[("variant_id", variants)],
)

reservations = commerce.table(
    "reservations",
    text("ref", primary=True),
    text("variant_id", primary=True),
    integer("quantity"),
    enum("state", ("held", "claimed", "released")),
    instant("expires_at"),
    index=[("variant_id", "state", "expires_at")],
    foreign=[("variant_id", variants)],
)

carts = commerce.table(
    "carts",
    integer("version"),
    enum("state", ("open", "completing", "completed")),
    text("email"),
    json("lines"),
    text("order_id", nullable=True),
    instant("created_at"),
    instant("touched_at"),
    prefix="cart",
    index=[("state", "touched_at")],
)

orders = commerce.table(
    "orders",
    integer("number", unique="site"),
    text("cart_id", unique="site"),
    text("email"),
    enum("state", ("placed", "cancelled")),
    enum("payment", ("paid", "part_refunded", "refunded")),
    enum("fulfilment", ("none", "fulfilled")),
    json("priced"),
    integer("paid_minor"),
    integer("refunded_minor"),
    integer("refunding_minor"),
    text("payment_id"),
    instant("created_at"),
    prefix="ord",
    checks=["refunded_minor + refunding_minor <= paid_minor", "refunding_minor >= 0"],
)

order_events = commerce.table(
    "order_events",
    text("order_id", primary=True),
    integer("seq", primary=True),
    text("type"),
    integer("amount_minor"),
    instant("at"),
    foreign=[("order_id", orders)],
)

counters = commerce.table("counters", text("name", primary=True), integer("value"))

payments = commerce.table(
    "payments",
    text("ref"),
    text("cart_id", index=True),
    text("order_id", nullable=True),
    enum("state", ("captured", "declined", "orphaned", "voided", "stuck")),
    text("reference"),
    text("reason"),
    money("amount"),
    instant("at"),
    prefix="pay",
    index=[("state", "id")],
)

payment_events = commerce.table(
    "payment_events",
    text("id", primary=True),
    text("key"),
    text("purpose"),
    instant("at"),
)

imports = commerce.table(
    "imports",
    text("source", primary=True),
    integer("next_line"),
    integer("products"),
    instant("at"),
)

sales = commerce.table(
    "sales",
    text("product_id", primary=True),
    integer("units"),
    integer("orders"),
)

takings = commerce.table(
    "takings",
    date("day", primary=True),
    text("currency", primary=True),
    integer("orders"),
    integer("total_minor"),
)
