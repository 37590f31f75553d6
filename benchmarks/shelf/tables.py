"""What the shelf keeps: products, a tally of them, and promises of units."""

from benchmarks.shelf import shelf
from hansa.kernel.columns import instant, integer, json, money, text

products = shelf.table(
    "products",
    text("handle", unique="site"),
    text("title"),
    text("description"),
    money("price"),
    integer("stock"),
    json("tags"),
    json("attributes"),
    instant("created_at"),
    prefix="prod",
)

tallies = shelf.table("tallies", text("name", primary=True), integer("created"))
