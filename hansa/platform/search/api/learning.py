"""Learning: what people click and buy after a search, what they search for and do not find."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from msgspec import Meta
from sqlalchemy import and_, func

from hansa.kernel.compiler import delete, param, select, update, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL, PUBLIC
from hansa.kernel.problems import Unprocessable
from hansa.kernel.structs import Struct
from hansa.platform.search import learning, tables
from hansa.platform.search import search as service
from hansa.platform.search.api.collections import READ, touch, unknown, whole_of
from hansa.platform.search.api.documents import write
from hansa.platform.search.process import query_keys, visitor_key
from hansa.platform.search.tracking import ASKERS_MIN, NAME_LETTERS_MAX, Count, read_name, who

KEPT: Final = timedelta(days=90)
LEARNED_OF: Final = timedelta(days=30)
FREQUENT_MAX: Final = 1_000
"""Queries that are suggested, at most."""
FREQUENT_MIN: Final = 5
"""How often something is searched for before it is suggested to others: it may be a name."""
LEARNED_MAX: Final = 5_000
POPULAR_MAX: Final = 1_000
"""Documents whose popularity changes in one night, at most: each is written into the index anew."""
ROWS_MAX: Final = 10_000
READS_MAX: Final = 5
"""How often so many rows are read to find that many of several visitors."""
VISITOR_MAX: Final = 100
"""Rows of one visitor and day that are kept and counted; of a name a search has 200."""
DAY_MAX: Final = 10_000
"""Rows of a collection that are kept of a day."""
PIECE: Final = 500
"""Rows that one statement reads or deletes."""
QUERIES_MAX: Final = 2_000
"""Different queries of a collection that are kept of a day, the most frequent: visitors may type
anything."""
QUERIES_MIN: Final = 200
SITE_QUERIES_MAX: Final = 20_000
"""Of all collections of a site together, unless each has no more than `QUERIES_MIN`."""


class Use(Struct):
    """What somebody did with a document that a search found: opened it (``click``), or did what
    the site is there for (``convert``). `place` is where it stood, from 1, over all pages;
    `visitor` is any text that tells visitors apart, of which a digest is kept for a site's own
    keys. Visitors without one are told apart by their address."""

    query_id: Annotated[str, Meta(max_length=NAME_LETTERS_MAX)]
    type: Literal["click", "convert"]
    id: Annotated[str, Meta(min_length=1, max_length=120)]
    place: Annotated[int, Meta(ge=1, le=1_000)]
    visitor: Annotated[str, Meta(max_length=64)] = ""


class QueryCount(Struct):
    """How often something was searched for, and how often that found nothing."""

    q: str
    searches: int
    without: int


class Analytics(Struct):
    """What was searched for most in some days, and what most of it found nothing."""

    since: date
    frequent: tuple[QueryCount, ...]
    without_results: tuple[QueryCount, ...]


class Learned(Struct):
    """What is learned of a query: by how many places each document may rise, or fall."""

    q: str
    preferences: dict[str, float]


_c, _q, _k, _l, _d = (
    tables.collections.c, tables.queries.c, tables.clicks.c, tables.learned.c, tables.documents.c
)  # fmt: skip
_of_day = and_(_q.collection_id == param("collection"), _q.day == param("day"))
_record = upsert(
    tables.clicks,
    key=("collection_id", "q", "document_id", "kind", "visitor"),
    values={
        "collection_id": param("collection"), "q": param("q"), "document_id": param("document"),
        "kind": param("kind"), "visitor": param("visitor"), "place": param("place"),
        "at": param("at"),
    },
    change={"at": param("at")},
)  # fmt: skip
_count = upsert(
    tables.queries,
    key=("collection_id", "day", "q"),
    values={
        "collection_id": param("collection"), "day": param("day"), "q": param("q"),
        "searches": param("searches"), "without": param("without"), "shown": param("shown"),
        "askers": param("askers"), "asked_by": param("asked_by"),
    },
    change={
        "searches": _q.searches + param("searches"), "without": _q.without + param("without"),
        "shown": param("shown"), "askers": param("askers"), "asked_by": param("asked_by"),
    },
)  # fmt: skip
_asked = select(_q.q, _q.askers, _q.asked_by).where(_of_day, _q.q.in_(param("qs")))
_how_many = select(func.count()).select_from(tables.queries).where(_of_day)
_rarest = select(_q.q).where(_of_day).order_by(_q.searches, _q.q).limit(param("limit"))
_drop = delete(tables.queries).where(_of_day, _q.q.in_(param("qs")))
_counted = (
    select(_q.q, func.sum(_q.searches).label("searches"), func.sum(_q.without).label("without"))
    .where(_q.collection_id == param("collection"), _q.day >= param("since"))
    .group_by(_q.q)
)
_frequent = _counted.order_by(func.sum(_q.searches).desc(), _q.q).limit(param("limit"))
_without = _counted.where(_q.without > 0).order_by(
    func.sum(_q.without).desc(), _q.q
).limit(param("limit"))  # fmt: skip
_today = and_(_k.collection_id == param("collection"), _k["at"] >= param("since"))
_of_today = select(func.count()).select_from(tables.clicks).where(_today)
_of_visitor = _of_today.where(_k.visitor == param("visitor"))
_there = select(_c.id).where(_c.id == param("id"), _c.state == "active")
_active = select(_c.id).where(_c.state == "active")


@service.command("POST /events", needs=PUBLIC, status=204)
async def record_use(ctx: Context, body: Use) -> None:
    """Note a click or a conversion. One visitor counts once a day for a document and a query,
    however often, and for 100 of them; what is more is not kept, nor is more than 10,000 a day of
    a collection. Raises Unprocessable (`unknown-query`) for a search that was not answered here in
    the last day, and (`unknown-hit`) for what it did not show at this place."""
    searched = read_name(query_keys(ctx.runtime, ctx.site), body.query_id, ctx.now)
    if searched is None or await ctx.db.value(_there, str, id=searched.collection) is None:
        raise Unprocessable(
            "No search of the last day has this query_id; send the one of its answer.",
            slug="unknown-query",
        )
    if not searched.showed(body.id, body.place):
        raise Unprocessable(
            "The search with this query_id did not show this document at this place.",
            slug="unknown-hit",
        )
    key = visitor_key(ctx.runtime, ctx.site)
    visitor = who(key, ctx.now.date(), ctx.principal, body.visitor)
    midnight = ctx.now.replace(hour=0, minute=0, second=0, microsecond=0)
    about = {"collection": searched.collection, "since": midnight}
    if (await ctx.db.value(_of_today, int, **about) or 0) >= DAY_MAX:
        return
    if (await ctx.db.value(_of_visitor, int, visitor=visitor, **about) or 0) >= VISITOR_MAX:
        return
    await ctx.db.run(
        _record, collection=searched.collection, q=searched.q, document=body.id, kind=body.type,
        visitor=visitor, place=body.place, at=ctx.now,
    )  # fmt: skip


# ---- what is asked for


class _Asked(Struct):
    q: str
    askers: int
    asked_by: tuple[str, ...]


async def count_searches(ctx: Context, counts: Sequence[Count]) -> None:
    """Write down what was searched for on a site since the last time. Of a day the most frequent
    are kept, so many that all collections of a site have `SITE_QUERIES_MAX` at most."""
    there = set(await ctx.db.all(_active, str))
    most = min(QUERIES_MAX, max(QUERIES_MIN, SITE_QUERIES_MAX // max(1, len(there))))
    by_collection: dict[ID, list[Count]] = {}
    for one in counts:
        if one.collection in there:
            by_collection.setdefault(one.collection, []).append(one)
    for collection, some in by_collection.items():
        about = {"collection": collection, "day": ctx.now.date()}
        for begin in range(0, len(some), PIECE):
            await _add(ctx, some[begin : begin + PIECE], about)
        surplus = (await ctx.db.value(_how_many, int, **about) or 0) - most
        while surplus > 0:
            qs = await ctx.db.all(_rarest, str, limit=min(surplus, PIECE), **about)
            await ctx.db.run(_drop, qs=qs, **about)
            surplus -= PIECE


async def _add(ctx: Context, counts: Sequence[Count], about: Mapping[str, Any]) -> None:
    rows = await ctx.db.all(_asked, _Asked, qs=[one.q for one in counts], **about)
    known = {one.q: one for one in rows}
    for one in counts:
        askers, by = asked_by(known.get(one.q), one.askers)
        await ctx.db.run(
            _count, q=one.q, searches=one.searches, without=one.without, shown=one.shown,
            askers=askers, asked_by=by, **about,
        )  # fmt: skip


def asked_by(before: _Asked | None, more: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Return how many have asked for something, and who, as long as they are not several: then it
    is enough to know that. Pure."""
    known = set(before.asked_by) if before else set[str]()
    known.update(more)
    count = max(len(known), before.askers if before else 0)
    return (ASKERS_MIN, ()) if count >= ASKERS_MIN else (count, tuple(sorted(known)))


@service.query("GET /collections/{name}/analytics", needs=READ)
async def get_analytics(
    ctx: Context,
    name: str,
    days: Annotated[int, Meta(ge=1, le=90)] = 7,
    limit: Annotated[int, Meta(ge=1, le=100)] = 20,
) -> Analytics:
    """Return what visitors searched for, and what they did not find. Some seconds late."""
    found = await whole_of(ctx, name)
    if found is None:
        raise unknown(name)
    since = (ctx.now - timedelta(days=days - 1)).date()
    about = {"collection": found.id, "since": since, "limit": limit}
    return Analytics(
        since,
        tuple(await ctx.db.all(_frequent, QueryCount, **about)),
        tuple(await ctx.db.all(_without, QueryCount, **about)),
    )


class Memory(Struct):
    """What a process has to know of what a collection's visitors did."""

    frequent: tuple[str, ...]
    learned: dict[str, dict[str, float]]


_suggested = (
    _counted.where(_q.searches > _q.without)
    .having(func.sum(_q.searches) >= FREQUENT_MIN, func.max(_q.askers) >= ASKERS_MIN)
    .order_by(func.sum(_q.searches).desc(), _q.q)
    .limit(FREQUENT_MAX)
)
_all_learned = select(_l.q, _l.preferences).where(_l.collection_id == param("collection")).limit(
    LEARNED_MAX
)  # fmt: skip


@service.query(needs=INTERNAL)
async def read_memory(ctx: Context, collection: ID) -> Memory:
    """Return what a process has to know of what a collection's visitors did."""
    since = (ctx.now - LEARNED_OF).date()
    frequent = await ctx.db.all(_suggested, QueryCount, collection=collection, since=since)
    learned = await ctx.db.all(_all_learned, Learned, collection=collection)
    return Memory(tuple(one.q for one in frequent), {one.q: one.preferences for one in learned})


# ---- every night


class _Click(Struct):
    q: str
    document_id: str
    kind: str
    visitor: str
    place: int
    at: datetime


class _Shown(Struct):
    q: str
    shown: tuple[str, ...]


_PAGES: Final = 100
"""Queries whose pages are read at once: of each there are as many as days."""


class _Risen(Struct):
    id: str
    popularity: float


class _Popular(Struct):
    id: str
    popularity: float
    body: bytes


_clicked = (
    select(_k.q, _k.document_id, _k.kind, _k.visitor, _k.place, _k["at"])
    .where(
        _k.collection_id == param("collection"),
        _k["at"] >= param("since"),
        _k["at"] < param("before"),
    )
    .order_by(_k["at"].desc())
    .limit(param("limit"))
)
_were_shown = (
    select(_q.q, _q.shown)
    .where(_q.collection_id == param("collection"), _q.day >= param("day"), _q.q.in_(param("qs")))
    .order_by(_q.day)
)
_forget_learned = delete(tables.learned).where(_l.collection_id == param("collection"))
_popular = select(_d.id, _d.popularity, _d.body).where(
    _d.collection_id == param("collection"), _d.id.in_(param("ids")), _d.body.is_not(None)
)
_set_popularity = (
    update(tables.documents)
    .where(_d.collection_id == param("collection"), _d.id == param("id"))
    .values(popularity=param("popularity"))
)
_risen = (
    select(_d.id, _d.popularity)
    .where(
        _d.collection_id == param("collection"), _d.popularity > 0, _d.id > param("after"),
        _d.body.is_not(None),
    )
    .order_by(_d.id)
    .limit(param("limit"))
)  # fmt: skip
_oldest_clicks = (
    select(_k["at"])
    .where(_k.collection_id == param("collection"), _k["at"] < param("before"))
    .order_by(_k["at"])
    .limit(param("limit"))
)
_drop_clicks = delete(tables.clicks).where(
    _k.collection_id == param("collection"), _k["at"] <= param("upto")
)
_oldest_day = select(func.min(_q.day)).where(
    _q.collection_id == param("collection"), _q.day < param("before")
)


@service.every("23 3 * * *", spread_s=3600)
async def learn_all(ctx: Context) -> None:
    """Have each collection learn from its visitors."""
    for collection in await ctx.db.all(_active, str):
        ctx.schedule(learn, at=ctx.now, id=f"learn:{collection}", collection=collection)


@service.due("search.learn")
async def learn(ctx: Context, collection: ID) -> None:
    """Learn what visitors of the last month chose, of which the newest 10,000 clicks count, of one
    visitor 100: which documents rise or fall for a query, and how popular each is."""
    since = ctx.now - LEARNED_OF
    clicks = await _newest(ctx, collection, since)
    asked = sorted({one.q for one in clicks})
    pages: dict[str, tuple[str, ...]] = {}
    about = {"collection": collection, "day": since.date()}
    for begin in range(0, len(asked), _PAGES):
        qs = asked[begin : begin + _PAGES]
        pages |= {one.q: one.shown for one in await ctx.db.all(_were_shown, _Shown, qs=qs, **about)}
    visits = visits_of(clicks, pages)
    found = learning.learned(visits)
    await ctx.db.run(_forget_learned, collection=collection)
    rows = [
        {"collection_id": collection, "q": q, "preferences": found[q]}
        for q in sorted(found)[:LEARNED_MAX]
    ]
    await ctx.db.insert_all(tables.learned, rows)
    await _popularise(ctx, collection, learning.popularity(visits))
    ctx.schedule(forget, at=ctx.now, id=f"forget:{collection}", collection=collection)
    await touch(ctx, collection)


async def _newest(ctx: Context, collection: ID, since: datetime) -> list[_Click]:
    """Return the newest clicks, of each visitor and day so many that one alone is not all."""
    clicks: list[_Click] = []
    of: Counter[str] = Counter()
    about = {"collection": collection, "since": since, "limit": ROWS_MAX}
    before = ctx.now + timedelta(days=1)
    for _ in range(READS_MAX):
        some = await ctx.db.all(_clicked, _Click, before=before, **about)
        for one in some:
            of[one.visitor] += 1  # who is another on another day
            if of[one.visitor] <= VISITOR_MAX:
                clicks.append(one)
        if len(some) < ROWS_MAX or len(clicks) >= ROWS_MAX:
            break
        before = some[-1].at
    return clicks[:ROWS_MAX]


@service.due("search.forget")
async def forget(ctx: Context, collection: ID) -> None:
    """Forget what visitors did long ago, a piece at a time until nothing of it is left."""
    before = ctx.now - KEPT
    about = {"collection": collection, "before": before, "limit": PIECE}
    clicks = await ctx.db.all(_oldest_clicks, datetime, **about)
    if clicks:
        await ctx.db.run(_drop_clicks, collection=collection, upto=clicks[-1])
    day = await ctx.db.value(_oldest_day, date, collection=collection, before=before.date())
    if day is not None:
        about = {"collection": collection, "day": day}
        qs = await ctx.db.all(_rarest, str, limit=PIECE, **about)
        await ctx.db.run(_drop, qs=qs, **about)
    if clicks or day is not None:
        ctx.schedule(forget, at=ctx.now, id=f"forget:{collection}", collection=collection)


def visits_of(
    clicks: Sequence[_Click], shown: Mapping[str, tuple[str, ...]]
) -> list[learning.Visit]:
    """Return clicks as visits: what a first page of that query showed on one of these days, with
    what was clicked where it stood. Pure."""
    by_visitor: dict[tuple[str, str, int], list[_Click]] = {}
    for one in clicks:
        by_visitor.setdefault((one.visitor, one.q, one.at.toordinal()), []).append(one)
    visits: list[learning.Visit] = []
    for (visitor, q, day), several in by_visitor.items():
        places = {id: place for place, id in enumerate(shown.get(q, ()), 1)}
        places |= {one.document_id: one.place for one in several}
        clicked = tuple(one.document_id for one in several)
        bought = tuple(one.document_id for one in several if one.kind == "convert")
        visits.append(learning.Visit(visitor, q, places, clicked, bought, day))
    return visits


async def _popularise(ctx: Context, collection: ID, popularity: Mapping[str, float]) -> None:
    """Keep how popular documents are, and that those are not any more which nobody chose; each
    whose popularity changed is a change of its own."""
    ids = sorted(popularity, key=lambda id: -popularity[id])[:POPULAR_MAX]
    ids += await _fallen(ctx, collection, popularity)
    for begin in range(0, len(ids), PIECE):
        some = ids[begin : begin + PIECE]
        known = await ctx.db.all(_popular, _Popular, collection=collection, ids=some)
        changed = {one.id: one for one in known if one.popularity != popularity.get(one.id, 0.0)}
        for id in changed:
            now = popularity.get(id, 0.0)
            await ctx.db.run(_set_popularity, collection=collection, id=id, popularity=now)
        if changed:
            await write(ctx, collection, {id: one.body for id, one in changed.items()})


async def _fallen(ctx: Context, collection: ID, popularity: Mapping[str, float]) -> list[str]:
    """Return which documents were popular and are not, at most `POPULAR_MAX`."""
    fallen: list[str] = []
    after = ""
    while len(fallen) < POPULAR_MAX:
        about = {"collection": collection, "after": after, "limit": PIECE}
        some = await ctx.db.all(_risen, _Risen, **about)
        fallen += [one.id for one in some if one.id not in popularity]
        if len(some) < PIECE:
            break
        after = some[-1].id
    return fallen[:POPULAR_MAX]
