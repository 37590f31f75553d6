"""A scoped key says what was signed, to the letter, and nothing else is one."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.problems import Unauthenticated
from hansa.platform.search import scoped
from hansa.platform.search.filters import InvalidFilter
from hansa.platform.search.scoped import Claims, InvalidSearchKey

NOW = 1_800_000_000
KEY, OTHER = b"k" * 32, b"o" * 32
CLAIMS = Claims(
    "site_a", 'owner = "ann" AND NOT hidden = true', ("shop", "blog"), NOW + 60, "key_x"
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
UNKNOWN = "The search key is not known here."


def refusal(text: str, *keys: bytes, now: int = NOW) -> str:
    with pytest.raises(Unauthenticated) as refused:
        scoped.verify(keys or (KEY,), text, now)
    assert refused.value.slug == "unauthenticated"
    assert refused.value.errors == ()
    assert refused.value.__cause__ is None
    return refused.value.detail


def forged(said: object, key: bytes = KEY) -> str:
    """A key with any claims, signed as one is."""
    content = said if isinstance(said, bytes) else msgspec.json.encode(said)
    text = urlsafe_b64encode(content).rstrip(b"=")
    mac = hmac.new(key, b"hansa scoped search key 1\0" + text, hashlib.sha256).digest()
    return f"hansasearch_{text.decode()}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@given(
    st.builds(
        Claims,
        site=st.text(max_size=30),
        filter=st.text(max_size=100),
        collections=st.lists(st.text(max_size=10), max_size=5).map(tuple),
        expires=st.integers(NOW + 1, 2**40),
        parent=st.text(max_size=30),
    )
)
def test_what_was_signed_is_read(claims: Claims) -> None:
    text = scoped.sign(KEY, claims)
    assert scoped.is_scoped(text)
    assert scoped.site_of(text) == claims.site
    assert scoped.verify([OTHER, KEY], text, NOW) == claims
    assert repr(text) == "Secret(***)"


def test_it_is_hmac_sha_256_of_the_claims_in_their_one_form() -> None:
    said = [1, "site_a", CLAIMS.filter, ["shop", "blog"], NOW + 60, "key_x"]
    assert scoped.sign(KEY, CLAIMS) == forged(said)


def test_no_letter_of_it_can_be_changed_left_out_or_put_in() -> None:
    text = str(scoped.sign(KEY, CLAIMS))
    start = len("hansasearch_")
    for place in range(len(text)):
        assert refusal(text[:place] + text[place + 1 :]) == UNKNOWN
        assert refusal(text[:place] + "A" + text[place:]) == UNKNOWN
        for letter in LETTERS if place >= start else "xX_.":
            if letter != text[place]:
                assert refusal(text[:place] + letter + text[place + 1 :]) == UNKNOWN, place


@pytest.mark.parametrize("add", ["=", "==", "\n", " ", ".", "\0", "é", "A"])
def test_nothing_stands_before_or_after_it(add: str) -> None:
    text = scoped.sign(KEY, CLAIMS)
    assert refusal(text + add) == UNKNOWN
    assert refusal(add + text) == UNKNOWN
    said, _, signature = text.partition(".")
    assert refusal(f"{said}{add}.{signature}") == UNKNOWN


def test_the_claims_of_one_with_the_signature_of_another_are_no_key() -> None:
    one = scoped.sign(KEY, CLAIMS)
    other = scoped.sign(KEY, msgspec.structs.replace(CLAIMS, filter=""))
    assert refusal(f"{other.partition('.')[0]}.{one.partition('.')[2]}") == UNKNOWN


def test_a_key_of_another_site_is_none_here() -> None:
    """Each site signs with a key of its own: neither does one believe the other's, nor can who has
    the one speak for the other."""
    theirs = scoped.sign(OTHER, msgspec.structs.replace(CLAIMS, site="site_b"))
    assert scoped.verify([OTHER], theirs, NOW).site == "site_b"
    assert refusal(theirs, KEY) == UNKNOWN
    pretended = scoped.sign(OTHER, CLAIMS)
    assert scoped.site_of(pretended) == "site_a"
    assert refusal(pretended, KEY) == UNKNOWN


def test_it_ends_when_it_says() -> None:
    text = scoped.sign(KEY, CLAIMS)
    assert scoped.verify([KEY], text, NOW + 59) == CLAIMS
    for now in (NOW + 60, NOW + 10**9):
        told = refusal(text, now=now)
        assert (
            told == "The search key ended at 2027-01-15T08:01:00Z. Ask who made it for a new one."
        )
    # Who did not sign it is not told that it has ended.
    assert refusal(scoped.sign(OTHER, CLAIMS), now=NOW + 60) == UNKNOWN


def test_claims_have_one_text_even_from_who_has_the_key() -> None:
    said = [1, "site_a", "", ["shop"], NOW + 60, "key_x"]
    assert scoped.verify([KEY], forged(said), NOW).collections == ("shop",)
    for other in (
        json.dumps(said).encode(),  # with spaces
        msgspec.json.encode(said) + b" ",
        msgspec.json.encode([2, *said[1:]]),
        msgspec.json.encode(said[:-1]),
        msgspec.json.encode([*said, 1]),
        msgspec.json.encode({"site": "site_a"}),
        b"\xff",
        b"",
    ):
        assert refusal(forged(other)) == UNKNOWN


def test_every_key_of_the_site_is_believed_and_none_believes_nothing() -> None:
    text = scoped.sign(KEY, CLAIMS)
    assert scoped.verify([KEY, OTHER], text, NOW) == scoped.verify([OTHER, KEY], text, NOW)
    assert refusal(text, OTHER) == UNKNOWN
    with pytest.raises(Unauthenticated):
        scoped.verify([], text, NOW)
    with pytest.raises(ValueError, match="at least 32 bytes"):
        scoped.sign(b"short", CLAIMS)


@given(st.text(max_size=80))
def test_nothing_else_is_a_key(text: str) -> None:
    for one in (text, f"hansasearch_{text}", f"hansasearch_{text}.{'A' * 43}"):
        assert refusal(one) == UNKNOWN
        if not one.startswith("hansasearch_"):
            assert not scoped.is_scoped(one)


def test_the_longest_key_that_is_made_is_taken_and_a_longer_one_is_not_looked_at() -> None:
    collections = ("😀" * scoped.COLLECTION_LETTERS_MAX,) * scoped.COLLECTIONS_MAX
    most = Claims(
        "site_" + "0" * 26, "\x01" * scoped.FILTER_LETTERS_MAX,
        collections, NOW + 1, "key_" + "0" * 26,
    )  # fmt: skip
    text = scoped.sign(KEY, most)
    assert scoped.verify([KEY], text, NOW) == most
    assert refusal(forged([1, "s", "x" * scoped.LETTERS_MAX, [], NOW + 1, "k"])) == UNKNOWN


@pytest.mark.parametrize(
    ("claims", "pointer"),
    [
        (msgspec.structs.replace(CLAIMS, expires=NOW), "/expires"),
        (msgspec.structs.replace(CLAIMS, expires=NOW + scoped.EXPIRES_S_MAX + 1), "/expires"),
        (msgspec.structs.replace(CLAIMS, collections=()), "/collections"),
        (msgspec.structs.replace(CLAIMS, collections=("",)), "/collections"),
        (msgspec.structs.replace(CLAIMS, collections=("a",) * 21), "/collections"),
        (msgspec.structs.replace(CLAIMS, filter=" " * 1025), "/filter"),
    ],
)
def test_no_key_is_made_for_what_cannot_be(claims: Claims, pointer: str) -> None:
    with pytest.raises(InvalidSearchKey) as refused:
        scoped.check(claims, NOW)
    assert [fault.pointer for fault in refused.value.errors] == [pointer]


def test_a_key_is_made_for_what_can_be() -> None:
    scoped.check(CLAIMS, NOW)
    scoped.check(msgspec.structs.replace(CLAIMS, expires=NOW + scoped.EXPIRES_S_MAX), NOW)
    with pytest.raises(InvalidFilter):
        scoped.check(msgspec.structs.replace(CLAIMS, filter="owner ="), NOW)


def test_the_claims_can_be_read_by_who_holds_the_key_so_no_secret_is_in_them() -> None:
    said = scoped.sign(KEY, CLAIMS).removeprefix("hansasearch_").partition(".")[0]
    content = urlsafe_b64decode(said + "=" * (-len(said) % 4))
    assert json.loads(content)[1] == "site_a"
    assert KEY not in content
