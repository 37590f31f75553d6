"""A browser without a screen: keeps the cookie, follows the way after a form, reads the page."""

import re
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

from hansa.assembly import OPERATOR
from hansa.console import MOUNT, Door
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.api import CreatedKey, NewKey, create_key
from hansa.testing.cell import TestCell
from tests.kernel.http.client import AsgiClient, Reply

HERE = {"host": "hansa.test", "origin": "http://hansa.test", "sec-fetch-site": "same-origin"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


async def new_key(cell: TestCell, *permissions: str, site: str = PLATFORM) -> CreatedKey:
    form = NewKey("of a test", permissions or ("*",))
    return await cell.runtime.do(create_key, OPERATOR, {"site": site, "body": form})


@dataclass
class Visitor:
    cell: TestCell
    cookie: str = ""
    client: AsgiClient = field(init=False)

    def __post_init__(self) -> None:
        self.observe(None)

    def observe(self, file: Path | None) -> None:
        """Have the pages show what was recorded in a file."""
        inner = self.cell.cell
        pages = Door(self.cell.runtime, inner.app, inner.directory, file)
        self.client = AsgiClient(inner.app, {MOUNT: pages})

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.client.send("GET", MOUNT + path, headers={**self._headers(), **headers})

    async def post(
        self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a form as it is."""
        sent = {**FORM, **self._headers(), **(HERE if headers is None else headers)}
        return await self.client.send("POST", MOUNT + path, urlencode(fields).encode(), sent)

    async def submit(self, page: str, path: str, **fields: str) -> Reply:
        """Send a form of a page, with the token that stands there; return where it leads."""
        token = re.search(
            r'name="token" value="([0-9a-f]{64})"', (await self.get(page)).body.decode()
        )
        assert token, f"{page} has no form"
        reply = await self.post(path, {"token": token[1], **fields})
        if reply.status == 303:
            return await self.get(reply.headers["location"].removeprefix(MOUNT))
        return reply

    async def login(self, key: str) -> Reply:
        reply = await self.post("/login", {"key": key})
        if "set-cookie" in reply.headers:
            self.cookie = reply.headers["set-cookie"].partition(";")[0]
        return reply

    def _headers(self) -> dict[str, str]:
        return {"host": HERE["host"], **({"cookie": self.cookie} if self.cookie else {})}


async def engineer(cell: TestCell, *permissions: str) -> Visitor:
    """Return somebody who is logged in with a key of the platform."""
    visitor = Visitor(cell)
    reply = await visitor.login((await new_key(cell, *permissions)).key)
    assert reply.status == 303, reply.body
    return visitor


def text_of(reply: Reply) -> str:
    """Return what stands on a page, without its marks."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", reply.body.decode())))
