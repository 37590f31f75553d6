"""What is kept: how many parcels each lane has had, and their weight."""

from hansa.kernel.columns import integer, text
from tests.topology.release_2.porter import porter

lanes = porter.table(
    "lanes", text("lane", primary=True), integer("parcels"), integer("weight_g", default=0)
)
