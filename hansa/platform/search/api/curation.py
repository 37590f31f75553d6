"""Curation: synonyms, stop words and rules of a collection, changed one by one or as a whole."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from msgspec import Meta
from msgspec.structs import replace

from hansa.kernel import codec
from hansa.kernel.compiler import param, update
from hansa.kernel.context import Context
from hansa.kernel.problems import Fault, NotFound, Unprocessable
from hansa.kernel.structs import Struct
from hansa.platform.search import rules, synonyms, tables
from hansa.platform.search import search as service
from hansa.platform.search.api.collections import READ, WRITE, Whole, touch, unknown, whole_of
from hansa.platform.search.curation import (
    RULES_MAX,
    STOP_WORDS_MAX,
    SYNONYMS_MAX,
    Curation,
    Phrase,
    Rule,
    Synonym,
)
from hansa.platform.search.opened import words_of
from hansa.platform.search.rules import InvalidRule
from hansa.platform.search.synonyms import InvalidSynonym

BYTES_MAX: Final = 1 << 19
"""Of all that is said of a collection, as it is kept."""

_c = tables.collections.c
_keep = update(tables.collections).where(_c.id == param("id")).values(curation=param("curation"))


@service.query("GET /collections/{name}/curation", needs=READ)
async def get_curation(ctx: Context, name: str) -> Curation:
    """Return the synonyms, stop words and rules of a collection."""
    return (await _find(ctx, name)).curation


@service.command("PUT /collections/{name}/curation", needs=WRITE, body_bytes_max=BYTES_MAX)
async def put_curation(ctx: Context, name: str, body: Curation) -> Curation:
    """Replace all of it. Raises Unprocessable for an id that stands there twice, for too many, and
    for a rule whose filter does not fit the schema."""
    return await _change(ctx, name, lambda _: body)


@service.command("PUT /collections/{name}/synonyms/{id}", needs=WRITE)
async def put_synonym(ctx: Context, name: str, id: str, body: Synonym) -> Synonym:
    """Add a synonym, or replace the one with its id. Raises Unprocessable (`invalid-synonym`) for
    one that says nothing."""
    _check_id(id, body.id)
    found = await _find(ctx, name)
    synonyms.check(body, words_of(found.schema))
    await _change(ctx, name, lambda one: replace(one, synonyms=_with(one.synonyms, body)))
    return body


@service.command("DELETE /collections/{name}/synonyms/{id}", needs=WRITE, status=204)
async def remove_synonym(ctx: Context, name: str, id: str) -> None:
    """Take a synonym away. Raises NotFound."""
    await _change(ctx, name, lambda one: replace(one, synonyms=_without(one.synonyms, id)))


class StopWords(Struct):
    """Words that say little on this site."""

    words: Annotated[tuple[Phrase, ...], Meta(max_length=STOP_WORDS_MAX)]


@service.command("PUT /collections/{name}/stop-words", needs=WRITE)
async def put_stop_words(ctx: Context, name: str, body: StopWords) -> StopWords:
    """Replace the stop words, beside those that each language has."""
    await _change(ctx, name, lambda one: replace(one, stop_words=body.words))
    return body


@service.command("PUT /collections/{name}/rules/{id}", needs=WRITE)
async def put_rule(ctx: Context, name: str, id: str, body: Rule) -> Rule:
    """Add a rule, or replace the one with its id. Rules apply in their order. Raises Unprocessable
    (`invalid-rule`) for one that cannot do what it says, with a pointer to each such place."""
    _check_id(id, body.id)
    found = await _find(ctx, name)
    rules.check(body, found.schema, words_of(found.schema))
    await _change(ctx, name, lambda one: replace(one, rules=_with(one.rules, body)))
    return body


@service.command("DELETE /collections/{name}/rules/{id}", needs=WRITE, status=204)
async def remove_rule(ctx: Context, name: str, id: str) -> None:
    """Take a rule away. Raises NotFound."""
    await _change(ctx, name, lambda one: replace(one, rules=_without(one.rules, id)))


async def _find(ctx: Context, name: str) -> Whole:
    found = await whole_of(ctx, name)
    if found is None:
        raise unknown(name)
    return found


async def _change(ctx: Context, name: str, made: Callable[[Curation], Curation]) -> Curation:
    found = await _find(ctx, name)
    curation = made(found.curation)
    check_curation(curation, found)
    await ctx.db.run(_keep, id=found.id, curation=curation)
    await touch(ctx, found.id)
    return curation


def check_curation(curation: Curation, of: Whole) -> None:
    """Raise Unprocessable for a curation that says what cannot be."""
    for what, several, most in (
        ("synonyms", curation.synonyms, SYNONYMS_MAX),
        ("rules", curation.rules, RULES_MAX),
        ("stop words", curation.stop_words, STOP_WORDS_MAX),
    ):
        if len(several) > most:
            raise _refused(f"A collection has at most {most} {what}.")
    for several in (curation.synonyms, curation.rules):
        ids = [one.id for one in several]
        twice = sorted({id for id in ids if ids.count(id) > 1})
        if twice:
            raise _refused(f"The id {twice[0]!r} stands there twice.")
    words, faults = words_of(of.schema), list[Fault]()
    for number, synonym in enumerate(curation.synonyms):
        if synonym not in of.curation.synonyms:
            try:
                synonyms.check(synonym, words)
            except InvalidSynonym as refused:
                raise refused.within(f"/synonyms/{number}") from None
    for number, rule in enumerate(curation.rules):
        if rule in of.curation.rules:
            continue  # it was checked; a schema that has changed since is no fault of this change
        try:
            rules.check(rule, of.schema, words)
        except InvalidRule as refused:
            faults += [Fault(f"/rules/{number}{one.pointer}", one.detail) for one in refused.errors]
    if faults:
        raise InvalidRule(f"{faults[0].pointer}: {faults[0].detail}", errors=tuple(faults))
    if len(codec.encode(curation)) > BYTES_MAX:
        raise _refused(f"Synonyms, stop words and rules may have {BYTES_MAX} bytes in all.")


def _refused(why: str) -> Unprocessable:
    return Unprocessable(why, slug="invalid-curation")


def _check_id(id: str, said: str) -> None:
    if id != said:
        raise _refused(f"The path says {id[:64]!r}, and the body {said[:64]!r}.")


def _with(several: tuple[Any, ...], new: Any) -> tuple[Any, ...]:
    """Return them with a new one at the place of the one with its id, or at the end."""
    if any(one.id == new.id for one in several):
        return tuple(new if one.id == new.id else one for one in several)
    return (*several, new)


def _without(several: tuple[Any, ...], id: str) -> tuple[Any, ...]:
    left = tuple(one for one in several if one.id != id)
    if len(left) == len(several):
        raise NotFound(f"There is no {id[:64]!r} here.")
    return left
