"""A shop as its keeper and its visitors work with it, through HTTP alone."""

import secrets
from typing import Any

from hansa.business.commerce.testpay import Testpay
from tests.topology.person import Person, Reply, until

PRICE = 1_500
STOCK = 10


class Shop:
    """A site, its keeper, a visitor, and a mug on sale."""

    def __init__(self, operator: Person, provider: Testpay, **more: Any) -> None:
        """Make the site; `more` is what else it is to have."""
        self.provider = provider
        site = operator.post("/sites", {"name": "shop", **more})
        self.site: str = site["id"]
        self.operator = operator
        self.keeper = self.holder("*")
        self.visitor = Person(operator.urls, self.site)
        self.handle = f"mug-{secrets.token_hex(4)}"
        variant = {"sku": self.handle, "price": {"minor": PRICE, "currency": "EUR"}, "stock": STOCK}
        product = {"handle": self.handle, "title": "A mug", "variants": [variant]}
        self.variant: str = self.keeper.post("/commerce/products", product)["variants"][0]["id"]

    def holder(self, *permissions: str) -> Person:
        """Return the holder of a key with these permissions."""
        form = {"name": "key", "permissions": list(permissions)}
        made = self.operator.post(f"/sites/{self.site}/keys", form)
        return Person(self.operator.urls, key=made["key"])

    def cart(self, quantity: int = 1) -> Any:
        """Make a cart of mugs."""
        lines = [{"variant_id": self.variant, "quantity": quantity}]
        return self.visitor.post("/commerce/carts", {"lines": lines, "email": "a@a.example"})

    def complete(self, cart: Any, token: str = "tok_ok", key: str = "") -> Reply:
        """Buy what is in a cart; where that is not done at once, wait for the outcome."""
        total = {"minor": cart["priced"]["total_minor"], "currency": "EUR"}
        body = {"version": cart["version"], "expected_total": total, "payment": token}
        reply = self.visitor.ask("POST", f"/commerce/carts/{cart['id']}/complete", body, key=key)
        if reply.status == 202:
            attempt = reply.headers["location"]
            reply = until(lambda: self._settled(attempt))
        return reply

    def _settled(self, attempt: str) -> Reply | None:
        reply = self.visitor.ask("GET", attempt)
        assert reply.status == 200, reply.body
        return None if reply.value["state"] == "open" else reply

    def buy(self, quantity: int = 1, token: str = "tok_ok") -> Any:
        """Buy some mugs: the order."""
        reply = self.complete(self.cart(quantity), token)
        assert reply.status < 300, (reply.status, reply.body)
        return reply.value

    def orders(self) -> list[Any]:
        """Return all orders, in the order of their numbers."""
        found: list[Any] = []
        path = "/commerce/orders?limit=100"
        while True:
            page = self.keeper.get(path)
            found += page["items"]
            if page.get("next") is None:
                return sorted(found, key=lambda one: int(one["number"]))
            path = f"/commerce/orders?limit=100&cursor={page['next']}"

    def level(self) -> tuple[int, int]:
        """Return what is on hand, and what of it is promised."""
        stock = self.keeper.get(f"/commerce/variants/{self.variant}/stock")
        return stock["on_hand"], stock["reserved"]

    def charged(self, purpose: str = "charge") -> list[int]:
        """Return what the provider has taken for this site, or given back, in order."""
        moves = [one for one in self.provider.ledger() if one["site"] == self.site]
        return [one["amount"] for one in moves if one["purpose"] == purpose]

    def other(self, **more: Any) -> "Shop":
        """Return another site."""
        return Shop(self.operator, self.provider, **more)
