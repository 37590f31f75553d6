"""Door: the shop from outside; what its pages need is imported when somebody comes.

Templates and routes take 10 MB, which a process that nobody buys from need not have.
"""

import asyncio
import importlib
from typing import TYPE_CHECKING, Final

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.mounts import Message, Receive, Send
from hansa.kernel.runtime import Runtime

if TYPE_CHECKING:
    from hansa.storefront.pages import Pages

MOUNT: Final = "/shop"
"""Where the shop is."""
NEEDS: Final = frozenset({"commerce", "search"})
"""The services that it asks, wherever they run."""
FORM_BYTES_MAX: Final = 16 << 10


class Door:
    """The application; mount it at `MOUNT`."""

    body_bytes_max = FORM_BYTES_MAX

    def __init__(self, runtime: Runtime, app: HttpApp) -> None:
        """Stand before the shop of every site; `app` answers what its pages ask."""
        self._behind = (runtime, app)
        self._pages: Pages | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        pages = self._pages or await self._opened()
        await pages(scope, receive, send)

    async def _opened(self) -> "Pages":
        # In a thread, so that other requests are not held up while it is read from disk.
        module = await asyncio.to_thread(importlib.import_module, "hansa.storefront.pages")
        pages: Pages = self._pages or module.Pages(*self._behind)
        self._pages = pages
        return pages
