"""The pure rules of webhooks: signatures by published vectors, addresses, waits, wishes."""

import base64
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from hansa.platform.webhooks import address, message, patience, signing

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LOCAL = address.parse_networks("127.0.0.0/8, ::1/128")


# ---- signing


def test_the_vector_of_the_reference_libraries() -> None:
    # standard-webhooks/libraries, the `sign` test that each of them has
    made = signing.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
        b'{"test": 2432232314}',
    )  # fmt: skip
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_first_vector_of_rfc_8032_as_a_key() -> None:
    private = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    text = signing.PRIVATE + base64.b64encode(private).decode()
    assert signing.public_key(text) == signing.PUBLIC + base64.b64encode(public).decode()


@given(st.binary(max_size=200), st.sampled_from(["v1", "v1a"]))
def test_what_is_signed_verifies_and_nothing_else_does(body: bytes, scheme: Any) -> None:
    key = signing.new_key(scheme)
    signed = signing.headers([key], "evt_1", 1_700_000_000, body)["webhook-signature"]
    version, _, text = signed.partition(",")
    assert version == scheme
    if scheme == "v1":
        at = datetime.fromtimestamp(1_700_000_000, UTC)
        other = Webhook(signing.new_key("v1")).sign("evt_1", at, body.decode("latin-1"))
        assert other != signed
        return
    public = signing.public_key(key).removeprefix(signing.PUBLIC)
    head = b"evt_1.1700000000."
    Ed25519PublicKey.from_public_bytes(base64.b64decode(public)).verify(
        base64.b64decode(text), head + body
    )


@pytest.mark.parametrize(
    "key", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "whsk_" + "A" * 24, "other_" + "A" * 44]
)
def test_a_key_that_is_none_is_refused_without_its_text(key: str) -> None:
    with pytest.raises(ValueError) as refusal:
        signing.key_bytes(key)
    assert len(key) < 8 or key not in str(refusal.value)


# ---- addresses


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1",
        "240.0.0.1", "192.88.99.1", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "fec0::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe", "3fff::1",
    ],
)  # fmt: skip
def test_no_address_inside_is_allowed_however_it_is_spelled(text: str) -> None:
    assert not address.is_allowed(ipaddress.ip_address(text), ())


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_are_allowed(text: str) -> None:
    assert address.is_allowed(ipaddress.ip_address(text), ())


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_inside_ipv6(inner: ipaddress.IPv4Address) -> None:
    for spelled in (
        ipaddress.IPv6Address(f"::ffff:{inner}"),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(inner)),
    ):
        if not address.is_allowed(inner, ()):
            assert not address.is_allowed(spelled, ())


def test_the_operator_allows_networks_as_they_are_written() -> None:
    assert address.is_allowed(ipaddress.ip_address("127.8.0.1"), LOCAL)
    assert not address.is_allowed(ipaddress.ip_address("::ffff:127.0.0.1"), LOCAL)
    assert not address.is_allowed(ipaddress.ip_address("10.0.0.1"), LOCAL)
    with pytest.raises(ValueError):
        address.parse_networks("127.0.0.1/8")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://Hooks.Example", "https://hooks.example/"),
        ("https://hooks.example:8443/a?b=c", "https://hooks.example:8443/a?b=c"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://93.184.216.34/", "https://93.184.216.34/"),
        ("https://[2606:4700::1111]:1/", "https://[2606:4700::1111]:1/"),
    ],
)
def test_addresses_that_an_endpoint_may_have(text: str, kept: str) -> None:
    assert address.check_url(text, ()) == kept


@pytest.mark.parametrize(
    "text",
    [
        "", "hooks.example", "http://hooks.example/", "ftp://hooks.example/", "https://",
        "https://u:p@hooks.example/", "https://hooks.example/#part", "https://hooks.example:0/",
        "https://hooks.example:99999/", "https://127.0.0.1/", "https://[::1]/",
        "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://127.1/",
        "https://hooks.example/a b", "https://hooks.example/\n",
        "https://hooks.example/" + "a" * 2048,
        "https://[fe80::1%25eth0]/", "https://-x-/", "https://①②⑦.⓪.⓪.①/",
    ],
)  # fmt: skip
def test_addresses_that_it_may_not(text: str) -> None:
    with pytest.raises(ValueError):
        address.check_url(text, ())


def test_in_the_clear_only_where_the_operator_allows_it() -> None:
    assert address.check_url("http://127.0.0.1:8000/", LOCAL) == "http://127.0.0.1:8000/"


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for candidate in (text, f"https://{text}/", f"https://hooks.example/{text}"):
        try:
            kept = address.check_url(candidate, ())
        except ValueError:
            continue
        assert address.check_url(kept, ()) == kept


# ---- waits


@given(st.text(min_size=1, max_size=20), st.integers(1, 12), st.none() | st.integers(0, 10**9))
def test_waits_grow_within_their_jitter(id: str, tries: int, after_s: int | None) -> None:
    at = patience.next_try(id, tries, NOW, patience.WAITS_S, after_s)
    if tries > len(patience.WAITS_S):
        assert at is None
        return
    assert at is not None
    least = patience.WAITS_S[tries - 1]
    wait_s = (at - NOW).total_seconds()
    asked = min(after_s or 0, patience.AFTER_MAX_S)
    assert max(least, asked) <= wait_s <= max(least * (1 + patience.JITTER), asked)
    assert at == patience.next_try(id, tries, NOW, patience.WAITS_S, after_s)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120), (" 7 ", 7), ("", None), ("-1", None), ("soon", None), ("٣", None),
        ("Fri, 01 May 2026 12:01:00 GMT", 60), ("Fri, 01 May 2026 11:00:00 GMT", 0),
        ("9" * 40, None),
    ],
)  # fmt: skip
def test_what_a_receiver_asks_for(text: str, seconds: int | None) -> None:
    assert patience.asked_wait_s(text, NOW) == seconds


def test_when_an_endpoint_is_given_up() -> None:
    assert patience.is_hopeless(410, None, NOW)
    assert not patience.is_hopeless(500, NOW - timedelta(days=4, hours=23), NOW)
    assert patience.is_hopeless(0, NOW - timedelta(days=5), NOW)
    assert [patience.taken(status) for status in (0, 199, 200, 299, 300)] == [
        False, False, True, True, False,
    ]  # fmt: skip


# ---- messages


def test_wishes() -> None:
    assert message.wants((), "shop.sold")
    assert message.wants(("shop.*",), "shop.sold")
    assert message.wants(("shop.sold",), "shop.sold")
    assert not message.wants(("shop.sold",), "shop.sold_out")
    assert not message.wants(("shop.*",), "shopping.sold")
    for bad in ("*", "shop", "shop.", "shop.*.x", "Shop.sold", "shop.sold\n"):
        with pytest.raises(ValueError):
            message.check_patterns([bad])
    with pytest.raises(ValueError):
        message.check_patterns([f"shop.e{number}" for number in range(51)])


@given(st.text(max_size=50))
def test_an_object_has_one_lane(object: str) -> None:
    assert message.lane_of(object) == message.lane_of(object)
    assert 0 <= message.lane_of(object) < message.LANES
