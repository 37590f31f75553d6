"""Compatibility: whether one side of a call may change while the other stays as it was. Pure.

What a caller sends may only be asked for more loosely, what it gets may only be promised more
tightly: inputs are contravariant and outputs covariant (B. Liskov and J. Wing, A Behavioral Notion
of Subtyping, 1994), with one licence: a reader passes over fields of an answer that it does not
know. What must never happen here: "compatible" for two shapes of which one has a value that the
other cannot take.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hansa.kernel.shapes import Shape, describe, is_mapping, type_of


class Misfit(NamedTuple):
    """What does not fit: where, as a dotted path, and what is wrong there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where or 'the value'} {self.what}"


def input_misfits(old: Shape, new: Shape, where: str = "") -> list[Misfit]:
    """Return why a request made for `old` could be refused, or mean another thing, under `new`."""
    return _Fitting(_request_fields, _REQUEST).misfits(wide=new, narrow=old, where=where)


def output_misfits(old: Shape, new: Shape, where: str = "") -> list[Misfit]:
    """Return why who reads answers as `old` could fail on one that is as `new`."""
    return _Fitting(_answer_fields, _ANSWER).misfits(wide=old, narrow=new, where=where)


def is_optional(field: Shape) -> bool:
    """Tell whether a field of a struct may be left out."""
    return is_mapping(field) and "optional" in field


Fields = dict[str, Shape]
FieldRule = Callable[[Fields, Fields, str], list[Misfit]]


class _Words(NamedTuple):
    """How a misfit is told: the wide side is the new one for requests, the old one for answers."""

    unlike: str
    limited: str
    choice: str


_REQUEST: Final = _Words(
    "was {narrow} and is {wide}", "is limited by {}, and was not", "does not take {} any more"
)
_ANSWER: Final = _Words(
    "was {wide} and is {narrow}", "is not limited by {} any more", "may be {}, which it never was"
)


class _Fitting:
    """Whether each value of a narrow shape is one of a wide shape; fields have their own rule."""

    def __init__(self, rule: FieldRule, words: _Words) -> None:
        self._rule = rule
        self._words = words

    def misfits(self, *, wide: Shape, narrow: Shape, where: str) -> list[Misfit]:
        if wide in (narrow, "any"):
            return []
        narrow_parts, wide_parts = _parts(narrow), _parts(wide)
        if len(narrow_parts) > 1 or len(wide_parts) > 1:
            return self._of_union(narrow_parts, wide_parts, wide, where)
        bare_wide, wide_limits = _bare(wide)
        bare_narrow, narrow_limits = _bare(narrow)
        found = self._of_one(bare_wide, bare_narrow, where)
        if not found and (tighter := _tighter(wide_limits, narrow_limits)):
            found = [Misfit(where, self._words.limited.format(tighter))]
        return found

    def _of_union(
        self, narrow: list[Shape], wide: list[Shape], whole: Shape, where: str
    ) -> list[Misfit]:
        found: list[Misfit] = []
        for part in narrow:
            attempts = [self.misfits(wide=one, narrow=part, where=where) for one in wide]
            if [] in attempts:
                continue
            near = [one for one in attempts if any(misfit.where != where for misfit in one)]
            found += near[0] if len(near) == 1 else [self._unlike(whole, part, where)]
        return found

    def _of_one(self, wide: Shape, narrow: Shape, where: str) -> list[Misfit]:
        if wide in (narrow, "any"):
            return []
        if isinstance(wide, str) and narrow in _WIDER.get(wide, ()):
            return []
        if is_mapping(wide) and is_mapping(narrow):
            if "struct" in wide and "struct" in narrow:
                return self._of_structs(wide, narrow, where)
            if "list" in wide and "list" in narrow:
                return self.misfits(wide=wide["list"], narrow=narrow["list"], where=f"{where}[]")
            for key, ends in (("map", ("{}", "")), ("tuple", None)):
                if key in wide and key in narrow and len(wide[key]) == len(narrow[key]):
                    names = ends or [f"[{number}]" for number in range(len(wide[key]))]
                    trios = zip(wide[key], narrow[key], names, strict=True)
                    return [
                        misfit
                        for one, other, end in trios
                        for misfit in self.misfits(wide=one, narrow=other, where=where + end)
                    ]
            if "choice" in wide and "choice" in narrow:
                more = [one for one in narrow["choice"] if one not in wide["choice"]]
                texts = ", ".join(repr(one) for one in more)
                return [Misfit(where, self._words.choice.format(texts))] if more else []
        if is_mapping(narrow) and "choice" in narrow and wide in ("text", "int"):
            kind = str if wide == "text" else int
            if all(isinstance(one, kind) for one in narrow["choice"]):
                return []
        return [self._unlike(wide, narrow, where)]

    def _unlike(self, wide: Shape, narrow: Shape, where: str) -> Misfit:
        text = self._words.unlike.format(wide=describe(wide), narrow=describe(narrow))
        return Misfit(where, text)

    def _of_structs(self, wide: Shape, narrow: Shape, where: str) -> list[Misfit]:
        if wide.get("tag") != narrow.get("tag"):
            return [Misfit(where, "has another tag")]
        if "order" in wide or "order" in narrow:  # kept by position: as it is, or not at all
            return [Misfit(where, "is sent by position, and changed")]
        found = self._rule(wide["struct"], narrow["struct"], where)
        for name in sorted(wide["struct"].keys() & narrow["struct"].keys()):
            found += self.misfits(
                wide=type_of(wide["struct"][name]),
                narrow=type_of(narrow["struct"][name]),
                where=_inside(where, name),
            )
        return found


_WIDER: Final = {
    "float": ("int",),
    "decimal": ("int", "float"),
    "text": ("uuid", "date", "instant", "time", "duration", "bytes", "secret"),
    "secret": ("text",),
}
"""What is written in JSON so that the wider type reads it too."""


def _request_fields(new: Fields, old: Fields, where: str) -> list[Misfit]:
    """Requests made for `old` fields, read by `new` ones."""
    found: list[Misfit] = []
    for name in sorted(old.keys() - new.keys()):
        found.append(Misfit(_inside(where, name), "is gone, and a request that has it is refused"))
    for name in sorted(new.keys() - old.keys()):
        if not is_optional(new[name]):
            found.append(Misfit(_inside(where, name), "is new and has no default"))
    for name in sorted(new.keys() & old.keys()):
        if is_optional(old[name]) and not is_optional(new[name]):
            found.append(Misfit(_inside(where, name), "could be left out, and cannot any more"))
        elif is_optional(old[name]) and old[name]["default"] != new[name]["default"]:
            found.append(Misfit(_inside(where, name), "has another default"))
    return found


def _answer_fields(old: Fields, new: Fields, where: str) -> list[Misfit]:
    """Answers with `new` fields, read by who knows the `old` ones and passes over the rest."""
    found = [Misfit(_inside(where, name), "is gone") for name in sorted(old.keys() - new.keys())]
    for name in sorted(new.keys() & old.keys()):
        if is_optional(new[name]) and not is_optional(old[name]):
            found.append(Misfit(_inside(where, name), "was always there, and is optional now"))
    return found


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _parts(shape: Shape) -> list[Shape]:
    return list(shape["union"]) if is_mapping(shape) and "union" in shape else [shape]


def _bare(shape: Shape) -> tuple[Shape, dict[str, Any]]:
    if is_mapping(shape) and "of" in shape:
        return shape["of"], shape["limits"]
    return shape, {}


_UPPER: Final = {"lt", "le", "max_length"}
_LOWER: Final = {"gt", "ge", "min_length"}


def _tighter(wide: dict[str, Any], narrow: dict[str, Any]) -> str:
    """Return the first limit of the wide side that the narrow one does not keep, or nothing."""
    for name, bound in sorted(wide.items()):
        own = narrow.get(name)
        kept = own is not None and (
            (name in _UPPER and own <= bound)
            or (name in _LOWER and own >= bound)
            or (name == "multiple_of" and own % bound == 0)
            or own == bound
        )
        if not kept:
            return f"{name} {bound}"
    return ""
