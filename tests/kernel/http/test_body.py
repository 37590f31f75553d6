"""Bodies from outside: what is refused, and how precisely."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel import codec
from hansa.kernel.http import body as bodies
from hansa.kernel.http.app import HttpApp
from hansa.kernel.problems import Invalid
from tests.kernel.http.backend import Basket, EchoBackend
from tests.kernel.http.client import JSON, AsgiClient, Reply


def post(body: bytes | list[bytes], headers: Any = JSON, path: str = "/shop/baskets") -> Reply:
    return asyncio.run(AsgiClient(HttpApp(EchoBackend())).send("POST", path, body, headers))


def basket(**fields: Any) -> bytes:
    return msgspec.json.encode({"lines": [], **fields})


@pytest.mark.parametrize(
    ("body", "slug", "detail"),
    [
        (b"", "body-missing", "The body is missing: send JSON."),
        (b" ", "malformed-json", "The JSON ends before it is complete."),
        (b'{"lines":[', "malformed-json", "The JSON ends before it is complete."),
        (b"{lines:[]}", "malformed-json", "byte 1"),
        (b'{"lines":[]}}', "malformed-json", "trailing"),
        (b'{"lines":[],"weight":NaN}', "malformed-json", "byte 21"),
        (b'{"note":"\xff"}', "malformed-json", "not UTF-8: byte 9"),
        (b"\xef\xbb\xbf{}", "malformed-json", "byte 0"),
        (b'{"note":"a\\u0000"}', "malformed-json", "byte 10 holds U+0000"),
        (b'{"note":"a\\ud800"}', "malformed-json", "byte 10 is half a surrogate pair"),
        (b'{"note":"\\udc00 a"}', "malformed-json", "byte 9 is half a surrogate pair"),
        (b'{"note":"\\ud83d \\ude00"}', "malformed-json", "byte 9 is half a surrogate pair"),
        (b'{"note":"\\ud83d"}', "malformed-json", "byte 9 is half a surrogate pair"),
        (basket(free=2**63), "number-too-large", "9223372036854775808"),
        (basket(free=-(2**63) - 1), "number-too-large", "-9223372036854775809"),
        (basket(free=[1, {"a": 10**300}]), "number-too-large", "64 bits"),
        (b"[" * 40, "too-deep", "32 deep"),
        (b"[" * 60_000, "too-deep", "32 deep"),
        (b'{"lines":[],"free":' + b'{"a":' * 32 + b"1" + b"}" * 33, "too-deep", "32 deep"),
        (b"x" * 65_537, "too-large", "65536 bytes"),
    ],
)
def test_malformed(body: bytes, slug: str, detail: str) -> None:
    reply = post(body)
    assert reply.slug == slug
    assert detail in reply.json()["detail"]


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (b"[]", "", "Expected `object`, got `array`"),
        (b"null", "", "Expected `object`, got `null`"),
        (b"{}", "/lines", "missing required field"),
        (basket(colour=1), "/colour", "unknown field"),
        (basket(lines=1), "/lines", "Expected `array`, got `int`"),
        (basket(lines=[{"sku": "a"}]), "/lines/0/quantity", "missing"),
        (basket(lines=[{"sku": "a", "quantity": 1}] * 2 + [7]), "/lines/2", "Expected `object`"),
        (basket(lines=[{"sku": "a", "quantity": "1"}]), "/lines/0/quantity", "got `str`"),
        (basket(lines=[{"sku": "a", "quantity": 0}]), "/lines/0/quantity", ">= 1"),
        (basket(price={"minor": 1, "currency": "eur"}), "/price", "ISO 4217"),
        (basket(price={"minor": 1.5, "currency": "EUR"}), "/price/minor", "got `float`"),
        (basket(attributes={"a": 1, "b/c~": "x", "d": 2}), "/attributes/b~1c~0", "got `str`"),
        (b'{"attributes":{"a":"x"},}', "/attributes", "got `str`"),
        (b'{"lines":[],"weight":1e999}', "", "out of range"),
        (basket(**{"x" * 5000: 1}), "/" + "x" * 298 + "…", "unknown field"),
    ],
)
def test_wrong_values_are_pointed_at(body: bytes, pointer: str, detail: str) -> None:
    reply = post(body)
    assert reply.slug == "invalid-request"
    (fault,) = reply.json()["errors"]
    assert detail in fault["detail"]
    assert fault["pointer"] == pointer or (pointer == "" and "weight" in body.decode())


@pytest.mark.parametrize(
    "body",
    [
        basket(note='{"[' * 40),
        basket(note='\\" {{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{ \\'),
        basket(note="12345678901234567890123", free=2**63 - 1, weight=1.2345678901234567890),
        basket(free=-(2**63)),
        basket(note="\\u0000"),
        basket(lines=[{"sku": str(n), "quantity": 1} for n in range(200)]),
        b'{"lines":[],"note":"\\ud83d\\ude00 \xf0\x9f\x98\x80","weight":12345678901234567890.5}',
        b'{"lines":[],"weight":0.12345678901234567890123,"free":1e25}',
        b'{"lines":[],"free":' + b"[" * 30 + b"]" * 30 + b"}",
    ],
)
def test_good_bodies_that_look_bad(body: bytes) -> None:
    reply = post(body)
    assert reply.status == 201, reply
    assert codec.decode(msgspec.Raw(reply.body), dict[str, Any])["basket"] == codec.decode(
        codec.encode(codec.decode(body, Basket)), dict[str, Any]
    )


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"',
     "application/vnd.shop+json"],
)  # fmt: skip
def test_json_media_types(kind: str) -> None:
    assert post(basket(), {"content-type": kind}).status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_media_types(headers: dict[str, str]) -> None:
    assert post(basket(), headers).slug == "unsupported-media-type"


def test_bodies_in_pieces() -> None:
    assert post([b'{"lines"', b":[", b"]}"]).status == 201
    assert post([b'{"lines"', b":["]).slug == "malformed-json"
    assert post([b"x" * 40_000, b"x" * 40_000]).slug == "too-large"
    assert post([b"12"], path="/shop/number").slug == "length-required"
    assert post(b"12", path="/shop/number").json() == 12


def test_a_body_cut_short_is_refused() -> None:
    headers = [*JSON.items(), ("content-length", "13")]
    reply = asyncio.run(
        AsgiClient(HttpApp(EchoBackend())).send("POST", "/shop/baskets", [basket()], headers)
    )
    assert reply.slug == "body-incomplete"


def test_operations_without_a_body() -> None:
    backend = EchoBackend()
    client = AsgiClient(HttpApp(backend))

    async def run() -> None:
        assert (await client.send("DELETE", "/shop/baskets/x", b"{}", JSON)).status == 204
        reply = await client.send("DELETE", "/shop/baskets/x", b'{"a":1}', JSON)
        assert reply.slug == "body-unexpected"
        assert (await client.send("DELETE", "/shop/baskets/x", b" " * 2000)).slug == "too-large"
        headers = {"authorization": "Bearer full"}
        reply = await client.send("PUT", "/shop/baskets/x", b"", headers)
        assert reply.json()["basket"]["lines"] == []
        reply = await client.send("PUT", "/shop/baskets/x", [b""], headers)  # told by its end only
        assert reply.json()["basket"]["lines"] == []
        assert (await client.send("GET", "/shop/products/a", b"junk")).status == 200

    asyncio.run(run())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, dict):
        return any(_contains(one, wanted) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(_contains(one, wanted) for one in value)
    return bool(wanted(value))


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(JSON_VALUES, st.booleans())
def test_examination_is_exact(value: Any, indent: bool) -> None:
    body = msgspec.json.encode(value)
    if indent:
        body = msgspec.json.format(body, indent=2)

    def unkeepable(one: Any) -> bool:
        if isinstance(one, str):
            return "\0" in one
        return isinstance(one, int) and not -(2**63) <= one < 2**63

    wanted = _depth(value) > 3 or _contains(value, unkeepable)
    try:
        bodies.examine(body, 3)
    except Invalid:
        assert wanted
    else:
        assert not wanted


ESCAPES = st.sampled_from(
    ["\\ud83d", "\\ude00", "\\uD800", "\\uDFFF", "\\u0000", "\\u00e9", "\\ue000", "\\n", "\\\\",
     '\\"', "u0000", "ud800", "a", "[", "{"]
)  # fmt: skip


@given(st.lists(ESCAPES, max_size=12).map("".join))
def test_escapes_are_told_apart(text: str) -> None:
    body = f'["{text}"]'.encode()
    (meant,) = json.loads(body)
    unkeepable = any(letter == "\0" or 0xD800 <= ord(letter) <= 0xDFFF for letter in meant)
    try:
        assert bodies.decode(body, codec.decoder(list[str]), 1) == [meant]
    except Invalid as problem:
        assert unkeepable and problem.slug == "malformed-json"
        assert "U+0000" in problem.detail or "half a surrogate" in problem.detail
    else:
        assert not unkeepable


@given(st.binary(max_size=300))
def test_examination_never_fails(body: bytes) -> None:
    decoder = codec.decoder(Basket)
    try:
        bodies.decode(body, decoder, 8)
    except Invalid as problem:
        codec.encode(problem.document())


@pytest.mark.parametrize(
    "body",
    [b'"' + b'\\"' * 500_000, b"[" + b'"\\\\"' * 300_000, b"1" * 1_000_000, b"{" * 1_000_000,
     b"\\u0000" * 150_000, b'{"a":' * 200_000],
)  # fmt: skip
def test_examination_is_linear(body: bytes) -> None:
    with pytest.raises(Invalid):
        bodies.decode(body, codec.decoder(Basket), 32)
