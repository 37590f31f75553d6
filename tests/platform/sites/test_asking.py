"""Where the process of the sites hangs or is away, what it said before still holds for a while."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hansa.kernel.clock import MachineClock
from hansa.kernel.problems import DeadlineExceeded
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import read_placement
from hansa.platform.sites.asking import AskedRows

PLACEMENT = """
[processes.home]
urls = ["http://127.0.0.1:{port}"]
services = ["sites"]

[processes.shop]
urls = ["http://127.0.0.1:1"]
services = ["commerce"]
"""
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n"site_1"'


class Home:
    """A process of the sites that answers, or takes a request and says no more."""

    def __init__(self) -> None:
        self.hangs = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                if not self.hangs:
                    writer.write(ANSWER)
        writer.close()

    @contextlib.asynccontextmanager
    async def asked(self) -> AsyncIterator[AskedRows]:
        """Serve, and give what asks here."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        placement = read_placement(PLACEMENT.format(port=server.sockets[0].getsockname()[1]))
        remote = Remote(placement, placement.own(["commerce"]), Seal([bytes(32)]), MachineClock())
        try:
            yield AskedRows(remote)
        finally:
            remote.close()
            server.close()


def test_an_answer_from_before_holds_while_it_hangs() -> None:
    async def run() -> None:
        home = Home()
        async with home.asked() as rows:
            assert await rows.host("shop.example") == "site_1"
            home.hangs = True
            assert await rows.host("shop.example") == "site_1"
            with pytest.raises(DeadlineExceeded):
                await rows.host("other.example")

    asyncio.run(run())
