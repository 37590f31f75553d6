"""A request goes to the address that was checked, or nowhere."""

import asyncio
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

from hansa.platform.webhooks.posting import EXCERPT_BYTES, Outcome, Poster
from tests.platform.webhooks.receiver import HOST, Receiver, answer, raw, receiving

NOW = datetime(2026, 5, 1, tzinfo=UTC)


async def post(poster: Poster, url: str) -> Outcome:
    return await poster.post(url, {"x-test": "1"}, b"{}", NOW)


def test_a_name_that_leads_inside_is_not_connected_to(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as receiver:

            async def inside(host: str, port: int) -> list[str]:
                return ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1"]

            outcome = await post(Poster(tls=receiver.tls, resolve=inside), receiver.url)
            assert outcome.error == f"{HOST} has no address that may be reached"
            assert receiver.connections == 0

    asyncio.run(main())


def test_a_name_is_looked_up_once_so_that_it_cannot_lead_elsewhere_later(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as receiver:
            asked: list[str] = []

            async def turning(host: str, port: int) -> list[str]:
                asked.append(host)
                return ["127.0.0.1"] if len(asked) == 1 else ["192.168.0.1"]

            poster = Poster((ip_network("127.0.0.1"),), tls=receiver.tls, resolve=turning)
            assert (await post(poster, receiver.url)).status == 204
            assert asked == [HOST]

    asyncio.run(main())


def test_the_first_addresses_that_answer_are_enough(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as receiver:

            async def several(host: str, port: int) -> list[str]:
                return ["127.0.0.9", "127.0.0.1"]

            poster = Poster((ip_network("127.0.0.0/8"),), tls=receiver.tls, resolve=several)
            assert (await post(poster, receiver.url)).status == 204

    asyncio.run(main())


def test_a_certificate_of_another_name_is_not_believed(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as receiver:
            poster = receiver.poster()
            url = receiver.url.replace(HOST, "other.example")
            outcome = await post(poster, url)
            assert (outcome.status, outcome.error) == (0, "TLS: CERTIFICATE_VERIFY_FAILED")
            assert not receiver.received

    asyncio.run(main())


def test_http_goes_only_where_the_operator_allows(tmp_path: Path) -> None:
    async def main() -> None:
        receiver = Receiver()
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/"
        refused = await post(Poster(), url)
        assert refused.error == "127.0.0.1 has no address that may be reached"
        assert receiver.connections == 0
        taken = await post(Poster((ip_network("127.0.0.0/8"),)), url)
        assert taken.status == 204
        assert receiver.received[0].headers["host"] == f"127.0.0.1:{port}"
        server.close()

    asyncio.run(main())


def test_of_a_long_answer_only_the_first_bytes_are_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as receiver:
            over = asyncio.Event()
            receiver.plan = [
                answer(200, b"y" * 1_000_000),
                raw(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"z" * 2_000, then=over
                ),
                answer(429, retry_after="Fri, 01 May 2026 00:02:00 GMT"),
            ]
            long = await post(receiver.poster(), receiver.url)
            assert (long.status, long.excerpt) == (200, "y" * EXCERPT_BYTES)
            endless = await post(receiver.poster(), receiver.url)
            assert (endless.status, endless.excerpt) == (200, "z" * EXCERPT_BYTES)
            over.set()
            assert (await post(receiver.poster(), receiver.url)).retry_after_s == 120

    asyncio.run(main())
