"""Quotas as callers meet them: fields, refusals, and who counts against what."""

import asyncio
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

import pytest

from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller, Principal
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.asgi import AsgiHeaders
from hansa.kernel.http.message import Request
from hansa.kernel.http.proxies import Proxies, parse_proxies
from hansa.kernel.http.quotas import Quotas
from hansa.kernel.http.replies import Header
from hansa.kernel.problems import TooMany
from hansa.kernel.rate import Rate
from hansa.kernel.site_limits import SiteLimits
from hansa.kernel.storage import PLATFORM
from tests.kernel.http.backend import EchoBackend
from tests.kernel.http.client import AsgiClient

LIMITS = SiteLimits(Rate(10, 5), Rate(2, 4), Rate(1, 2), reads=Rate(1, 3))


def keyed(key: str, site: str = "site_1") -> Caller:
    return Caller(site, Principal(key, frozenset(), "key", site), LIMITS)


def visitor(site: str = "site_1", address: str = "") -> Caller:
    return Caller(site, replace(PUBLIC_PRINCIPAL, address=address), LIMITS)


def operator(site: str) -> Caller:
    return Caller(site, Principal("key_op", frozenset(), "key", PLATFORM), LIMITS)


@dataclass
class Counter:
    """Quotas at a standing clock."""

    quotas: Quotas = field(default_factory=Quotas)
    now: float = 100.0

    def take(self, caller: Caller, *, reads: bool = False, more: int = 0) -> dict[str, str]:
        headers: list[Header] = []
        self.quotas.take(caller, self.now, headers, reads=reads)
        if more:
            self.quotas.add(caller, self.now, headers, reads=reads, more=more)
        assert len(dict(headers)) == len(headers), "told twice"
        return dict(headers)

    def refused(self, caller: Caller, *, reads: bool = False, more: int = 0) -> TooMany:
        with pytest.raises(TooMany) as refusal:
            self.take(caller, reads=reads, more=more)
        return refusal.value


def test_a_key_is_told_of_its_quota_and_of_the_sites() -> None:
    counter = Counter()
    assert counter.take(keyed("key_1")) == {}, "more than half is left"
    assert counter.take(keyed("key_1")) == {
        "ratelimit-policy": '"key";q=4;w=2, "site";q=5;w=1',
        "ratelimit": '"key";r=2;t=1, "site";r=3;t=1',
    }
    counter.now += 0.25
    assert counter.take(keyed("key_1"))["ratelimit"] == '"key";r=1;t=2, "site";r=4;t=1'
    counter.now += 60.0
    assert counter.take(keyed("key_1")) == {}


def test_what_is_left_of_the_site_is_told_to_each_key() -> None:
    counter = Counter()
    for number in range(2):
        assert counter.take(keyed(f"key_{number}")) == {}
    assert counter.take(keyed("key_9"))["ratelimit"] == '"key";r=3;t=1, "site";r=2;t=1'


def test_a_key_has_its_share_and_a_refusal_costs_the_site_nothing() -> None:
    counter = Counter()
    for _ in range(4):
        counter.take(keyed("key_1"))
    for _ in range(20):
        refusal = counter.refused(keyed("key_1"))
        assert (refusal.status, refusal.slug) == (429, "too-many-requests")
        assert refusal.retry_after_s == 1
        assert refusal.more == {"violated-policies": ["key"]}
    counter.take(keyed("key_2"))  # what was left of the site
    assert counter.refused(keyed("key_2")).more == {"violated-policies": ["site"]}
    counter.take(keyed("key_3", "site_2"))


def test_a_site_that_is_used_up_costs_the_key_nothing() -> None:
    counter = Counter()
    for number in range(5):
        counter.take(keyed(f"key_{number}"))
    for _ in range(20):
        counter.refused(keyed("key_9"))
    counter.now += 0.1
    assert counter.take(keyed("key_9"))["ratelimit"].startswith('"key";r=3')


def test_a_visitor_learns_nothing_of_the_site_before_it_is_used_up() -> None:
    counter = Counter()
    for _ in range(5):
        assert counter.take(visitor()) == {}
    headers: list[Header] = []
    with pytest.raises(TooMany):
        counter.quotas.take(visitor(), counter.now, headers)
    assert dict(headers) == {"ratelimit-policy": '"site";q=5;w=1', "ratelimit": '"site";r=0;t=1'}


def test_what_visitors_write_counts_by_address() -> None:
    counter = Counter()
    for left in (1, 0):
        told = counter.take(visitor(address="192.0.2.1"))
        assert told["ratelimit"].startswith(f'"address";r={left}')
    refusal = counter.refused(visitor(address="192.0.2.1"))
    assert refusal.more == {"violated-policies": ["address"]}
    counter.take(visitor(address="192.0.2.2"))
    counter.take(visitor("site_2", "192.0.2.1"))
    counter.take(visitor(address="192.0.2.1"), reads=True)


def test_what_visitors_read_counts_by_address_too() -> None:
    counter = Counter()
    for left in (2, 1, 0):
        told = counter.take(visitor(address="192.0.2.1"), reads=True)
        assert left == 2 or told["ratelimit-policy"] == '"address";q=3;w=3'
    refusal = counter.refused(visitor(address="192.0.2.1"), reads=True)
    assert refusal.more == {"violated-policies": ["address"]}
    counter.take(visitor(address="192.0.2.2"), reads=True)
    counter.take(visitor(), reads=True)


@pytest.mark.parametrize(
    ("caller", "reads", "room"),
    [
        (visitor(address="192.0.2.1"), True, 3), (visitor(address="192.0.2.1"), False, 2),
        (visitor(), True, 5), (keyed("key_1"), True, 4), (operator("site_1"), True, 4),
    ],
)  # fmt: skip
def test_a_request_counts_as_what_it_is_worth_or_not_at_all(
    caller: Caller, reads: bool, room: int
) -> None:
    """A quota has room for one that is worth all of it, and for none that is worth more."""
    counter = Counter()
    counter.take(caller, reads=reads)
    for _ in range(3):
        counter.refused(caller, reads=reads, more=room - 1)
    if room > 2:
        counter.take(caller, reads=reads, more=room - 2)
    else:
        counter.take(caller, reads=reads)
    counter.refused(caller, reads=reads)
    counter.now += 60.0
    counter.take(caller, reads=reads, more=room - 1)
    counter.refused(caller, reads=reads)


def test_an_operator_is_bound_by_its_own_quota_alone() -> None:
    counter = Counter()
    for number in range(5):
        counter.take(keyed(f"key_{number}"))
    told = [counter.take(operator("site_1")) for _ in range(4)]
    assert [one.get("ratelimit-policy") for one in told] == [None, *['"key";q=4;w=2'] * 3]
    assert counter.refused(operator("site_1")).more == {"violated-policies": ["key"]}


# ---- over the wire


@dataclass
class LimitedBackend(EchoBackend):
    limits: SiteLimits = LIMITS

    async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
        return replace(await super().authenticate(authorization, host, site), limits=self.limits)


def test_answers_tell_and_429_says_when() -> None:
    async def run() -> None:
        slow = SiteLimits(Rate(10, 5), Rate(0.01, 4))
        client = AsgiClient(HttpApp(LimitedBackend(limits=slow)))
        full = {"authorization": "Bearer full"}
        good = await client.send("GET", "/shop/products/a", headers=full)
        assert (good.status, "ratelimit" in good.headers) == (200, False)
        bad = await client.send("GET", "/shop/refuse/why", headers=full)
        assert bad.status == 409
        missing = await client.send("GET", "/shop/nowhere", headers=full)
        assert (missing.status, "ratelimit" in missing.headers) == (404, False)
        for left in (1, 0):  # a refusal of the operation counts, and tells
            bad = await client.send("GET", "/shop/refuse/why", headers=full)
            assert (bad.status, bad.headers["ratelimit"][:9]) == (409, f'"key";r={left}')
        refused = await client.send("GET", "/shop/products/a", headers=full)
        assert (refused.status, refused.slug) == (429, "too-many-requests")
        assert 90 < int(refused.headers["retry-after"]) <= 100
        assert refused.headers["ratelimit-policy"] == '"key";q=4;w=400, "site";q=5;w=1'
        assert refused.json()["violated-policies"] == ["key"]
        assert (await client.send("GET", "/healthz")).status == 200

    asyncio.run(run())


def test_at_once_is_the_sites_own() -> None:
    async def run() -> None:
        app = HttpApp(LimitedBackend(limits=SiteLimits(at_once=2)))
        client = AsgiClient(app)
        for status in (200, 200, 503):
            assert (await client.send("GET", "/shop/products/a")).status == status
            app.gate.enter_site("site_1", 9)  # one more is under way
        assert (
            await client.send("GET", "/shop/products/a", headers={"hansa-site": "b"})
        ).status == 200

    asyncio.run(run())


# ---- from where a visitor comes


def request(peer: str, forwarded: str | None = None) -> Request:
    headers = AsgiHeaders([] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())])

    async def read(length: int, limit: int) -> bytes:
        return b""

    return Request("POST", "/", "", "", headers, read, 0, peer)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1:4711", None, "192.0.2.1"),
        ("192.0.2.1:4711", "198.51.100.1", "192.0.2.1"),  # nobody's word but a proxy's
        ("127.0.0.1:4711", None, ""),
        ("127.0.0.1:4711", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1:4711", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1:4711", "203.0.113.9, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("10.0.0.7:80", "10.1.2.3", ""),
        ("10.0.0.7:80", "rubbish, 10.1.2.3", ""),
        ("[2001:db8:0:1:2:3:4:5]:80", None, "2001:db8:0:1::/64"),
        ("[::ffff:192.0.2.1]:80", None, "192.0.2.1"),
        ("[::1]:80", "2001:db8::1", "2001:db8::/64"),
        ("", None, ""),
    ],
)
def test_the_address_is_what_trusted_proxies_say(
    peer: str, forwarded: str | None, address: str
) -> None:
    proxies = Proxies(parse_proxies("10.0.0.0/8, fd00::/8"))
    assert proxies.address_of(request(peer, forwarded)) == address


def test_networks_are_read() -> None:
    assert ip_network("10.0.0.0/8") in parse_proxies("10.0.0.0/8")
    assert len(parse_proxies("")) == 2
    with pytest.raises(ValueError, match="10"):
        parse_proxies("10.0.0.1/8")
