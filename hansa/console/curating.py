"""Curating: rules and synonyms as forms have them, a line for each thing. Pure.

pins       a place and a document: 1 blue-mug
boosts     how many times as much, and a filter: 2.5 brand = "HP"
synonyms   tv, television     or one way:     laptop => ultrabook, notebook
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from hansa.kernel.problems import Fault, Invalid

MATCHES: Final = ("exact", "contains", "always")
_WAY: Final = "=>"
_SPACES: Final = re.compile(r"\s+")
FIELDS: Final = {"pin": "pins", "hide": "hidden", "boost": "boosts", "instead": "instead",
                 "filter": "filter", "q": "q", "id": "id", "match": "match"}  # fmt: skip
"""The members of a rule, and the fields of its form that say them."""


def rule_of(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the rule of a form. Raises Invalid with a pointer to each line that says nothing."""
    faults: list[Fault] = []
    pins = [
        {"id": id, "place": int(place)}
        for place, id in _pairs(form, "pins", r"[0-9]{1,3}", "a place and a document", faults)
    ]
    boosts = [
        {"by": float(by), "filter": filter}
        for by, filter in _pairs(
            form, "boosts", r"[0-9]{1,3}(\.[0-9]{1,6})?", "a number and a filter", faults
        )
    ]
    if faults:
        raise Invalid(faults[0].detail, errors=tuple(faults))
    q, match = form.get("q", "").strip(), form.get("match", "exact")
    return {
        "id": form.get("id", "").strip() or name_of(q or match), "match": match, "q": q,
        "pin": pins, "hide": _lines(form.get("hidden", "")), "boost": boosts,
        "instead": form.get("instead", "").strip(), "filter": form.get("filter", "").strip(),
        "enabled": "enabled" in form,
    }  # fmt: skip


def form_of(rule: Any) -> dict[str, str]:
    """Return what the form of a rule has."""
    return {
        "id": rule.id, "match": rule.match, "q": rule.q,
        "pins": "\n".join(f"{one.place} {one.id}" for one in rule.pin),
        "hidden": "\n".join(rule.hide),
        "boosts": "\n".join(f"{one.by:g} {one.filter}" for one in rule.boost),
        "instead": rule.instead, "filter": rule.filter,
    } | ({"enabled": "1"} if rule.enabled else {})  # fmt: skip


def faults_of_rule(faults: Sequence[Fault]) -> dict[str, str]:
    """Return what is wrong with a rule by the field of its form, "" for the whole of it."""
    found: dict[str, str] = {}
    for fault in faults:
        name, _, rest = fault.pointer.strip("/").partition("/")
        line = rest.partition("/")[0]
        told = f"line {int(line) + 1}: {fault.detail}" if line.isdecimal() else fault.detail
        found.setdefault(FIELDS.get(name, name if name in FIELDS.values() else ""), told)
    return found


def synonym_of(id: str, text: str) -> dict[str, Any]:
    """Return the synonym of a line. Raises Invalid for one that has not two words or phrases."""
    one, way, others = text.partition(_WAY)
    words = [word.strip() for word in (others if way else one).split(",") if word.strip()]
    of = one.strip() if way else None
    if len(words) + bool(of) < 2 or (way and not of):
        told = "two words or phrases with a comma between them, or one => others"
        raise Invalid(f"Expected {told}.", errors=(Fault("/words", f"expected {told}"),))
    return {"id": id or name_of(of or words[0]), "words": words, "of": of}


def line_of(synonym: Any) -> str:
    """Return a synonym as a line."""
    words = ", ".join(synonym.words)
    return f"{synonym.of} {_WAY} {words}" if synonym.of else words


def name_of(text: str) -> str:
    """Return an id for what is said of a text: the text itself where it is short."""
    name = _SPACES.sub(" ", text.strip().lower()) or "everything"
    if len(name) <= 64:
        return name
    return f"{name[:52]} {blake2b(name.encode(), digest_size=5).hexdigest()}"


# ---- a document's place in a query


def rule_for(rules: Sequence[Any], q: str) -> dict[str, Any]:
    """Return the rule that is about exactly this query, as plain values; a new one if there is
    none."""
    wanted = name_of(q)
    for one in rules:
        if one.match == "exact" and name_of(one.q) == wanted:
            return {
                "id": one.id, "match": one.match, "q": one.q,
                "pin": [{"id": pin.id, "place": pin.place} for pin in one.pin],
                "hide": list(one.hide),
                "boost": [{"filter": boost.filter, "by": boost.by} for boost in one.boost],
                "instead": one.instead, "filter": one.filter, "enabled": True,
            }  # fmt: skip
    taken = {one.id for one in rules}
    id = next(id for id in _numbered(wanted) if id not in taken)
    return {"id": id, "match": "exact", "q": q, "pin": [], "hide": [], "enabled": True}


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name[:58]} {number}"
        number += 1


def placed(rule: dict[str, Any], change: str, id: str, place: int) -> dict[str, Any]:
    """Return a rule that pins a document to a place (``pin``), hides it (``hide``), or does neither
    any more (``free``). What was pinned to the place moves down by one."""
    at = {one["place"]: one["id"] for one in rule["pin"] if one["id"] != id}
    hidden = [one for one in rule["hide"] if one != id]
    moving = id if change == "pin" else ""
    while moving:
        at[place], moving, place = moving, at.get(place, ""), place + 1
    if change == "hide":
        hidden.append(id)
    return rule | {"pin": [{"id": at[one], "place": one} for one in sorted(at)], "hide": hidden}


def says_nothing(rule: Mapping[str, Any]) -> bool:
    """Tell whether a rule does nothing at all."""
    return not any(rule.get(name) for name in ("pin", "hide", "boost", "instead", "filter"))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _pairs(
    form: Mapping[str, str], name: str, number: str, expected: str, faults: list[Fault]
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for place, line in enumerate(_lines(form.get(name, ""))):
        first, _, rest = line.partition(" ")
        if re.fullmatch(number, first) and rest.strip():
            found.append((first, rest.strip()))
        else:
            faults.append(Fault(f"/{name}/{place}", f"expected {expected}, not {line[:60]!r}"))
    return found
