"""Curation: synonyms, stop words and rules of a collection, and how they are changed."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.responses import Response

from hansa.console import curating, trial
from hansa.console.views.search import heard, looked, path_of
from hansa.console.visit import Visit
from hansa.kernel import codec
from hansa.kernel.problems import Fault, Invalid, Problem

CHANGES: Final = ("pin", "hide", "free")
REFUSED: Final = (400, 409, 422)
"""What is told at the form; any other problem is a page of its own."""


async def words(visit: Visit) -> Response:
    """Show synonyms and stop words, with forms to change them. Raises NotFound."""
    return await _words(visit, {"words": visit.asked("words")}, None)


async def rules(visit: Visit) -> Response:
    """Show the rules, and a form for one: another, or the one that is asked for. Raises
    NotFound."""
    return await _rules(visit, {}, None)


async def whole(visit: Visit) -> Response:
    """Show all of it as JSON, to be changed as one. Raises NotFound."""
    return await _whole(visit, None, None)


async def _words(visit: Visit, form: dict[str, str], problem: Problem | None) -> Response:
    at = await looked(visit)
    curation = await visit.ask("search.get_curation", at.site, name=at.name)
    faults = {} if problem is None else {form["which"]: _told(problem)}
    stops = form.get("stops", "\n".join(curation.stop_words))
    return visit.page(
        "search_words.html", problem.status if problem else 200, at=at, curation=curation,
        form=form, faults=faults, stops=stops, line_of=curating.line_of,
    )  # fmt: skip


async def _rules(visit: Visit, form: dict[str, str], problem: Problem | None) -> Response:
    at = await looked(visit)
    curation = await visit.ask("search.get_curation", at.site, name=at.name)
    wanted = visit.asked("rule")
    known = next((one for one in curation.rules if one.id == wanted), None)
    faults = {} if problem is None else curating.faults_of_rule(problem.errors)
    if problem is not None and not faults:
        faults = {"": _told(problem)}
    form = form or (curating.form_of(known) if known else {"enabled": "1", "q": visit.asked("q")})
    return visit.page(
        "search_rules.html", problem.status if problem else 200, at=at, curation=curation,
        form=form, faults=faults, matches=curating.MATCHES, chosen=wanted if known else "",
    )  # fmt: skip


async def _whole(visit: Visit, text: str | None, problem: Problem | None) -> Response:
    at = await looked(visit)
    curation = await visit.ask("search.get_curation", at.site, name=at.name)
    shown = msgspec.json.format(codec.encode(curation), indent=2).decode() if text is None else text
    return visit.page(
        "search_json.html", problem.status if problem else 200, at=at, text=shown,
        told="" if problem is None else problem.detail or problem.title,
        faults=() if problem is None else problem.errors,
    )  # fmt: skip


# ---- changes


async def put_synonym(visit: Visit) -> Response:
    """Add a synonym, or change the one with the id of the form."""
    form = {"words": visit.sent("words"), "id": visit.sent("id"), "which": visit.sent("id")}
    try:
        body = curating.synonym_of(form["id"], form["words"])
        await _change(visit, "search.put_synonym", id=body["id"], body=body)
    except Problem as problem:
        return await _words(visit, form, _here(problem))
    return _back(visit, "/words")


async def remove_synonym(visit: Visit) -> Response:
    """Take a synonym away."""
    await _change(visit, "search.remove_synonym", id=visit.sent("id"))
    return _back(visit, "/words")


async def put_stop_words(visit: Visit) -> Response:
    """Replace the stop words."""
    stops = visit.sent("stops")
    try:
        await _change(visit, "search.put_stop_words", body={"words": stops.split()})
    except Problem as problem:
        return await _words(visit, {"stops": stops, "which": "stops"}, _here(problem))
    return _back(visit, "/words")


async def put_rule(visit: Visit) -> Response:
    """Add a rule, or change the one with the id of the form."""
    form = {name: value for name, value in visit.form.items() if name != "token"}
    try:
        body = curating.rule_of(form)
        await _change(visit, "search.put_rule", id=body["id"], body=body)
    except Problem as problem:
        return await _rules(visit, form, _here(problem))
    return _back(visit, "/rules")


async def remove_rule(visit: Visit) -> Response:
    """Take a rule away."""
    await _change(visit, "search.remove_rule", id=visit.sent("id"))
    return _back(visit, "/rules")


async def put_whole(visit: Visit) -> Response:
    """Replace all of it by what a form has as JSON."""
    text = visit.sent("curation")
    try:
        try:
            body = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise Invalid(f"It is no JSON: {error}.") from None
        await _change(visit, "search.put_curation", body=body)
    except Problem as problem:
        return await _whole(visit, text, _here(problem))
    return _back(visit, "/json")


async def place(visit: Visit) -> Response:
    """Pin a document to a place of a query, hide it there, or let it go."""
    site, name = visit.place("site"), visit.place("collection")
    change, q, number = visit.sent("change"), visit.sent("q"), visit.sent("place")
    if change not in CHANGES or not number.isdecimal() or len(number) > 4:
        raise Invalid(f"A document is changed by {', '.join(CHANGES)}, and its place is a number.")
    curation = await visit.ask("search.get_curation", site, name=name)
    before = curating.rule_for(curation.rules, q)
    rule = curating.placed(before, change, visit.sent("id"), int(number))
    if not curating.says_nothing(rule):
        await _change(visit, "search.put_rule", id=rule["id"], body=rule)
    elif not curating.says_nothing(before):
        await _change(visit, "search.remove_rule", id=rule["id"])
    asked = [one for one in parse_qsl(visit.form.get("back", "")) if one[0] in trial.NAMES]
    return visit.back(f"{path_of(site, name)}?{urlencode(asked)}")


async def _change(visit: Visit, operation: str, **arguments: Any) -> None:
    """Do it, and wait until searches here go by it."""
    site, name = visit.place("site"), visit.place("collection")
    await visit.ask(operation, site, name=name, **arguments)
    await heard(visit, site, name)


def _here(problem: Problem) -> Problem:
    """Return a problem that is told at the form. Raises any other."""
    if problem.status not in REFUSED:
        raise problem
    return problem


def _told(problem: Problem) -> str:
    faults: tuple[Fault, ...] = tuple(problem.errors)
    return faults[0].detail if faults else problem.detail or problem.title


def _back(visit: Visit, page: str) -> Response:
    return visit.back(path_of(visit.place("site"), visit.place("collection")) + page)
