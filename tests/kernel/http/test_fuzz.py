"""Anything may come: never a 500, always an answer or a problem document."""

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.kernel.http.app import HttpApp
from tests.kernel.http.backend import EchoBackend
from tests.kernel.http.client import AsgiClient

CLIENT = AsgiClient(HttpApp(EchoBackend()))

PATHS = st.sampled_from(
    [
        b"/shop/products", b"/shop/products/", b"/shop/find", b"/shop/baskets", b"/shop/hook",
        b"/shop/number", b"/shop/keys", b"/healthz", b"/openapi.json", b"/", b"", b"*",
    ]
)  # fmt: skip
NAMES = st.sampled_from([b"limit", b"cursor", b"q", b"stock", b"since", b"weight", b"colour", b"x"])
PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"%00", b"%ff", b"%2f", b"%", b"+", b"%f0%9f%98%80", b"null", b"1", b"-0"]),
)
VALUES_SENT = st.tuples(NAMES, PIECES).map(b"=".join)
QUERIES = st.lists(VALUES_SENT, max_size=4).map(b"&".join)
FRAGMENTS = st.sampled_from(
    [
        b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"\\udc00",
        b"null", b"1e999", b"-", b"9223372036854775808", b'"lines"', b'"note"', b'"attributes"',
        b'"sku"',
        b'"price":{"minor":1,"currency":"EUR"}', b"\xff", b"\xc3\xa9", b"\0", b" ", b'{"lines":[]}',
    ]
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
)
NEAR = st.fixed_dictionaries(
    {},
    optional={
        "lines": st.lists(
            st.dictionaries(st.sampled_from(["sku", "quantity", "z"]), SCALARS, max_size=3)
            | SCALARS,
            max_size=3,
        ),
        "note": SCALARS,
        "attributes": st.dictionaries(st.text(max_size=3), SCALARS, max_size=3) | SCALARS,
        "price": st.dictionaries(st.sampled_from(["minor", "currency"]), SCALARS),
        "free": SCALARS,
        "weight": SCALARS,
    },
)


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # half a surrogate pair
        return repr(value).encode("utf-8", "surrogatepass")


BODIES = st.one_of(
    st.binary(max_size=100),
    st.lists(FRAGMENTS, max_size=25).map(b"".join),
    NEAR.map(_encoded),
    NEAR.map(_encoded).flatmap(lambda body: st.integers(0, len(body)).map(lambda n: body[:n])),
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "idempotency-key", "hansa-deadline-ms", "traceparent", "if-none-match", "hansa-site",
            "hansa-position", "content-type", "content-encoding", "authorization", "host",
        ]
    ),
    VALUES,
    max_size=3,
)  # fmt: skip


def _answered(method: str, target: bytes, body: bytes, headers: dict[str, str]) -> None:
    reply = asyncio.run(CLIENT.send(method, target, body, headers))
    assert 200 <= reply.status < 500, reply
    if reply.status >= 400 and method != "HEAD":
        assert reply.slug
    gate = CLIENT.face.app.gate
    assert (gate.inside, gate.buffered, gate.sites) == (0, 0, {})


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"]),
    PATHS, PIECES, QUERIES | PIECES, BODIES, HEADERS,
)  # fmt: skip
@settings(max_examples=300)
def test_any_request(
    method: str, path: bytes, more: bytes, query: bytes, body: bytes, headers: dict[str, str]
) -> None:
    _answered(method, path + more.replace(b"?", b"") + b"?" + query, body, headers)


@given(BODIES, st.booleans())
@settings(max_examples=300)
def test_any_body(body: bytes, number: bool) -> None:
    path = b"/shop/number" if number else b"/shop/baskets"
    _answered("POST", path, body, {"content-type": "application/json"})


@given(QUERIES)
@settings(max_examples=200)
def test_any_query(query: bytes) -> None:
    for path in (b"/shop/products?", b"/shop/find?"):
        _answered("GET", path + query, b"", {})
