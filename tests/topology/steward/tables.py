"""What is kept: how often each order was told of, which is to be once; and what was when."""

from hansa.kernel.columns import instant, integer, text
from tests.topology.steward import steward

receipts = steward.table(
    "receipts", text("order_id", primary=True), integer("number"), integer("times")
)
diary = steward.table("diary", text("what", primary=True), instant("at", primary=True))
