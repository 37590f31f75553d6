"""Choices: what a visitor can narrow a search down by, and how it is offered. Pure.

The attributes are not configured: they are found in the documents, so that a shop of mugs asks for
the glaze and a shop of laptops for the memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hansa.storefront.money import decimals_of, short
from hansa.storefront.wish import (
    ATTRIBUTE,
    BRAND,
    PRICE,
    Bounds,
    Wish,
    bounds_of,
    is_name,
    range_of,
)

KINDS: Final = ("product_type", "type", "category", "group", "department")
"""Attributes that say what a thing is; they come before all others."""
VALUES_MAX: Final = 20
"""An attribute of more values is no choice but a list."""
VALUE_LETTERS_MAX: Final = 60
OFFERED_MAX: Final = 6
"""Attributes that are offered at once."""
ASKED_MAX: Final = 12
"""Attributes that are counted at once."""
PART_MIN: Final = 0.15
"""An attribute that fewer of what is found have helps nobody to choose."""
PRICES_MAX: Final = 5
_LADDER: Final = ("1", "2.5", "5")


@dataclass(frozen=True)
class Option:
    """A value that can be chosen, or was. `wish` is what choosing it makes of the wish."""

    path: str
    value: str
    text: str
    count: int
    is_chosen: bool
    wish: Wish


@dataclass(frozen=True)
class Choice:
    """What can be chosen of one field."""

    path: str
    name: str
    options: tuple[Option, ...]

    @property
    def is_chosen(self) -> bool:
        """Whether anything of it is."""
        return any(one.is_chosen for one in self.options)


Counts = Sequence[tuple[Any, int]]
"""The values of one field with how many documents have each, the most frequent first."""


def useful(documents: Iterable[Mapping[str, Any]], most: int = OFFERED_MAX) -> tuple[str, ...]:
    """Return the names of attributes that divide documents, the most useful first: those that say
    what a thing is, then those that most documents have with a few values."""
    had: Counter[str] = Counter()
    values: dict[str, set[Any]] = {}
    total = 0
    for attributes in documents:
        total += 1
        for name, value in attributes.items():
            had[name] += 1
            values.setdefault(name, set()).add(value)
    good = [
        name
        for name, found in values.items()
        if is_name(name)
        and (name in KINDS or 2 <= len(found) <= min(VALUES_MAX, 0.7 * had[name]))
        and had[name] >= PART_MIN * total
        and all(len(str(one)) <= VALUE_LETTERS_MAX for one in found)
    ]
    good.sort(key=lambda name: (_kind(name), -had[name], name))
    return tuple(good[:most])


def offered(
    wish: Wish, counts: Mapping[str, Counts], found: int, currency: str
) -> tuple[Choice, ...]:
    """Return what to offer, from the counts by path. `found` is how many documents there are."""
    choices: list[Choice] = []
    if BRAND in counts:
        choices.append(_plain(wish, BRAND, "Brand", counts[BRAND]))
    if PRICE in counts:
        choices.append(_prices(wish, counts[PRICE], currency))
    rated: list[tuple[tuple[Any, ...], Choice]] = []
    for path, values in counts.items():
        if not path.startswith(ATTRIBUTE):
            continue
        name = path.removeprefix(ATTRIBUTE)
        part = min(1.0, sum(count for _, count in values) / found) if found else 0.0
        chosen = bool(wish.values(path))
        many = len(values) > VALUES_MAX and _kind(name) == len(KINDS)
        if chosen or (part >= PART_MIN and not many):
            rate = (_kind(name), not chosen, -part, name)
            rated.append((rate, _plain(wish, path, named(name), values)))
    rated.sort(key=lambda one: one[0])
    attributes = [choice for _, choice in rated if len(choice.options) > 1 or choice.is_chosen]
    wanted = [one for one in attributes if one.is_chosen]
    for one in attributes:
        if one not in wanted and len(wanted) < OFFERED_MAX:
            wanted.append(one)
    attributes = [one for one in attributes if one in wanted]
    own = [one for one in choices if len(one.options) > 1 or one.is_chosen]
    kinds = [one for one in attributes if _kind(one.path.removeprefix(ATTRIBUTE)) < len(KINDS)]
    return (*kinds, *own, *(one for one in attributes if one not in kinds))


def chips(wish: Wish, currency: str) -> tuple[Option, ...]:
    """Return what is chosen, each with the wish without it."""
    return tuple(
        Option(path, value, _chip(path, value, currency), 0, True, wish.toggled(path, value))
        for path, value in wish.chosen
    )


def named(name: str) -> str:
    """Return the name of an attribute as a title: ``made_in`` is "Made in"."""
    text = name.replace("_", " ").strip() or name
    return text[:1].upper() + text[1:]


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return f"{value:g}" if isinstance(value, float) else str(value)


def written(value: Any) -> str:
    """Return a value as an address has it."""
    return str(value).lower() if isinstance(value, bool) else shown(value)


def _kind(name: str) -> int:
    return KINDS.index(name) if name in KINDS else len(KINDS)


def _chip(path: str, value: str, currency: str) -> str:
    if path == PRICE:
        return range_text(bounds_of(value, decimals_of(currency)), currency)
    if value in ("true", "false"):
        return f"{named(path.removeprefix(ATTRIBUTE))}: {'yes' if value == 'true' else 'no'}"
    return value


def _plain(wish: Wish, path: str, name: str, counts: Counts) -> Choice:
    """Return the choice of a field: its values, and first those chosen that nothing has."""
    chosen = wish.values(path)
    found = {written(value): (shown(value), count) for value, count in counts}
    gone = {value: (value, 0) for value in chosen if value not in found}
    return Choice(path, name, tuple(
        Option(path, value, text, count, value in chosen, wish.toggled(path, value))
        for value, (text, count) in {**gone, **found}.items()
        if count or value in chosen
    ))  # fmt: skip


# ---- prices


def ladder(currency: str) -> tuple[Bounds, ...]:
    """Return the ranges in which prices are counted, one after the other, in minor units."""
    one = 10 ** decimals_of(currency)
    steps = [
        int(minor) for power in range(7) for step in _LADDER
        if (minor := float(step) * one * 10**power) == int(minor)
    ]  # fmt: skip
    return tuple(zip([None, *steps], [*steps, None], strict=True))


def _prices(wish: Wish, counts: Counts, currency: str) -> Choice:
    """Return at most so many ranges of prices that are about equally full. One that is chosen stays
    as it is, whatever its neighbours become."""
    places = decimals_of(currency)
    chosen = [bounds_of(one, places) for one in wish.values(PRICE)]
    ranges = [(bounds, count, False) for bounds, (_, count) in zip(ladder(currency), counts,
                                                                   strict=True)]  # fmt: skip
    for bounds in chosen:
        ranges = _joined(ranges, bounds)
    while ranges and not ranges[0][1] and not ranges[0][2]:
        ranges.pop(0)
    while ranges and not ranges[-1][1] and not ranges[-1][2]:
        ranges.pop()
    while len(ranges) > PRICES_MAX:
        free = [at for at in range(len(ranges) - 1) if not (ranges[at][2] or ranges[at + 1][2])]
        if not free:
            break
        at = min(free, key=lambda at: ranges[at][1] + ranges[at + 1][1])
        both = (ranges[at][0][0], ranges[at + 1][0][1])
        ranges[at : at + 2] = [(both, ranges[at][1] + ranges[at + 1][1], False)]
    options: list[Option] = []
    for bounds, count, is_chosen in ranges:
        if not count and not is_chosen:
            continue
        value = range_of(bounds, places)
        text = range_text(bounds, currency)
        wanted = wish.toggled(PRICE, value)
        options.append(Option(PRICE, value, text, count, is_chosen, wanted))
    return Choice(PRICE, "Price", tuple(options))


def _joined(
    ranges: list[tuple[Bounds, int, bool]], chosen: Bounds
) -> list[tuple[Bounds, int, bool]]:
    """Return the ranges with those that make up a chosen one in its place; as they are where it
    begins or ends inside one."""
    begins = [at for at, (bounds, _, _) in enumerate(ranges) if bounds[0] == chosen[0]]
    ends = [at for at, (bounds, _, _) in enumerate(ranges) if bounds[1] == chosen[1]]
    if not begins or not ends or begins[0] > ends[0]:
        return ranges
    inside = ranges[begins[0] : ends[0] + 1]
    if any(locked for _, _, locked in inside):
        return ranges
    one = (chosen, sum(count for _, count, _ in inside), True)
    return [*ranges[: begins[0]], one, *ranges[ends[0] + 1 :]]


def range_text(bounds: Bounds, currency: str) -> str:
    """Return a range as people read it."""
    low, high = bounds
    if low is None and high is None:
        return "Any price"
    if low is None or high is None:
        end = short(high if low is None else low, currency)  # type: ignore[arg-type]
        return f"Under {end}" if low is None else f"{end} and more"
    return f"{short(low, currency)} – {short(high, currency)}"
