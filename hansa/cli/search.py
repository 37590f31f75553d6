"""Search: the collections of a site, how well they are searched, and their indexes made anew.

Through a server, or in a cell that nobody has open; then it runs here until the command ends, as
while a file is imported.
"""

import argparse
import asyncio
import csv
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvloop

from hansa.assembly import Cell
from hansa.cli.cells import Local, aim, one_site
from hansa.cli.remote import IN_USE, Server
from hansa.cli.serving import check_exists, failed, told
from hansa.kernel import codec
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Problem
from hansa.kernel.sealing import MasterKeyInvalid
from hansa.kernel.sqlite.connection import InUse
from hansa.kernel.structs import Struct
from hansa.platform.search import api
from hansa.platform.search.evaluation import (
    DEPTH,
    Comparison,
    Judgements,
    Report,
    compared,
    evaluate,
    judgements_of_csv,
    named,
)
from hansa.project import services

T = TypeVar("T")
Do = Callable[..., Awaitable[Any]]
"""Runs an operation on the site, here or through a server."""

READY_S: Final = 120.0
"""How long to wait for an index that is being made."""
LOOK_S: Final = 0.2
CHANGED_SHOWN: Final = 30
NOT_READY: Final = "index-not-ready"


class Listed(Struct):
    """A collection with the index of the process that was asked."""

    collection: api.Collection
    index: api.IndexState


class Evaluation(Struct):
    """What was measured, and what changed since what it is compared with."""

    report: Report
    against: Comparison | None


def run(options: argparse.Namespace) -> int:
    """Do what the verb says."""
    try:
        return uvloop.run(_remote(options) if options.url else _local(options))
    except InUse as taken:
        return failed(f"{taken} {IN_USE}")
    except (
        Problem,
        MigrationRefused,
        MigrationFailed,
        MasterKeyInvalid,
        OSError,
        ValueError,
    ) as error:
        return failed(told(error))


async def _remote(options: argparse.Namespace) -> int:
    async with Server(options.url, options.key or "") as server:
        await aim(server, options.site)

        async def do(operation: Operation[..., T], **arguments: Any) -> T:
            return await server.ask(operation, arguments)

        return await _tell(do, options)


async def _local(options: argparse.Namespace) -> int:
    from hansa.cli.main import place_of

    place = place_of(options)
    check_exists(place)
    cell = Cell(place, services())
    await cell.open()
    try:
        site = await one_site(Local(cell), options.site)
        caller = Caller(site.id, SYSTEM)

        async def do(operation: Operation[..., T], **arguments: Any) -> T:
            return await cell.runtime.do(operation, caller, arguments)

        return await _tell(do, options)
    finally:
        await cell.close()


async def _tell(do: Do, options: argparse.Namespace) -> int:
    """Do what the verb says and tell it, in words or with --json as a whole."""
    answer = await _VERBS[options.verb](do, options)
    if options.json:
        print(msgspec.json.format(codec.encode(answer), indent=2).decode())
        return 0
    for line in _lines(answer):
        print(line)
    return 0


# ---- verbs


async def _collections(do: Do, options: argparse.Namespace) -> list[Listed]:
    found: list[api.Collection] = await do(api.list_collections)
    return [Listed(one, await _opened(do, one.name)) for one in found]


async def _rebuild(do: Do, options: argparse.Namespace) -> api.IndexState:
    """Have it made anew, and wait until the process that is asked searches in the new one."""
    name = options.collection
    await _search(do, name, api.SearchRequest(per_page=0, analytics=False))
    wanted: api.Rebuilding = await do(api.rebuild_index, name=name)
    deadline = time.monotonic() + READY_S
    while True:
        index: api.IndexState = await do(api.get_index, name=name)
        if index.generation >= wanted.generation and index.state == "current":
            return index
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"It is still being made after {READY_S:g} s, and goes on while the server runs:"
                " `hansa search collections` tells how far it is."
            )
        await asyncio.sleep(LOOK_S)


async def _evaluate(do: Do, options: argparse.Namespace) -> Evaluation:
    judgements = _judgements(Path(options.judgements))
    before = _read_report(Path(options.against), judgements) if options.against else None
    found: dict[str, Sequence[str]] = {}
    for query in judgements:
        request = api.SearchRequest(
            query, per_page=DEPTH, fields=tuple(filter(None, ("id", options.by))),
            rules=not options.without_rules, analytics=False,
        )  # fmt: skip
        answer = await _search(do, options.collection, request)
        hits = (msgspec.json.decode(hit.document) for hit in answer.hits)
        found[query] = [named(hit, options.by, judgements[query]) for hit in hits]
    report = evaluate(lambda query, most: found[query][:most], judgements)
    if options.save:
        _save(Path(options.save), report)
    return Evaluation(report, None if before is None else compared(before, report, judgements))


_VERBS: Final[dict[str, Callable[[Do, argparse.Namespace], Awaitable[Any]]]] = {
    "collections": _collections, "rebuild": _rebuild, "evaluate": _evaluate,
}  # fmt: skip


async def _opened(do: Do, name: str) -> api.IndexState:
    """Return how far an index is; one that is closed is opened, as the first search does."""
    index: api.IndexState = await do(api.get_index, name=name)
    if index.state != "closed":
        return index
    try:
        await _search(do, name, api.SearchRequest(per_page=0, analytics=False), READY_S / 10)
    except Problem as problem:
        if problem.slug != NOT_READY:
            raise
    return await do(api.get_index, name=name)  # type: ignore[no-any-return]


async def _search(
    do: Do, name: str, request: api.SearchRequest, wait_s: float = READY_S
) -> api.Found:
    """Search, and wait for an index that is being made."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return await do(api.search_collection, name=name, body=request)  # type: ignore[no-any-return]
        except Problem as problem:
            if problem.slug != NOT_READY or time.monotonic() > deadline:
                raise
        await asyncio.sleep(LOOK_S)


def _judgements(file: Path) -> Judgements:
    """Read judgements. Raises ValueError, which names the file and the line, and OSError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            found = judgements_of_csv(lines)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{file}: {error}") from None
    if not found:
        raise ValueError(f"{file}: there is no judgement in it")
    return found


def _save(file: Path, report: Report) -> None:
    file.write_bytes(codec.encode(report))


def _read_report(file: Path, judgements: Judgements) -> Report:
    """Read what --save has kept. Raises ValueError for another file, and for one that has none of
    the searches that are judged, before any of them is made; and OSError."""
    try:
        report: Report = codec.decode(file.read_bytes(), Report)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{file} is nothing that --save has kept: {error}") from None
    if report.rankings.keys().isdisjoint(judgements):
        raise ValueError(
            f"{file} cannot be compared with: none of its {len(report.queries):,} searches is among"
            f" the {len(judgements):,} that are judged now. Was it saved with other judgements?"
        )
    return report


# ---- words


def _lines(answer: Any) -> Iterator[str]:
    if isinstance(answer, Evaluation):
        yield from _evaluated(answer)
    elif isinstance(answer, api.IndexState):
        yield f"made anew: {answer.documents:,} documents, generation {answer.generation}"
    else:
        if not answer:
            yield "There are no collections; the first search of what a service brings makes it."
        for one in answer:
            yield _collection(one)


def _collection(one: Listed) -> str:
    collection, index = one.collection, one.index
    return (
        f"{collection.name:<24}  {index.documents:>9,} documents"
        f"  change {index.change:,} of {collection.last_change:,}"
        f"  generation {collection.generation}  {index.state:<8}"
        f"  {collection.projection or 'by the API'}"
    )


def _evaluated(answer: Evaluation) -> Iterator[str]:
    total, queries, against = answer.report.total, answer.report.queries, answer.against
    relevant = sum(one.measured.ndcg is not None for one in queries)
    yield f"{len(queries):,} queries, something relevant is known for {relevant:,}"
    if against is not None and against.only_before + against.only_after:
        yield (
            f"compared by the {against.shared:,} queries that both have: {against.only_before:,}"
            f" are only in what was saved, {against.only_after:,} only in what is judged now"
        )
    for name, metric in (
        ("ndcg", "nDCG@10"), ("condensed_ndcg", "nDCG@10 of what was judged"),
        ("judged", "judged@10"), ("recall", f"recall@{DEPTH}"),
        ("average_precision", "mean average precision"),
    ):  # fmt: skip
        now = getattr(total if against is None else against.after, name)
        was = None if against is None else getattr(against.before, name)
        yield f"{metric:<28}{_figure(now, was)}"
    if not total.judged and (strange := next((one for one in queries if one.found), None)):
        yield (
            f"Nothing that was found is judged, as {strange.found[0]} for {strange.query!r}. Where"
            " judgements name documents by another field than id, say --by FIELD."
        )
    if against is None:
        return
    yield f"{len(against.changed):,} queries find other documents among the first 10"
    for one in against.changed[:CHANGED_SHOWN]:
        yield f"  {one.gain:+.3f}  {one.query}"
        if one.came or one.went:
            yield f"          came {' '.join(one.came) or '-'}, went {' '.join(one.went) or '-'}"


def _figure(value: float | None, was: float | None) -> str:
    if value is None:
        return "     -"
    return f"{value:.4f}" + ("" if was is None else f"  was {was:.4f}, {value - was:+.4f}")
