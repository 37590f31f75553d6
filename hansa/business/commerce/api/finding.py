"""Finding: products are searched as the collection `products` of each site."""

from typing import Any, Final

from hansa.business.commerce import commerce, tables
from hansa.business.commerce.api.products import read_product
from hansa.business.commerce.events import ProductChanged, ProductCreated
from hansa.business.commerce.finding import SCHEMA, document_of
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.platform.search.api import Projection

products: Final = Projection(
    commerce, "products", SCHEMA, entities=tables.products, version=1, open_filter=""
)


@products.document(ProductCreated, ProductChanged)
async def product_document(ctx: Context, id: ID) -> dict[str, Any] | None:
    """Return what of a product is searched."""
    whole = await read_product(ctx, id)
    return None if whole is None else document_of(whole)
