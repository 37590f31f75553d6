"""What is stored can be read by later releases, and a change that breaks this is found."""

import copy
import enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel import contracts, shapes
from hansa.kernel.context import Context
from hansa.kernel.contracts import Contract, Reader, compare, from_text, lock_of, to_text, updated
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, Money, Secret, Struct


def contract(wanted: Any, version: int = 1, kind: Any = "event", name: str = "s.e") -> Contract:
    return Contract(name, kind, version, wanted)


def breaches(old: Any, new: Any, version: int = 1, lifts: Any = ()) -> list[str]:
    lock = lock_of([contract(old)])
    return [
        f"{found.name}: {found.what}; {found.todo}"
        for found in compare(lock, lock_of([contract(new, version)]), lifts)
    ]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(Struct):
    sku: str
    price: Money
    parts: "tuple[Line, ...]" = ()


class Placed(Struct):
    id: str
    lines: list[Line]
    colour: Colour = Colour.RED
    note: str | None = None
    token: Secret = Secret("")


class PlacedWithGift(Struct):
    id: str
    lines: list[Line]
    colour: Colour = Colour.RED
    note: str | None = None
    token: Secret = Secret("")
    gift: bool = False


def test_an_optional_field_is_free() -> None:
    assert breaches(Placed, PlacedWithGift) == []
    assert breaches(Placed, Placed) == []


def test_an_optional_field_deep_inside_is_free_too() -> None:
    inner = msgspec.defstruct("A", [("x", int)])
    grown = msgspec.defstruct("B", [("x", int), ("y", int, 0)])
    assert breaches(dict[str, list[inner]], dict[str, list[grown]]) == []  # type: ignore[valid-type]
    assert breaches(inner | None, grown | None) == []


FIELDS: list[Any] = [("x", int), ("y", str, "")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([("x", int)], "y is gone"),
        ([("x", int), ("why", str, "")], "y is gone"),
        ([("x", str), ("y", str, "")], "x was int and is text"),
        ([*FIELDS, ("z", int)], "z is new and has no default"),
        ([("x", int), ("y", str, "other")], "y has another default"),
        ([("x", int, 0), ("y", str, "")], "x is now optional"),
        ([("x", int), ("y", str)], "y was optional"),
        ([("x", int | None), ("y", str, "")], "x was int and is int or null"),
    ],
)
def test_any_other_change_needs_a_version(fields: list[Any], words: str) -> None:
    old = msgspec.defstruct("Old", FIELDS)
    new = msgspec.defstruct("New", sorted(fields, key=len))
    assert any(words in found for found in breaches(old, new))
    assert all("make it version 2" in found for found in breaches(old, new))


def test_a_new_version_needs_an_upcaster_from_each_before() -> None:
    old, new = (msgspec.defstruct("E", [("x", kind)]) for kind in (int, str))
    assert breaches(old, new, 2) == [
        "s.e: has no upcaster from version 1, but rows of it may be left; "
        'declare one: @service.upcast("s.e", 1)'
    ]
    assert breaches(old, new, 2, [("s.e", 1)]) == []
    assert len(breaches(old, new, 3, [("s.e", 1)])) == 1


def test_an_action_may_change_its_request_and_not_its_answer() -> None:
    lock = lock_of([contract(int, 1, "answer")])
    assert compare(lock, lock_of([contract(int, 2, "answer")])) == []
    second = updated(lock, lock_of([contract(int, 2, "answer")]))
    assert compare(second, lock_of([contract(str, 3, "answer")]), [("s.e", 2)]) == []
    assert len(compare(second, lock_of([contract(str, 3, "answer")]))) == 1
    reader = Reader([contract(int, 2, "answer")], {})
    assert reader.read("s.e", 1, b"7") == 7


def test_what_disappears_goes_back_or_changes_kind_is_a_breach() -> None:
    lock = lock_of([contract(int, 2)])
    assert "no longer declared" in str(compare(lock, lock_of([]))[0])
    assert "went back" in str(compare(lock, lock_of([contract(int, 1)]))[0])
    assert "kind" in str(compare(lock, lock_of([contract(int, 2, "due")]))[0])


def test_the_lock_keeps_the_shapes_of_all_versions() -> None:
    first = lock_of([contract(int, 1), contract(str, 1, name="s.gone")])
    second = updated(first, lock_of([contract(str, 2)]))
    assert second.contracts["s.e"].shapes == {1: "int", 2: "text"}
    assert "s.gone" in second.contracts
    assert first.contracts["s.e"].shapes == {1: "int"}
    assert from_text(to_text(second)) == second


@pytest.mark.parametrize("text", ["", "{}x", '{"format": 2}', '{"what": 1}'])
def test_a_file_that_is_no_lock_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=contracts.LOCK_NAME):
        from_text(text)


def test_a_lock_is_written_in_lines_that_fit() -> None:
    text = to_text(lock_of([contract(PlacedWithGift)]))
    assert max(map(len, text.splitlines())) <= contracts.LINE_LETTERS_MAX + 20
    assert '"gift": {"default": false, "optional": "bool"}' in text


# ---- what a service declares

cafe = Service("cafe", owner="tests", package=__name__)


class CupPoured(Event, aggregate="cup", version=2):
    """A test's event."""

    cup: str
    size_ml: int


class Milk(Struct):
    """A test's request."""

    ml: int


@cafe.due("cafe.wash", version=3)
async def wash(ctx: Context, cup: str, twice: bool = False) -> None:
    """Wash a cup."""


@cafe.action("POST /milk", needs="cafe.milk:order", request=Milk, outcome=bool, version=4)
async def order_milk(ctx: Context, body: Milk) -> Milk:
    """Order milk."""
    return body


@order_milk.settle
async def _ordered(ctx: Context, request: Milk, outcome: bool) -> CupPoured | None:
    return None


@cafe.upcast("cafe.cup_poured", 1)
def _in_millilitres(data: dict[str, Any]) -> dict[str, Any]:
    return {"cup": data["cup"], "size_ml": data["size_cl"] * 10}


def test_all_that_a_service_stores_is_found() -> None:
    found = {one.name: one for one in contracts.contracts_of([cafe])}
    assert [(one.name, one.kind, one.version) for one in found.values()] == [
        ("cafe.cup_poured", "event", 2),
        ("cafe.order_milk:answer", "answer", 4),
        ("cafe.order_milk:request", "request", 4),
        ("cafe.wash", "due", 3),
    ]
    assert found["cafe.wash"].shape == {
        "struct": {"cup": "text", "twice": {"optional": "bool", "default": False}}
    }
    read = Reader(list(found.values()), contracts.upcasters_of([cafe])).read
    assert read("cafe.cup_poured", 1, b'{"cup":"a","size_cl":2}') == CupPoured("a", 20)
    assert read("cafe.cup_poured", 2, b'{"cup":"a","size_ml":3}') == CupPoured("a", 3)


# ---- properties over made-up types

scalars = st.sampled_from([int, str, bool, float, bytes, Money, int | None, list[str], Line])
fields = st.dictionaries(st.from_regex("[a-z]{1,6}", fullmatch=True), scalars, max_size=5)


@given(fields, fields)
def test_growing_by_defaults_is_always_free(old: dict[str, Any], more: dict[str, Any]) -> None:
    before = msgspec.defstruct("S", list(old.items()))
    grown = [(name, kind | None, None) for name, kind in more.items() if name not in old]
    after = msgspec.defstruct("S", [*old.items(), *grown])
    assert breaches(before, after) == []


@given(fields, fields)
def test_other_fields_are_always_found(old: dict[str, Any], new: dict[str, Any]) -> None:
    before, after = (msgspec.defstruct("S", list(part.items())) for part in (old, new))
    assert (breaches(before, after) == []) == (old == new)


@given(fields)
def test_a_lock_survives_its_text(old: dict[str, Any]) -> None:
    lock = lock_of([contract(msgspec.defstruct("S", list(old.items())))])
    assert from_text(to_text(lock)) == lock
    assert to_text(from_text(to_text(lock))) == to_text(lock)


# ---- reading


class Third(Struct):
    total: int
    note: str = ""


def first_to_second(data: dict[str, Any]) -> dict[str, Any]:
    data["sum"] = data.pop("a") + data.pop("b")
    return data


def second_to_third(data: dict[str, Any]) -> dict[str, Any]:
    return {"total": data["sum"]}


LIFTS = {("s.e", 1): first_to_second, ("s.e", 2): second_to_third}
reader = Reader([contract(Third, 3)], LIFTS)


@given(st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_lifting_goes_version_by_version(a: int, b: int) -> None:
    stored = {"a": a, "b": b}
    before = copy.deepcopy(stored)
    lifted = reader.lift("s.e", 1, stored)
    assert stored == before
    assert lifted == reader.lift("s.e", 2, first_to_second(dict(stored))) == {"total": a + b}
    assert reader.read("s.e", 1, msgspec.json.encode(stored)) == Third(a + b)


def test_a_field_of_a_newer_release_is_left_aside() -> None:
    wanted = Reader([contract(Placed)], {})
    price_kept = {"minor": 1, "currency": "EUR", "tax": 3}
    part: dict[str, Any] = {"sku": "a", "price": price_kept, "parts": [], "weight": 2}
    line: dict[str, Any] = {"sku": "a", "price": price_kept, "parts": [part]}
    stored = msgspec.json.encode({"id": "o", "lines": [line], "gift": True})
    price = Money(1, "EUR")
    assert wanted.read("s.e", 1, stored) == Placed("o", [Line("a", price, (Line("a", price),))])


@pytest.mark.parametrize(
    ("name", "version", "data", "error", "words"),
    [
        ("s.other", 1, b"{}", contracts.ContractUnknown, "no service here"),
        ("s.e", 4, b"{}", contracts.VersionUnknown, "knows up to 3"),
        ("s.e", 0, b"{}", contracts.VersionUnknown, "no version 0"),
        ("s.e", 1, b"{}", contracts.Unliftable, "upcaster from version 1 failed"),
        ("s.e", 3, b"{", contracts.Unliftable, "not JSON"),
        ("s.e", 3, b'{"total": "x"}', contracts.Unliftable, "does not fit"),
        ("s.e", 3, b"[]", contracts.Unliftable, "does not fit"),
        ("s.e", 1, b"[]", contracts.Unliftable, "failed"),
        ("s.e", 1, b"{", contracts.Unliftable, "not JSON"),
    ],
)
def test_what_cannot_be_read_is_told_apart(
    name: str, version: int, data: bytes, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        reader.read(name, version, data)
    assert getattr(refused.value, "newer", None) in (None, version > 3)


def test_an_upcaster_of_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="lifts nothing"):
        Reader([contract(Third, 1)], LIFTS)


def test_what_cannot_be_stored_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be stored"):
        shapes.shape_of(complex)
