"""A value that is none of an enumeration is refused with those that there are."""

import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel import choices
from hansa.kernel.structs import Secret, Struct


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Card(msgspec.Struct, tag="card"):
    kind: Literal["debit", "credit"]


class Cash(msgspec.Struct, tag="cash"):
    amount: int = 0


@dataclass
class Point:
    side: Literal["left", "right"]


class Box(TypedDict):
    lid: Literal["open", "shut"]


Type = Literal["text", "keyword", "int"]


class Tree(Struct):
    colour: Colour | None = None
    size: Size = Size.SMALL
    types: tuple[Annotated[Type, msgspec.Meta(description="of a field")], ...] = ()
    pair: tuple[Literal["a"], Literal["b"]] | None = None
    named: dict[str, Type] = {}
    by_colour: dict[Colour, dict[str, Literal["x"]]] = {}
    pay: Card | Cash | None = None
    mixed: Literal[1, 2] | Literal["all"] | None = None
    below: "list[Tree]" = []
    point: Point | None = None
    box: Box | None = None
    colours: frozenset[Colour] = frozenset()
    secret: Secret | None = None
    many: Literal[tuple(f"v{n:02}" for n in range(25))] | None = None  # type: ignore[valid-type]


def refusal(value: Any, wanted: Any = Tree) -> str:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, wanted)
    return choices.explain(caught.value, wanted)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"colour": "blue"}, "'blue': expected one of red, green - at `$.colour`"),
        ({"colour": "gren"}, "'gren': did you mean green? Expected one of red, green - at"),
        ({"size": 3}, "Invalid enum value 3: expected one of 1, 2 - at `$.size`"),
        (
            {"types": ["text", "Keywords"]},
            "did you mean keyword? Expected one of int, keyword, text",
        ),
        ({"pair": ["a", "z"]}, "'z': expected one of b - at `$.pair[1]`"),
        ({"named": {"n": "string"}}, "expected one of int, keyword, text - at `$.named[...]`"),
        ({"by_colour": {"blue": {}}}, "of red, green - at `key` in `$.by_colour`"),
        ({"by_colour": {"red": {"n": "y"}}}, "expected one of x - at `$.by_colour[...][...]`"),
        ({"pay": {"type": "shells"}}, "'shells': expected one of card, cash - at `$.pay.type`"),
        ({"pay": {"type": "card", "kind": "gift"}}, "expected one of credit, debit - at"),
        ({"mixed": 7}, "Invalid enum value 7: expected one of 1, 2, all - at `$.mixed`"),
        ({"below": [{}, {"below": [{"colour": ""}]}]}, "'': expected one of red, green - at `$.b"),
        ({"point": {"side": "up"}}, "expected one of left, right - at `$.point.side`"),
        ({"box": {"lid": "ajar"}}, "expected one of open, shut - at `$.box.lid`"),
        ({"colours": ["teal"]}, "expected one of red, green - at `$.colours[0]`"),
        ({"many": "w"}, "expected one of v00, v01, v02"),
        ({"many": "w"}, ", v19 and 5 more - at `$.many`"),
    ],
)
def test_the_values_that_there_are(value: Any, told: str) -> None:
    assert told in refusal(value)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [({"colour": 3}, Tree), ({"unknown": 1}, Tree), ({"pay": 3}, Tree), ("x", int)],
)
def test_other_refusals_are_as_they_were(value: Any, wanted: Any) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, wanted)
    assert choices.explain(caught.value, wanted) == str(caught.value)


@given(st.text())
def test_what_is_told_is_bounded_whatever_was_sent(sent: str) -> None:
    if sent not in {f"v{n:02}" for n in range(25)}:
        told = refusal({"many": sent})
        assert "v00, v01" in told
        assert "v19 and 5 more" in told
        assert len(told) < choices.QUOTED_MAX + 200


@given(
    st.lists(st.sampled_from(["below", "types", "named", "pay", "kind", "n"]) | st.none()
             | st.integers(-2, 30), max_size=6),
    st.booleans(),
)  # fmt: skip
def test_a_place_that_is_not_there_has_no_values(steps: list[choices.Step], of_key: bool) -> None:
    refused = choices.Refused("Invalid enum value 'x'", tuple(steps), of_key)
    assert choices.explained(refused, Tree).startswith(refused.what)
