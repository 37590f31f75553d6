"""What is kept: how many parcels of each lane were heard of."""

from hansa.kernel.columns import integer, text
from tests.topology.release_1.tally import tally

sums = tally.table(
    "sums", text("lane", primary=True), integer("parcels"), integer("last"),
    integer("weight_g", default=0),
)  # fmt: skip
