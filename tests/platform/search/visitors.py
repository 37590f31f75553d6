"""Visitors: who comes to an open collection over HTTP, without a key, each from an address."""

from dataclasses import dataclass
from typing import Any

import msgspec

from hansa.assembly import OPERATOR
from hansa.platform.search import api
from hansa.platform.sites.api import NewSite, NewValue, create_site, set_setting
from hansa.testing import TestCell, TestSite
from tests.kernel.http.client import AsgiClient, Reply
from tests.platform.search.test_service import BOATS, SCHEMA, ndjson

HOST = "boats.test"


@dataclass
class Harbour:
    """A site with an open collection of boats, as those see it who come by."""

    cell: TestCell
    site: TestSite
    change: int

    async def ask(self, address: str, path: str, body: Any = None, key: str = "") -> Reply:
        """Send what a visitor at an address sends; "" is one of whom nobody knows where he is."""
        headers = {"host": HOST, "content-type": "application/json"}
        if address:
            headers["x-forwarded-for"] = address
        if key:
            headers["authorization"] = f"Bearer {key}"
        sent = b"" if body is None else msgspec.json.encode(body)
        client = AsgiClient(self.cell.cell.app)
        return await client.send("GET" if body is None else "POST", path, sent, headers)

    async def search(self, address: str, key: str = "", **asked: Any) -> Any:
        """Return what a visitor finds."""
        asked.setdefault("change", self.change)
        reply = await self.ask(address, "/search/collections/fleet/search", asked, key)
        assert reply.status == 200, reply
        return reply.json()


async def harbour(cell: TestCell, open_filter: str = "", **limits: Any) -> Harbour:
    """Make the site, with limits of its own."""
    form = NewSite("boats", hosts=(HOST,))
    made = await cell.runtime.do(create_site, OPERATOR, {"body": form})
    if limits:
        said = {"site": made.id, "name": "sites.limits", "body": NewValue(limits)}
        await cell.runtime.do(set_setting, OPERATOR, said)
    site = TestSite(cell, made.id)
    opened = api.CollectionForm(SCHEMA, open_filter=open_filter)
    await site.call(api.put_collection, name="fleet", body=opened)
    taken = await site.call(api.put_documents, name="fleet", raw=ndjson(*BOATS))
    return Harbour(cell, site, taken.change)
