"""Door: the pages from outside; what they need is imported when somebody comes.

Templates and routes take 10 MB, which a process that nobody looks into need not have.
"""

import asyncio
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.mounts import Message, Receive, Send
from hansa.kernel.runtime import Runtime
from hansa.platform.sites.api import Directory

if TYPE_CHECKING:
    from hansa.console.pages import Pages

MOUNT: Final = "/hansa"
"""Where the pages are."""
FORM_BYTES_MAX: Final = 2 << 20


class Door:
    """The application; mount it at `MOUNT`, and close it in the end."""

    body_bytes_max = FORM_BYTES_MAX

    def __init__(
        self, runtime: Runtime, app: HttpApp, directory: Directory, observed: Path | None = None
    ) -> None:
        """Stand before the pages of a process; `observed` is the file of what is recorded."""
        self._behind = (runtime, app, directory, observed)
        self._pages: Pages | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        pages = self._pages or await self._opened()
        await pages(scope, receive, send)

    async def _opened(self) -> "Pages":
        # In a thread, so that other requests are not held up while it is read from disk.
        module = await asyncio.to_thread(importlib.import_module, "hansa.console.pages")
        pages: Pages = self._pages or module.Pages(*self._behind)
        self._pages = pages
        return pages

    def close(self) -> None:
        """Let go of what was open."""
        if self._pages is not None:
            self._pages.close()
