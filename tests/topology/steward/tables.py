"""What is kept: how often each order was told of, which is to be once."""

from hansa.kernel.columns import integer, text
from tests.topology.steward import steward

receipts = steward.table(
    "receipts", text("order_id", primary=True), integer("number"), integer("times")
)
