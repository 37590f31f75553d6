"""Sites sell products: a unit is never sold twice, and a paid order is never lost.

The commerce team owns it: catalogue, stock, carts, orders, and the payments that belong to them.

What must never happen here:
- more units sold than there are, whatever happens at once and whatever crashes;
- an order without its money, or money kept without an order;
- a price that is not the sum of its parts, to the smallest unit;
- history rewritten: stock, orders and payments are the sums of ledgers that only grow.
"""

from hansa.kernel.service import Service

commerce = Service("commerce", owner="commerce")
"""The service; its handlers are in `hansa.business.commerce.api`."""
