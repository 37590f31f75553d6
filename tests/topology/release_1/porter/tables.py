"""What is kept: how many parcels each lane has had."""

from hansa.kernel.columns import integer, text
from tests.topology.release_1.porter import porter

lanes = porter.table(
    "lanes", text("lane", primary=True), integer("parcels"), text("hint", nullable=True)
)
