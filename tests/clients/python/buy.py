"""Buys a product and reads the order, through a client that openapi-python-client made.

    python buy.py URL KEY

Every request and answer goes through the client's own types.
"""

import json
import sys
from uuid import uuid4

from shop import AuthenticatedClient
from shop.api.commerce import (
    commerce_complete,
    commerce_create_cart,
    commerce_get_order,
    commerce_get_product,
    commerce_list_orders,
    commerce_list_products,
)
from shop.models import Complete, Line, Money, NewCart, Order, Problem, ProductWithVariants

_, url, key = sys.argv
owner = AuthenticatedClient(base_url=url, token=key)
stranger = AuthenticatedClient(base_url=url, token=key + "0")

listed = commerce_list_products.sync(client=owner, limit=3)
shown = commerce_get_product.sync(listed.items[0].handle, client=owner)
assert isinstance(shown, ProductWithVariants)
price = shown.variants[0].price

cart = commerce_create_cart.sync(
    client=owner, body=NewCart(lines=[Line(variant_id=shown.variants[0].id, quantity=2)])
)
said = Complete(
    version=cart.version,
    expected_total=Money(minor=2 * price.minor, currency=price.currency),
    payment="tok_ok",
)
again = str(uuid4())
orders = [
    commerce_complete.sync(cart.id, client=owner, body=said, idempotency_key=again)
    for _ in range(2)
]
assert isinstance(orders[0], Order), orders[0]
order = commerce_get_order.sync(orders[0].id, client=owner)
denied = commerce_list_orders.sync(client=stranger)
assert isinstance(denied, Problem)
print(
    json.dumps(
        {
            "state": order.state,
            "payment": order.payment,
            "paid": order.paid_minor,
            "price": price.minor,
            "same": orders[0] == orders[1],
            "denied": denied.status,
        }
    )
)
