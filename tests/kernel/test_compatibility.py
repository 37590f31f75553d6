"""What is judged compatible is: old requests are read by the new type, new answers by old readers.

The types are drawn, and changed at random places; the values are drawn from the types.
"""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from msgspec import Meta

from hansa.kernel.compatibility import Misfit, input_misfits, output_misfits
from hansa.kernel.shapes import Shape, prune, shape_of
from hansa.kernel.structs import Struct

Plan = tuple[Any, ...]
"""A type as nested tuples, so that Hypothesis can draw it, change it and shrink it."""

struct_of: Any = msgspec.defstruct
NAMES = ("a", "b", "c")
LEAVES = st.one_of(
    st.tuples(st.just("int"), st.none() | st.integers(-3, 3), st.none() | st.integers(4, 9)),
    st.tuples(st.just("text"), st.none() | st.integers(0, 3)),
    st.tuples(st.just("choice"), st.frozensets(st.sampled_from("xyz"), min_size=1)),
    st.sampled_from([("bool",), ("float",), ("null",)]),
)


def _fields(plans: Any) -> Any:
    field = st.tuples(plans, st.sampled_from(["required", "optional"]))
    return st.tuples(st.just("struct"), st.dictionaries(st.sampled_from(NAMES), field, max_size=3))


PLANS = st.recursive(
    LEAVES,
    lambda plans: st.one_of(
        st.tuples(st.just("list"), plans),
        st.tuples(st.just("maybe"), plans),
        st.tuples(st.just("map"), plans),
        _fields(plans),
    ),
    max_leaves=5,
)


def maybe(wanted: Any) -> Any:
    return None if wanted is None else wanted | None


def type_of(plan: Plan) -> Any:
    """Return the type that a plan draws."""
    match plan:
        case ("int", low, high):
            return Annotated[int, Meta(ge=low, le=high)] if low is not high else int
        case ("text", longest):
            return str if longest is None else Annotated[str, Meta(max_length=longest)]
        case ("choice", values):
            return Literal[tuple(sorted(values))]
        case ("list", inner):
            return list[type_of(inner)]  # type: ignore[misc]
        case ("map", inner):
            return dict[str, type_of(inner)]  # type: ignore[misc]
        case ("maybe", inner):
            return maybe(type_of(inner))
        case ("struct", fields):
            parts: list[Any] = [
                (name, type_of(inner)) if how == "required" else (name, maybe(type_of(inner)), None)
                for name, (inner, how) in fields.items()
            ]
            parts.sort(key=len)
            return struct_of("Drawn", parts, frozen=True, forbid_unknown_fields=True)
        case (name,):
            return {"bool": bool, "float": float, "null": None}[name]
        case _:
            raise AssertionError(plan)


def values_of(plan: Plan) -> st.SearchStrategy[Any]:
    """Return values that the type of a plan takes, as JSON has them."""
    match plan:
        case ("int", low, high):
            return st.integers(-20 if low is None else low, 20 if high is None else high)
        case ("text", longest):
            return st.text("ab", max_size=5 if longest is None else longest)
        case ("choice", values):
            return st.sampled_from(sorted(values))
        case ("list", inner):
            return st.lists(values_of(inner), max_size=2)
        case ("map", inner):
            return st.dictionaries(st.sampled_from("pq"), values_of(inner), max_size=2)
        case ("maybe", inner):
            return st.none() | values_of(inner)
        case ("struct", fields):
            needed = {
                n: values_of(inner) for n, (inner, how) in fields.items() if how == "required"
            }
            other = {n: values_of(inner) for n, (inner, _) in fields.items() if n not in needed}
            return st.fixed_dictionaries(needed, optional=other)
        case (name,):
            kinds: dict[str, st.SearchStrategy[Any]] = {
                "bool": st.booleans(), "null": st.none(), "float": st.floats(-9, 9)
            }  # fmt: skip
            return kinds[name]
        case _:
            raise AssertionError(plan)


@st.composite
def changed(draw: st.DrawFn, plan: Plan) -> Plan:
    """Draw a plan that is like another one but for a place or two."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.one_of(PLANS, st.just(("maybe", plan))))
    match plan:
        case ("list" | "maybe" | "map" as kind, inner):
            return (kind, draw(changed(inner)))
        case ("struct", fields):
            kept = {n: f for n, f in fields.items() if draw(st.integers(0, 4))}
            new = {
                n: (draw(changed(i)), draw(st.sampled_from([how, how, "required", "optional"])))
                for n, (i, how) in kept.items()
            }
            if draw(st.booleans()):
                more = draw(st.sampled_from(NAMES))
                new.setdefault(
                    more, (draw(LEAVES), draw(st.sampled_from(["required", "optional"])))
                )
            return ("struct", new)
        case ("int", low, high):
            return (
                "int",
                draw(st.sampled_from([low, None])),
                draw(st.sampled_from([high, 9, None])),
            )
        case ("choice", values):
            return ("choice", values | draw(st.frozensets(st.sampled_from("xyz"))))
        case _:
            return plan


def pairs() -> st.SearchStrategy[tuple[Plan, Plan]]:
    return PLANS.flatmap(lambda plan: st.tuples(st.just(plan), changed(plan)))


def shape(plan: Plan) -> Shape:
    return shape_of(type_of(plan))


@given(pairs(), st.data())
def test_a_request_made_for_the_old_type_is_read_by_a_compatible_new_one(
    two: tuple[Plan, Plan], data: st.DataObject
) -> None:
    old, new = two
    fits = not input_misfits(shape(old), shape(new))
    event(f"compatible: {fits}, changed: {old != new}")
    assume(fits)
    request = msgspec.json.encode(data.draw(values_of(old)))
    msgspec.json.decode(request, type=type_of(old))
    msgspec.json.decode(request, type=type_of(new))


@given(pairs(), st.data())
def test_an_answer_of_a_compatible_new_type_is_read_by_who_knows_the_old_one(
    two: tuple[Plan, Plan], data: st.DataObject
) -> None:
    old, new = two
    fits = not output_misfits(shape(old), shape(new))
    event(f"compatible: {fits}, changed: {old != new}")
    assume(fits)
    # An answer has all fields: a struct is encoded with its defaults.
    value = msgspec.json.decode(msgspec.json.encode(data.draw(values_of(new))), type=type_of(new))
    answer = msgspec.json.decode(msgspec.json.encode(value))
    known = prune(answer, shape(old))
    msgspec.json.decode(msgspec.json.encode(known), type=type_of(old))


@given(PLANS)
def test_what_did_not_change_breaks_nothing(plan: Plan) -> None:
    assert not input_misfits(shape(plan), shape(plan))
    assert not output_misfits(shape(plan), shape(plan))


class Old(Struct):
    title: str
    kind: Literal["tea", "pot"]
    size: Annotated[int, Meta(ge=0, le=10)] = 1


class Tree(Struct):
    name: str
    inside: "list[Tree]" = []


def variant(**fields: Any) -> Any:
    known = {"title": str, "kind": Literal["tea", "pot"], "size": (Old.__annotations__["size"], 1)}
    chosen = {**known, **fields}
    parts = [
        (name, *(one if isinstance(one, tuple) else (one,)))
        for name, one in chosen.items()
        if one is not None
    ]
    return struct_of("New", sorted(parts, key=len), forbid_unknown_fields=True)


BOTH = {"input", "output"}


@pytest.mark.parametrize(
    ("fields", "breaks"),
    [
        ({}, set()),
        ({"more": (str, "")}, set()),
        ({"more": str}, {"input"}),
        ({"title": None}, BOTH),
        ({"title": int}, BOTH),
        ({"title": str | None}, {"output"}),
        ({"title": (str, "")}, {"output"}),
        ({"kind": Literal["tea"]}, {"input"}),
        ({"kind": Literal["tea", "pot", "cup"]}, {"output"}),
        ({"kind": str}, {"output"}),
        ({"size": Annotated[int, Meta(ge=0, le=10)]}, {"input"}),
        ({"size": (Annotated[int, Meta(ge=0, le=9)], 1)}, {"input"}),
        ({"size": (Annotated[int, Meta(ge=0, le=99)], 1)}, {"output"}),
        ({"size": (int, 1)}, {"output"}),
        ({"size": (float, 1)}, {"output"}),
        ({"size": (Annotated[int, Meta(ge=0, le=10)], 2)}, {"input"}),
    ],
)  # fmt: skip
def test_each_change_breaks_whom_it_should(fields: dict[str, Any], breaks: set[str]) -> None:
    old, new = shape_of(Old), shape_of(variant(**fields))
    found = {"input": input_misfits(old, new), "output": output_misfits(old, new)}
    assert {side for side, misfits in found.items() if misfits} == breaks


def test_a_misfit_says_where_and_what() -> None:
    old, new = shape_of(list[Old]), shape_of(list[variant(kind=Literal["tea"])])  # type: ignore[misc]
    assert input_misfits(old, new) == [Misfit("[].kind", "does not take 'pot' any more")]
    assert output_misfits(new, old) == [Misfit("[].kind", "may be 'pot', which it never was")]


def test_a_type_inside_itself_is_compared() -> None:
    leaf = struct_of("Leaf", [("name", str), ("inside", list[str], [])])
    assert input_misfits(shape_of(Tree), shape_of(Tree)) == []
    assert input_misfits(shape_of(Tree), shape_of(leaf))
