"""What the core answers, through the ASGI face."""

import asyncio
import time
from typing import Any

import pytest

from hansa.kernel.caller import Caller
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.endpoint import is_served
from hansa.kernel.http.limits import Limits
from hansa.kernel.problems import NotFound
from hansa.kernel.structs import RawBody
from tests.kernel.http.backend import Basket, EchoBackend, find, get_product, operation
from tests.kernel.http.client import JSON, AsgiClient, Reply


def ask(
    method: str,
    target: str | bytes,
    body: bytes | list[bytes] = b"",
    headers: Any = None,
    backend: EchoBackend | None = None,
) -> Reply:
    client = AsgiClient(HttpApp(backend or EchoBackend()))
    return asyncio.run(client.send(method, target, body, headers))


def test_literal_wins_over_parameter() -> None:
    assert ask("GET", "/shop/products/special").json()["title"] == "Special"
    assert ask("GET", "/shop/products/other").json() == {"handle": "other", "title": "Thing"}


def test_path_is_decoded() -> None:
    assert ask("GET", "/shop/products/caf%C3%A9%20%2B").json()["handle"] == "café +"


@pytest.mark.parametrize(
    ("target", "slug"),
    [
        ("/", "no-such-path"),
        ("/shop", "no-such-path"),
        ("/shop/products/", "no-such-path"),
        ("/shop/products/a/b", "no-such-path"),
        ("//shop/products/a", "no-such-path"),
        ("/shop/hidden", "no-such-path"),
        ("/shop/products/%00", "invalid-request"),
        ("/shop/products/%ff", "invalid-request"),
        ("/shop/products/%ed%a0%80", "invalid-request"),
        ("/shop/products/" + "a" * 3000, "uri-too-long"),
        ("/shop/products?" + "a" * 9000, "uri-too-long"),
        ("/shop/products?limit=0", "invalid-limit"),
        ("/shop/products?limit=101", "invalid-limit"),
        ("/shop/products?limit=x", "invalid-limit"),
        ("/shop/products?limit=99999999999999999999", "invalid-limit"),
        ("/shop/products?limit=1&limit=2", "invalid-request"),
        ("/shop/products?colour=green", "invalid-request"),
        ("/shop/products?stock=9223372036854775808", "invalid-request"),
        ("/shop/products?stock=1.0", "invalid-request"),
        ("/shop/products?stock=%D9%A1", "invalid-request"),
        ("/shop/products?weight=nan", "invalid-request"),
        ("/shop/products?weight=1e999", "invalid-request"),
        ("/shop/products?since=2026-01-01T00:00:00", "invalid-request"),
        ("/shop/products?since=12", "invalid-request"),
        ("/shop/products?available=maybe", "invalid-request"),
        ("/shop/products?cursor=%00", "invalid-request"),
        ("/shop/products?cursor=%zz", "invalid-request"),
        ("/shop/products?cursor=%ff", "invalid-request"),
        (b"/shop/products?cursor=\xff", "invalid-request"),
        ("/shop/products?color=red&colr=x", "unknown-parameter"),
        ("/shop/find", "invalid-request"),
        ("/shop/find?q=" + "&" * 200, "invalid-request"),
    ],
)
def test_bad_targets_are_told_apart(target: str | bytes, slug: str) -> None:
    assert ask("GET", target).slug == slug


def test_unknown_parameters_name_the_known_ones() -> None:
    reply = ask("GET", "/shop/find?x=1&q=1")
    assert reply.json()["detail"] == "Unknown query parameters: x. Known here: exact, q."
    assert ask("GET", "/shop/products/a?x=1").json()["detail"].endswith("Known here: none.")


def test_query_values_arrive_typed() -> None:
    backend = EchoBackend()
    query = (
        "limit=7&cursor=abc&colour=red&since=2026-01-01T00:00:00Z&available=true&weight=2.5"
        "&stock=-9223372036854775808"
    )
    assert ask("GET", "/shop/products?" + query, backend=backend).status == 200
    arguments = backend.calls[0].arguments
    assert arguments["page"].limit == 7 and arguments["page"].cursor == "abc"
    assert arguments["colour"].value == "red"
    reply = ask("GET", "/shop/products?colour=green")
    assert "Query parameter colour: Invalid enum value 'green'" in reply.json()["detail"]
    assert "expected one of red" in reply.json()["detail"]
    assert arguments["since"].isoformat() == "2026-01-01T00:00:00+00:00"
    assert (arguments["available"], arguments["weight"]) == (True, 2.5)
    assert arguments["stock"] == -(2**63)
    assert ask("GET", "/shop/find?q=a+b%26&exact=1").json() == ["a b&", "True"]


def test_absent_values_have_their_defaults() -> None:
    backend = EchoBackend()
    ask("GET", "/shop/products", backend=backend)
    arguments = backend.calls[0].arguments
    assert arguments.pop("page").limit == 20
    assert arguments == {
        "colour": None, "since": None, "available": False, "weight": 1.0, "stock": 0,
    }  # fmt: skip


def test_methods() -> None:
    reply = ask("POST", "/shop/products")
    assert reply.slug == "method-not-allowed"
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"
    reply = ask("PATCH", "/shop/baskets/x")
    assert (reply.status, reply.headers["allow"]) == (405, "DELETE, OPTIONS, PUT")
    reply = ask("OPTIONS", "/shop/baskets")
    assert (reply.status, reply.headers["allow"], reply.body) == (204, "OPTIONS, POST", b"")
    assert ask("OPTIONS", "*").status == 204
    assert ask("OPTIONS", "/nowhere").status == 404


def test_head_is_get_without_a_body() -> None:
    got = ask("GET", "/shop/products/a")
    head = ask("HEAD", "/shop/products/a")
    assert head.body == b"" and head.status == 200
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-length"] == got.headers["content-length"]
    assert ask("HEAD", "/shop/nothing").body == b""


def test_etag_and_revalidation() -> None:
    reply = ask("GET", "/shop/products/a")
    etag = reply.headers["etag"]
    assert reply.headers["cache-control"] == "private, no-cache"
    for sent in (etag, f'"x", W/{etag}', "*"):
        again = ask("GET", "/shop/products/a", headers={"if-none-match": sent})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == etag
        assert "content-type" not in again.headers
    assert ask("GET", "/shop/products/b", headers={"if-none-match": etag}).status == 200


def test_headers_of_answers() -> None:
    reply = ask("GET", "/shop/find?q=x")
    assert reply.headers["deprecation"] == "@1793491200"
    assert reply.headers["x-content-type-options"] == "nosniff"
    reply = ask("POST", "/shop/baskets", b'{"lines":[]}', JSON)
    assert reply.status == 201
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["hansa-position"] == "cell:1:7"
    assert "etag" not in reply.headers
    reply = ask("DELETE", "/shop/baskets/x")
    assert (reply.status, reply.body) == (204, b"") and "content-type" not in reply.headers


def test_problems_of_handlers() -> None:
    reply = ask("GET", "/shop/refuse/x")
    assert reply.slug == "already-paid" and reply.status == 409
    assert reply.json()["order"] == "ord_1"
    reply = ask("GET", "/shop/refuse/busy")
    assert (reply.slug, reply.headers["retry-after"]) == ("overloaded", "7")


def test_authentication() -> None:
    reply = ask("POST", "/shop/keys", headers={"authorization": "Bearer nobody"})
    assert reply.slug == "unauthenticated"
    assert reply.headers["www-authenticate"].startswith("Bearer")
    for unusable in ("", "Bearer caf\xe9"):  # no silent fall to a public caller
        reply = ask("GET", "/shop/products/a", headers={"authorization": unusable})
        assert reply.slug == "unauthenticated"
    for unusable in ("", "sit\xe9"):  # nor to the host's site
        reply = ask("GET", "/shop/products/a", headers={"hansa-site": unusable})
        assert reply.slug == "invalid-site"
    assert ask("POST", "/shop/keys").slug == "unauthenticated"
    reply = ask("POST", "/shop/keys", headers={"authorization": "Bearer full"})
    assert reply.json() == {"key": "s3cret"}


def test_nobody_learns_which_sites_there_are_where_a_key_is_needed() -> None:
    class Nowhere(EchoBackend):
        async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
            raise NotFound(f"There is no site {site}.", slug="site-not-found")

    sent = {"hansa-site": "site_1"}
    assert ask("POST", "/shop/keys", headers=sent, backend=Nowhere()).slug == "unauthenticated"
    assert ask("GET", "/shop/products/a", headers=sent, backend=Nowhere()).slug == "site-not-found"


def test_our_own_mistakes_tell_nothing(caplog: pytest.LogCaptureFixture) -> None:
    reply = ask("GET", "/shop/explode")
    assert (reply.status, reply.slug) == (500, "internal")
    assert b"secret" not in reply.body and b"Zero" not in reply.body
    assert "the secret is 42" in caplog.text
    assert reply.json()["instance"] in caplog.text


def test_a_query_with_a_body_is_not_remembered_and_has_no_etag() -> None:
    backend = EchoBackend()
    headers = {**JSON, "idempotency-key": "once", "if-none-match": "*"}
    reply = ask("POST", "/shop/weigh", b'{"lines":[],"weight":2.5}', headers, backend)
    assert reply.status == 200 and reply.json() == 2.5
    assert "etag" not in reply.headers and reply.headers["cache-control"] == "no-store"
    assert backend.calls[0].key is None
    assert ask("POST", "/shop/weigh", b'{"lines":[', JSON).slug == "malformed-json"
    assert ask("GET", "/shop/weigh").slug == "method-not-allowed"


def test_idempotency_key() -> None:
    for sent, key in [
        ('"8e03978e"', "8e03978e"),
        ("8e03978e", "8e03978e"),
        ('"a \\"b\\" \\\\"', 'a "b" \\'),
        ("a" * 255, "a" * 255),
    ]:
        backend = EchoBackend()
        headers = {**JSON, "idempotency-key": sent}
        assert ask("POST", "/shop/baskets", b'{"lines":[]}', headers, backend).status == 201
        assert backend.calls[0].key == key
        assert len(backend.calls[0].request_hash) == 32
    for sent in ["", '""', '"a', "a b", "a,b", "a" * 256, '"a" b', '"\\x"', "a\tb", "caf\xe9"]:
        headers = {**JSON, "idempotency-key": sent}
        reply = ask("POST", "/shop/baskets", b'{"lines":[]}', headers)
        assert reply.slug == "invalid-idempotency-key", sent
    twice = [*JSON.items(), ("idempotency-key", "a"), ("idempotency-key", "b")]
    assert ask("POST", "/shop/baskets", b'{"lines":[]}', twice).slug == "invalid-idempotency-key"


@pytest.mark.parametrize("body", [b"{broken", b'{"unknown": 1}', b"x" * (1 << 21)])
def test_who_may_not_sends_no_body_and_learns_no_names(body: bytes) -> None:
    backend = EchoBackend()
    backend.operations.append(operation("GET", "/shelf", find, needs="stock.shelf:read"))
    full = {**JSON, "authorization": "Bearer full"}
    assert ask("PUT", "/shop/baskets/a", body, JSON, backend).slug == "unauthenticated"
    assert ask("GET", "/shop/shelf?unknown=1", b"", full, backend).slug == "denied"
    assert backend.calls == []
    assert ask("PUT", "/shop/baskets/a", body, full, backend).status in (400, 413)


def test_request_hash_tells_requests_apart() -> None:
    backend = EchoBackend()
    client = AsgiClient(HttpApp(backend))
    headers = {**JSON, "authorization": "Bearer full", "idempotency-key": "k"}

    async def run() -> None:
        await client.send("PUT", "/shop/baskets/a", b'{"lines":[]}', headers)
        await client.send("PUT", "/shop/baskets/a", b'{"lines":[]}', headers)
        await client.send("PUT", "/shop/baskets/b", b'{"lines":[]}', headers)
        await client.send("PUT", "/shop/baskets/a", b'{"lines": []}', headers)
        await client.send("GET", "/shop/products/a", b"", headers)

    asyncio.run(run())
    first, same, path, body, query = backend.calls
    assert first.request_hash == same.request_hash
    assert len({first.request_hash, path.request_hash, body.request_hash}) == 3
    assert (query.key, query.request_hash) == (None, "")


def test_deadline() -> None:
    backend = EchoBackend()
    client = AsgiClient(HttpApp(backend))

    async def run() -> None:
        await client.send("GET", "/shop/products/a")
        for sent in ("500", "99999999"):
            await client.send("GET", "/shop/products/a", headers={"hansa-deadline-ms": sent})
        for sent in ("", "-1", "0", "x", "1" * 5000):
            reply = await client.send(
                "GET", "/shop/products/a", headers={"hansa-deadline-ms": sent}
            )
            assert reply.slug == "invalid-deadline"

    before = time.monotonic()
    asyncio.run(run())
    after = time.monotonic()
    for call, allowed_s in zip(backend.calls, (10.0, 0.5, 10.0), strict=True):
        assert before + allowed_s <= call.deadline <= after + allowed_s


@pytest.mark.parametrize("token", ["", "local:1:\xb2"])
def test_a_position_that_cannot_be_read_is_not_passed_over(token: str) -> None:
    sent = {"hansa-position": token}
    assert ask("GET", "/shop/products/a", headers=sent).slug == "invalid-position"
    assert (
        ask("POST", "/shop/baskets", b'{"lines":[]}', {**JSON, **sent}).slug == "invalid-position"
    )


def test_trace() -> None:
    backend = EchoBackend()
    client = AsgiClient(HttpApp(backend))
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    good = [f"00-{trace}-{span}-00", f"cc-{trace}-{span}-00-what-the-future-brings"]
    bad = [
        f"00-{trace}-{span}-00-more", f"ff-{trace}-{span}-00", f"00-{trace.upper()}-{span}-00",
        f"00-{'0' * 32}-{span}-00", f"00-{trace}-{'0' * 16}-00", "x", f"00-{trace}-{span}",
    ]  # fmt: skip

    async def run() -> None:
        for sent in good + bad:
            headers = {"traceparent": sent, "hansa-position": "c:1:2"}
            reply = await client.send("GET", "/shop/products/a", headers=headers)
            passed = backend.calls[-1].trace.split("-")
            assert reply.headers["hansa-request-id"] == f"{passed[1]}-{passed[2]}"
            assert (passed[1] == trace) is (sent in good)
            assert passed[2] != span and len(passed[2]) == 16 and len(passed[1]) == 32
            assert backend.calls[-1].token == "c:1:2"

    asyncio.run(run())


def test_raw_body() -> None:
    reply = ask("POST", "/shop/hook", b"\x00\xff", {"signature": "abc", "content-type": "x/y"})
    assert reply.json() == {"bytes": 2, "signature": "abc"}
    assert ask("POST", "/shop/hook", b"x" * 1001).slug == "too-large"
    assert ask("POST", "/shop/hook", [b"x"]).slug == "length-required"
    backend = EchoBackend()
    ask("POST", "/shop/hook", b"x", [("a", "1"), ("a", "2")], backend)
    assert backend.calls[0].arguments["raw"] == RawBody(b"x", {"a": "1", "content-length": "1"})


def test_pages_of_the_process() -> None:
    backend = EchoBackend(reason="starting")
    app = HttpApp(backend)
    client = AsgiClient(app)

    async def run() -> None:
        assert (await client.send("GET", "/healthz")).json() == {"status": "ok"}
        reply = await client.send("GET", "/readyz")
        assert (reply.status, reply.slug, reply.json()["detail"]) == (503, "not-ready", "starting")
        backend.reason = ""
        assert (await client.send("GET", "/readyz")).json() == {"status": "ready"}
        app.draining = True
        reply = await client.send("GET", "/readyz")
        assert (reply.status, reply.json()["detail"]) == (503, "draining")
        assert (await client.send("HEAD", "/healthz")).status == 200
        reply = await client.send("POST", "/healthz")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")

    asyncio.run(run())


def test_too_many_at_once_refuses_one_site_only() -> None:
    async def run() -> None:
        backend = EchoBackend(wait=asyncio.Event())
        assert backend.wait is not None
        app = HttpApp(backend, limits=Limits(site_requests_max=2, process_requests_max=4))
        client = AsgiClient(app)

        def get(site: str) -> asyncio.Task[Reply]:
            sent = client.send("GET", "/shop/products/a", headers={"hansa-site": site})
            return asyncio.create_task(sent)

        first = [get("a"), get("a")]
        refused = await get("a")
        assert (refused.slug, refused.headers["retry-after"]) == ("overloaded", "1")
        others = [get("b"), get("c")]
        refused = await get("d")
        assert refused.slug == "overloaded"
        assert (await client.send("GET", "/healthz")).status == 200
        backend.wait.set()
        assert [(await task).status for task in first + others] == [200] * 4
        assert (await get("a")).status == 200
        assert app.gate.inside == 0 and not app.gate.sites and not app.gate.buffered

    asyncio.run(run())


def test_large_bodies_are_counted_together() -> None:
    body = b'{"lines":[],"note":"' + b"x" * 65520 + b'"}'

    async def run() -> None:
        backend = EchoBackend(wait=asyncio.Event())
        assert backend.wait is not None
        backend.operations = [
            operation("POST", "/baskets", backend.operations[4].fn, body_bytes_max=1 << 17)
        ]
        app = HttpApp(backend, limits=Limits(buffered_bytes_max=100_000))
        client = AsgiClient(app)
        first = asyncio.create_task(client.send("POST", "/shop/baskets", body, JSON))
        await backend.entered.wait()
        assert (await client.send("POST", "/shop/baskets", body, JSON)).slug == "overloaded"
        backend.wait.set()
        assert (await first).status == 200
        assert app.gate.buffered == 0

    asyncio.run(run())


def test_a_body_must_arrive_in_time() -> None:
    async def run() -> None:
        app = HttpApp(EchoBackend(), limits=Limits(body_wait_s=0.02))
        client = AsgiClient(app)
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-length", b"9"), (b"content-type", b"application/json")]
        scope = {
            "type": "http", "method": "POST", "path": "/shop/baskets", "headers": headers,
            "http_version": "1.1",
        }  # fmt: skip
        await client.face(scope, receive, send)
        assert sent[0]["status"] == 408
        assert b"body-timeout" in sent[1]["body"]
        assert app.gate.inside == 0
        assert (await client.send("POST", "/shop/baskets", b'{"lines":[]}', JSON)).status == 201

    asyncio.run(run())


def test_endpoints_are_made_when_their_service_is_asked_for() -> None:
    backend = EchoBackend()
    app = HttpApp(backend)
    client = AsgiClient(app)

    async def run() -> None:
        with pytest.raises(NotFound):
            app.router.find("GET", "/nobody/is/here")
        assert (await client.send("GET", "/nobody/is/here")).status == 404
        assert app.router.find("GET", "/shop/products/mug")[1] == ["mug"]
        served = [one.id for one in backend.operations if is_served(one)]
        assert [one.operation.id for one in app.endpoints] == served

    asyncio.run(run())


def test_declarations_that_cannot_be_served() -> None:
    async def listing(ctx: Any, baskets: list[Basket]) -> None:
        """List."""

    for wrong in (
        operation("GET", "/a", listing),
        operation("GET", "/{handle}", get_product, deprecated="use another"),
        operation("GET", "/a//b", get_product),
        operation("GET", "/x{handle}", get_product),
    ):
        with pytest.raises((TypeError, ValueError)):
            HttpApp(EchoBackend(operations=[wrong]))
    same = operation("GET", "/{handle}", get_product)
    with pytest.raises(ValueError, match="taken"):
        HttpApp(EchoBackend(operations=[same, same]))
