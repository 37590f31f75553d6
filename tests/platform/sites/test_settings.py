"""A setting takes only what fits its type, and reads back what it took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.structs import Secret, Struct
from hansa.platform.sites.settings import VALUE_BYTES_MAX, Registry, Setting


class Opening(Struct):
    """A value with fields."""

    days: tuple[str, ...] = ()
    hour: int = 9


OPENING = Setting("shop.opening", Opening, Opening(), "When the shop opens.")
TOKEN = Setting("shop.token", Secret, Secret(""), "What the provider gave.", secret=True)


@given(st.lists(st.text(max_size=5), max_size=3), st.integers(-9, 99))
def test_a_value_reads_back(days: list[str], hour: int) -> None:
    stored = OPENING.write({"days": days, "hour": hour})
    assert OPENING.read(stored) == Opening(tuple(days), hour)


@pytest.mark.parametrize("value", [None, 3, {"hour": "9"}, {"minute": 1}, [], {"days": "mon"}])
def test_what_does_not_fit_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"shop\.opening"):
        OPENING.write(value)


def test_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(ValueError, match=r"shop\.token") as refused:
        TOKEN.write({"token": "hunter2"})
    assert "hunter2" not in str(refused.value)
    assert TOKEN.read(TOKEN.write("hunter2")) == Secret("hunter2")


def test_a_value_has_a_limit() -> None:
    with pytest.raises(ValueError, match="16384 bytes"):
        TOKEN.write("x" * VALUE_BYTES_MAX)


def test_a_kept_value_of_another_type_is_told() -> None:
    with pytest.raises(ValueError, match=r"shop\.opening"):
        OPENING.read(b'"monday"')


def test_a_name_is_declared_once() -> None:
    registry = Registry()
    assert registry.declare(OPENING) is OPENING
    assert registry.declare(OPENING) is OPENING
    with pytest.raises(ValueError, match="declared twice"):
        registry.declare(Setting("shop.opening", int, 1, "Another."))
    assert list(registry) == [OPENING]
    assert registry.find("shop.opening") is OPENING
    assert registry.find("shop.other") is None


@pytest.mark.parametrize("name", ["", "shop", "Shop.x", "shop.", "shop.x y"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="<service>"):
        Registry().declare(Setting(name, int, 1, ""))


def test_a_default_must_fit() -> None:
    with pytest.raises(ValueError, match="Expected"):
        Registry().declare(Setting("shop.x", int, "one", ""))
