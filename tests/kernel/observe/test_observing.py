"""One trace runs through requests, calls, events and due work, in one process and over several."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from hansa.kernel.columns import text
from hansa.kernel.compiler import param, select
from hansa.kernel.context import Context
from hansa.kernel.http.app import UNROUTED, HttpApp
from hansa.kernel.observe import flow
from hansa.kernel.observe.observer import Observer
from hansa.kernel.observe.options import Options
from hansa.kernel.observe.reading import Kept, Reader, Wanted
from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.observe.spans import Segment
from hansa.kernel.operation import PUBLIC
from hansa.kernel.service import Service
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Storage
from hansa.kernel.structs import Event, Secret, Struct
from tests.kernel.cells import REAL, TestCell, opened
from tests.kernel.http.client import JSON, AsgiClient, Reply
from tests.kernel.remote import hearing as H
from tests.kernel.remote.league import league

clerk = Service("clerk", owner="kernel", package=__name__)
scribe = Service("scribe", owner="kernel", package=f"{__name__}.scribe")

letters = clerk.table("letters", text("title"), prefix="let")
noted = scribe.table("noted", text("title"), prefix="not")
_titles = select(letters.c.title).where(letters.c.title == param("title"))


class Written(Event, aggregate="title"):
    title: str


class NewLetter(Struct):
    title: str
    seal: Secret


@clerk.command("POST /letters", needs=PUBLIC, status=201)
async def write(ctx: Context, body: NewLetter) -> None:
    await ctx.db.insert(letters, title=body.title)
    ctx.emit(Written(body.title))
    ctx.schedule(file, at=ctx.now, title=body.title)


@clerk.query("GET /letters/{title}", needs=PUBLIC)
async def letter(ctx: Context, title: str) -> int:
    if title == "cursed":
        raise RuntimeError("it bites")
    return len(await ctx.db.all(_titles, str, title=title))


@clerk.due("clerk.file")
async def file(ctx: Context, title: str) -> None:
    await ctx.db.all(_titles, str, title=title)


@scribe.on(Written)
async def note(ctx: Context, event: Written) -> None:
    await ctx.db.insert(noted, title=event.title)


@scribe.query("GET /notes/{title}", needs=PUBLIC)
async def ask(ctx: Context, title: str) -> int:
    return await ctx.call(letter, title=title)


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = {
    "hansa-site": REAL.id, "traceparent": f"00-{TRACE}-{SPAN}-01", "authorization": "Bearer it",
}  # fmt: skip
Send = Callable[..., Awaitable[Reply]]


def observed(
    storage: Storage, tmp_path: Path, test: Callable[[TestCell, Observer, Send], Awaitable[None]]
) -> None:
    async def run() -> None:
        observer = Observer(Options(tmp_path / "observed.db", sample=0.0, payloads=True))
        await observer.start()
        try:
            async with opened(storage, clerk, scribe, recorder=observer.recorder) as cell:
                client = AsgiClient(HttpApp(cell.runtime, recorder=observer.recorder))

                async def send(method: str, target: str, body: Any = None) -> Reply:
                    sent = msgspec.json.encode(body) if body is not None else b""
                    return await client.send(method, target, sent, {**SENT, **JSON})

                await test(cell, observer, send)
        finally:
            await observer.stop()

    asyncio.run(run())


def counted(observer: Observer) -> Reader:
    """Return what reads the counts as they are now."""
    observer.keep_counts()
    observer.archive.flush()
    return observer.reader()


async def kept(cell: TestCell, observer: Observer, count: int) -> dict[str, Kept]:
    """Return what is kept of the trace, by name, once there is so much of it."""
    reader = observer.reader()
    found: list[Kept] = []

    async def enough() -> bool:
        observer.recorder.settle()
        observer.archive.flush()
        found[:] = reader.trace(TRACE)
        return len(found) >= count

    await cell.until(enough)
    reader.close()
    return {one.row.name: one for one in found}


def test_a_trace_runs_through_the_event_and_the_due_work(storage: Storage, tmp_path: Path) -> None:
    async def test(cell: TestCell, observer: Observer, send: Send) -> None:
        body = {"title": "charter", "seal": "open-sesame"}
        assert (await send("POST", "/clerk/letters", body)).status == 201
        found = await kept(cell, observer, 3)
        request, delivery, due = found["clerk.write"], found["scribe.note"], found["clerk.file"]
        assert (request.row.kind, request.row.above, request.row.site) == ("request", SPAN, REAL.id)
        assert (request.row.status, request.row.reason) == (201, "sample")
        assert (delivery.row.kind, delivery.row.service) == ("delivery", "scribe")
        assert (due.row.kind, due.row.service) == ("due", "clerk")
        assert delivery.row.above == due.row.above == request.row.span
        spans = request.detail.spans
        (transaction,) = [n for n, one in enumerate(spans, 1) if one.kind == "transaction"]
        inserts = [one for one in spans if "clerk_letters" in str(one.name)]
        assert inserts and all((one.kind, one.under) == ("sql", transaction) for one in inserts)
        everything = msgspec.json.encode([one.detail for one in found.values()])
        assert b"open-sesame" not in everything
        assert msgspec.json.decode(request.detail.arguments)["body"]["title"] == "charter"
        assert not any("charter" in str(one.name) for one in spans)
        known = flow.declared([clerk, scribe])
        assert flow.joined(known, counted(observer).flow()) == [
            flow.Edge("clerk", "scribe", "clerk.written", declared=True, count=1),
            flow.Edge("scribe", "clerk", "clerk.letter", declared=True, count=0),
        ]
        assert [one.is_call for one in known] == [False, True]

    observed(storage, tmp_path, test)


def test_a_call_and_its_statement_are_spans(storage: Storage, tmp_path: Path) -> None:
    async def test(cell: TestCell, observer: Observer, send: Send) -> None:
        for _ in range(3):
            assert (await send("GET", "/scribe/notes/charter")).json() == 0
        assert (await send("GET", "/nowhere")).status == 404
        reader = observer.reader()
        observer.recorder.settle()
        observer.archive.flush()
        rows = reader.segments(Wanted(service="scribe")).rows
        assert [one.name for one in rows] == ["scribe.ask"] * 3
        asked = next(one for one in reader.trace(TRACE) if one.row.name == "scribe.ask")
        reader.close()
        call, statement = asked.detail.spans[0], asked.detail.spans[-1]
        assert (call.kind, call.name, call.under) == ("call", "clerk.letter", 0)
        assert (statement.kind, statement.under) == ("sql", 1)
        assert asked.detail.answer == "0"
        told = counted(observer)
        rates = {one.name: one for one in told.operations()}
        assert (rates["scribe.ask"].count, rates[UNROUTED].refused) == (3, 1)
        assert rates["scribe.ask"].statements == 3 * len(asked.detail.spans[1:])
        assert {one.sql: one.count for one in told.statements(500)}[str(statement.name)] == 3
        assert told.flow() == {("scribe", "clerk", "clerk.letter"): 3}
        assert [one.name for one in told.processes()] == [observer.process]
        told.close()

    observed(storage, tmp_path, test)


def test_a_failure_is_kept_with_where_it_came_from(storage: Storage, tmp_path: Path) -> None:
    async def test(cell: TestCell, observer: Observer, send: Send) -> None:
        SENT["traceparent"] = SENT["traceparent"][:-1] + "0"  # nobody has asked for it
        try:
            assert (await send("GET", "/scribe/notes/fine")).status == 200
            reply = await send("GET", "/scribe/notes/cursed")
        finally:
            SENT["traceparent"] = SENT["traceparent"][:-1] + "1"
        assert reply.status == 500 and b"bites" not in reply.body
        reader = observer.reader()
        observer.recorder.settle()
        observer.archive.flush()
        (row,) = reader.segments(Wanted(failed=True)).rows
        both = reader.trace(TRACE)
        reader.close()
        assert (row.name, row.status, row.reason) == ("scribe.ask", 500, "error")
        assert [one.row.reason for one in both] == ["related", "error"]
        assert "RuntimeError: it bites" in both[1].detail.error
        assert reply.headers["hansa-request-id"] == f"{row.trace}-{row.span}"

    observed(storage, tmp_path, test)


def test_a_trace_goes_on_in_another_process(tmp_path: Path) -> None:
    async def run() -> None:
        segments: dict[str, list[Segment]] = {"teller": [], "hearer": []}
        recorders = [Recorder(sample=1.0, keep=one.append) for one in segments.values()]
        telling = SqliteStorage(tmp_path / "telling.db", synchronous="OFF")
        hearing = SqliteStorage(tmp_path / "hearing.db", synchronous="OFF")
        async with league(telling, hearing, recorders=recorders) as (_, hearer):
            client = AsgiClient(hearer.app)
            assert (await client.send("GET", "/hearer/asked/one", b"", SENT)).status == 200
            assert H.ask.id == "hearer.ask"
        for one in recorders:
            one.settle()
        (asked,) = [one for one in segments["hearer"] if one.kind == "request"]
        (told,) = [one for one in segments["teller"] if one.kind == "call"]
        (remote,) = [one for one in asked.spans if one is not None and one[1] == "remote"]
        assert asked.trace.id == told.trace.id == TRACE
        assert told.trace.above == remote[5] != asked.trace.span
        assert (told.name, told.service, told.site) == ("teller.get_told", "teller", REAL.id)
        assert recorders[1].edges == {("hearer", "teller", "teller.get_told"): 1}

    asyncio.run(run())


def test_a_trace_goes_on_with_what_is_scheduled_elsewhere(tmp_path: Path) -> None:
    async def run() -> None:
        segments: dict[str, list[Segment]] = {"teller": [], "hearer": []}
        recorders = [Recorder(sample=1.0, keep=one.append) for one in segments.values()]
        telling = SqliteStorage(tmp_path / "telling.db", synchronous="OFF")
        hearing = SqliteStorage(tmp_path / "hearing.db", synchronous="OFF")
        async with league(telling, hearing, recorders=recorders) as (_, hearer):
            client = AsgiClient(hearer.app)
            plan = "/hearer/plan-telling?name=one"
            assert (await client.send("POST", plan, b"", SENT)).status == 200

            async def is_heard() -> bool:
                for one in recorders:
                    one.settle()
                return any(one.kind == "delivery" for one in segments["hearer"])

            await hearer.cell.until(is_heard)
        (due,) = [one for one in segments["hearer"] if one.kind == "due"]
        (told,) = [one for one in segments["teller"] if one.kind == "call"]
        (heard,) = [one for one in segments["hearer"] if one.kind == "delivery"]
        (remote,) = [one for one in due.spans if one is not None and one[1] == "remote"]
        assert (told.name, told.trace.above) == ("teller.publish", remote[5])
        assert (heard.name, heard.trace.above) == ("hearer.hear", told.trace.span)
        assert {due.trace.id, told.trace.id, heard.trace.id} == {TRACE}

    asyncio.run(run())
