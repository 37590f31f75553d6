"""Permissions: exact names, and wildcards that end where a part of the name does."""

import pytest

from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Principal


@pytest.mark.parametrize(
    ("granted", "asked", "allowed"),
    [
        ("commerce.products:write", "commerce.products:write", True),
        ("commerce.products:write", "commerce.products:read", False),
        ("commerce.products:write", "commerce.products", False),
        ("commerce.*", "commerce.products:write", True),
        ("commerce.products:*", "commerce.products:write", True),
        ("commerce.products.*", "commerce.products:write", False),
        ("commerce*", "commerce.products:write", False),
        ("comm*", "commerce.products:write", False),
        ("commerce.*", "commercex.products:write", False),
        ("commerce.*", "commerce", False),
        ("*", "commerce.products:write", True),
        ("", "commerce.products:write", False),
        (".*", "commerce.products:write", False),
    ],
)
def test_permissions(granted: str, asked: str, allowed: bool) -> None:
    principal = Principal("key_1", frozenset({granted, "other.thing"}), "key", "site_1")
    assert principal.allows(asked) is allowed


def test_the_public_may_nothing_and_the_system_all() -> None:
    assert not PUBLIC_PRINCIPAL.allows("commerce.products:read")
    assert SYSTEM.allows("commerce.products:read")
    assert Principal("s", frozenset(), "system", "platform").allows("anything")
