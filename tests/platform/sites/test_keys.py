"""A key proves itself by its secret only, and gives no more than it was granted."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.caller import Principal
from hansa.kernel.ids import typeid
from hansa.platform.sites import keys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOME = typeid("key", 1_700_000_000_000_000, 5)


def test_a_key_reads_back() -> None:
    secret = keys.new_secret()
    text = keys.key_text(SOME, secret)
    assert keys.parse_key(text) == (SOME, secret)
    assert keys.is_secret_of(secret, keys.secret_hash(secret))
    assert repr(text) == "Secret(***)"
    assert secret not in keys.shown(SOME)


def test_secrets_have_256_bits() -> None:
    made = {keys.new_secret() for _ in range(200)}
    assert len(made) == 200
    assert all(len(secret) == keys.SECRET_LETTERS for secret in made)
    # The last letter has the one bit that 256 leaves over 51 letters of five.
    assert {secret[-1] for secret in made} == {"0", "1"}


@given(st.text(max_size=100))
def test_nothing_else_is_a_key(text: str) -> None:
    assert keys.parse_key(text) is None
    assert keys.parse_key("hansa_" + text) is None


@given(st.integers(0, 51), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_a_secret_that_differs_is_not_the_secret(at: int, letter: str) -> None:
    secret = keys.new_secret()
    other = secret[:at] + letter + secret[at + 1 :]
    assert keys.is_secret_of(other, keys.secret_hash(secret)) == (other == secret)


def test_a_key_ends_at_its_expiry_or_when_it_is_revoked() -> None:
    soon = NOW + timedelta(microseconds=1)
    assert keys.is_live(NOW, None, None)
    assert keys.is_live(NOW, soon, None)
    assert not keys.is_live(NOW, NOW, None)
    assert not keys.is_live(NOW, soon, NOW)


# ---- permissions


def holder(*permissions: str) -> Principal:
    """Somebody with these permissions."""
    return Principal("key_x", frozenset(permissions), "key", "site_x")


names = st.from_regex(r"[a-z][a-z0-9]{0,3}", fullmatch=True)
exact = st.tuples(names, names, names).map(lambda part: f"{part[0]}.{part[1]}:{part[2]}")
wild = st.one_of(
    st.just("*"),
    names.map(lambda service: f"{service}.*"),
    st.tuples(names, names).map(lambda part: f"{part[0]}.{part[1]}:*"),
)


@pytest.mark.parametrize(
    ("granted", "needed", "allowed"),
    [
        ("commerce.products:write", "commerce.products:write", True),
        ("commerce.products:write", "commerce.products:read", False),
        ("commerce.*", "commerce.products:write", True),
        ("commerce.*", "commercial.products:write", False),
        ("commerce.products:*", "commerce.products:write", True),
        ("commerce.products:*", "commerce.orders:write", False),
        ("commerce.products:*", "commerce.productsold:write", False),
        ("*", "commerce.products:write", True),
        ("commerce.*", "commerce.products:*", True),
        ("commerce.products:*", "commerce.*", False),
        ("commerce.*", "*", False),
    ],
)
def test_wildcards_reach_to_their_point(granted: str, needed: str, allowed: bool) -> None:
    assert keys.not_held(holder(granted), [needed]) == ([] if allowed else [needed])


@given(st.one_of(exact, wild), st.one_of(exact, wild), exact)
def test_what_may_be_passed_on_gives_nothing_new(held: str, passed: str, needed: str) -> None:
    if not keys.not_held(holder(held), [passed]) and holder(passed).allows(needed):
        assert holder(held).allows(needed)


@given(exact)
def test_a_permission_includes_itself(permission: str) -> None:
    assert keys.check_permission(permission) == permission
    assert keys.not_held(holder(permission), [permission]) == []
    assert keys.not_held(holder(), [permission]) == [permission]


@pytest.mark.parametrize(
    "text", ["", "**", "commerce", "*.products", "a.b:c:d", "A.b", "a.b*", ".*", "a.b\n"]
)
def test_a_malformed_permission_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a permission"):
        keys.check_permission(text)


def test_a_key_has_some_permissions_and_not_too_many() -> None:
    assert keys.check_permissions(["b.*", "a.*", "b.*"]) == ("a.*", "b.*")
    with pytest.raises(ValueError, match="1 to 100"):
        keys.check_permissions([])
    with pytest.raises(ValueError, match="1 to 100"):
        keys.check_permissions([f"a.b{number}" for number in range(101)])
