"""What came in and went out is kept without secrets, and bounded."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel import codec
from hansa.kernel.observe.payloads import DEPTH_MAX, HIDDEN, LENGTH_MAX, answered, told
from hansa.kernel.structs import Money, RawBody, Secret, Struct

JSON = "application/json"
SHIBBOLETH = "open-sesame"


class Login(Struct):
    name: str
    door: Secret


class Logins(Struct):
    all: list[Login]
    last: Login | None = None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=30,
)


@pytest.mark.parametrize(
    "value",
    [
        {"door": Secret(SHIBBOLETH)},
        {"body": Logins([Login("a", Secret(SHIBBOLETH))])},
        {"body": [{"a": (Secret(SHIBBOLETH), 1)}]},
        {"raw": RawBody(SHIBBOLETH.encode(), {"authorization": SHIBBOLETH})},
        *(
            {"body": {"more": [{name: SHIBBOLETH}]}}
            for name in (
                "password", "newPassword", "PASSPHRASE", "client_secret", "api_key", "apiKey",
                "access_token", "Authorization", "Set-Cookie", "card_number", "cvc", "pan",
                "webhook-signature", "private_key", "iban",
            )
        ),
        {"token": {"deep": [SHIBBOLETH]}},
    ],
)  # fmt: skip
def test_secrets_are_hidden(value: Any) -> None:
    text = told(value)
    assert SHIBBOLETH not in text
    assert HIDDEN in text or "bytes" in text
    msgspec.json.decode(text)


def test_an_answer_hides_by_the_type_that_it_was_encoded_from() -> None:
    body = codec.encode(Logins([Login("anna", Secret(SHIBBOLETH))]))
    text = answered(body, Logins, JSON)
    assert SHIBBOLETH not in text and "anna" in text
    assert answered(b'{"door": ', Logins, JSON) == HIDDEN
    assert answered(b'{"token":"x"}', dict[str, str], JSON) == f'{{"token":"{HIDDEN}"}}'
    assert answered(b"\x89PNG", RawBody, "image/png") == "(4 bytes)"
    assert answered(b"", None, JSON) == ""


def test_what_is_no_secret_is_kept_as_it_is() -> None:
    value = {"price": Money(1999, "EUR"), "title": "Mug", "token": None, "has_token": False}
    assert msgspec.json.decode(told(value)) == {
        "price": {"minor": 1999, "currency": "EUR"}, "title": "Mug", "token": None,
        "has_token": False,
    }  # fmt: skip


@given(VALUES)
def test_any_value_is_told_and_bounded(value: Any) -> None:
    assert len(told({"value": value})) <= LENGTH_MAX + 40
    assert len(answered(msgspec.json.encode(value), Any, JSON)) <= LENGTH_MAX + 40


def test_what_is_deep_or_long_is_cut() -> None:
    deep: Any = SHIBBOLETH
    for _ in range(DEPTH_MAX * 2):
        deep = [deep]
    assert SHIBBOLETH not in told({"deep": deep})
    text = told({"long": "x" * 10_000})
    assert text.endswith("… (10011 characters)")


def test_what_has_no_json_form_is_named() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert told({"loop": loop}) == "(dict has no JSON form)"
    assert "object" in told({"thing": object()})
