"""Shedding as clients meet it, on a real server: who is told to come again, when, and who never."""

from collections import Counter
from dataclasses import dataclass

import pytest

from hansa.kernel.admission import priority_of
from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Caller, Principal
from hansa.kernel.http.limits import Limits
from hansa.kernel.load import Load
from hansa.kernel.shedding import Pressure, Priority
from hansa.kernel.storage import PLATFORM
from tests.kernel.http.backend import EchoBackend, get_product, keep_basket, operation
from tests.kernel.http.test_server import HOST, JSON, Served, problem, run

GET = b"GET /shop/products/a HTTP/1.1\r\n" + HOST
ENGINEER = Principal("key_op", frozenset({"*"}), "key", PLATFORM)


@dataclass
class Backend(EchoBackend):
    """A platform's key beside those of sites."""

    async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
        if authorization == "Bearer engineer":
            return Caller(site or PLATFORM, ENGINEER)
        return await super().authenticate(authorization, host, site)


class Standing(Pressure):
    """A queue that stays as long as it is."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def settle(self, now: float) -> None:
        pass


def under(reading: float, writing: float) -> Load:
    return Load(Standing(reading), Standing(writing))


async def statuses(served: Served, request: bytes, count: int) -> Counter[int]:
    return Counter([(await served.send(request))[0] for _ in range(count)])


POST = b'POST /shop/baskets HTTP/1.1\r\nContent-Length: 12\r\n%s\r\n{"lines":[]}' % JSON


def test_reads_are_given_up_before_commands_and_told_when_to_come_again() -> None:
    async def test(served: Served) -> None:
        status, headers, body = await served.send(GET + b"\r\n")
        assert problem((status, headers, body)) == "load-shed"
        assert 1 <= int(str(headers["retry-after"])) <= 5
        assert await statuses(served, GET + b"\r\n", 9) == {503: 9}
        assert await statuses(served, POST, 10) == {201: 10}

    run(test, backend=Backend(), load=under(2.0, 2.0))


def test_health_and_engineers_are_served_under_any_load() -> None:
    async def test(served: Served) -> None:
        assert (await served.send(POST))[0] == 503
        for path in (b"/healthz", b"/readyz", b"/openapi.json"):
            assert (await served.send(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"))[0] == 200
        own = GET + b"Authorization: Bearer engineer\r\nHansa-Site: site_1\r\n\r\n"
        assert (await served.send(own))[0] == 200

    run(test, backend=Backend(), load=under(3.0, 3.0))


def test_only_a_part_is_given_up() -> None:
    async def test(served: Served) -> None:
        assert await statuses(served, GET + b"\r\n", 20) == {200: 15, 503: 5}
        assert await statuses(served, POST, 20) == {201: 20}

    run(test, backend=Backend(), load=under(1.25, 0.0))


def test_an_engineer_gets_in_where_the_process_is_full() -> None:
    async def test(served: Served) -> None:
        assert problem(await served.send(GET + b"\r\n")) == "overloaded"
        own = GET + b"Authorization: Bearer engineer\r\n\r\n"
        assert (await served.send(own))[0] == 200

    run(test, backend=Backend(), limits=Limits(process_requests_max=0))


@pytest.mark.parametrize(
    ("principal", "read", "write"),
    [
        (PUBLIC_PRINCIPAL, Priority.READ, Priority.COMMAND),
        (Principal("key_1", frozenset(), "key", "site_1"), Priority.READ, Priority.COMMAND),
        (SYSTEM, Priority.READ, Priority.COMMAND),
        (ENGINEER, Priority.VITAL, Priority.VITAL),
    ],
)
def test_priorities(principal: Principal, read: Priority, write: Priority) -> None:
    assert priority_of(operation("GET", "/a/{handle}", get_product), principal) == read
    assert priority_of(operation("POST", "/a", keep_basket), principal) == write
