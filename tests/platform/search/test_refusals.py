"""What is wrong with a query, a filter, a schema or a document is told as a problem document that
names the place; and nothing of what was right before is lost."""

from typing import Any

import msgspec
import pytest

from hansa.assembly import OPERATOR
from hansa.kernel.service import Service
from hansa.platform.search import api, search
from hansa.platform.sites.api import NewKey, create_key
from hansa.testing import TestCell
from tests.kernel.http.client import AsgiClient, Reply

FLEET = "/search/collections/fleet"
SCHEMA = {
    "title": "title",
    "fields": [
        {"name": "title", "type": "text", "weight": 3},
        {"name": "kind", "type": "keyword", "facet": True},
        {"name": "price", "type": "int", "facet": True, "sort": True},
        {"name": "more", "type": "json", "facet": True},
        {"name": "since", "type": "date"},
    ],
}


def schema(**more: Any) -> dict[str, Any]:
    """A schema of one field, and that is wrong somewhere."""
    field = {"name": "a", "type": "text", **more.pop("field", {})}
    return {"schema": {"fields": [field, *more.pop("fields", [])], **more}}


def filtered(filter: str) -> dict[str, Any]:
    return {"filter": filter}


Case = tuple[str, dict[str, Any], str, str]
"""Where something is wrong, with what; the problem's type, and the place: a pointer into the body,
or the position in a filter."""

SEARCHES: list[Case] = [
    ("q", {"q": 5}, "invalid-request", "/q"),
    ("q", {"q": "x" * 513}, "invalid-request", "/q"),
    ("page", {"page": 0}, "invalid-request", "/page"),
    ("page", {"page": 101, "per_page": 10}, "invalid-search", "/page"),
    ("facet", {"facets": [{"field": "colour"}]}, "invalid-search", "/facets/0/field"),
    ("facet", {"facets": [{"field": "kind"}, {"field": "title"}]}, "invalid-search",
     "/facets/1/field"),
    ("facet", {"facets": [{"field": "more"}]}, "invalid-search", "/facets/0/field"),
    ("range", {"facets": [{"field": "price", "ranges": [{"low": 9, "high": 1}]}]},
     "invalid-search", "/facets/0/ranges/0"),
    ("range", {"facets": [{"field": "price", "ranges": [{"low": 1e30}]}]}, "invalid-search",
     "/facets/0/ranges/0"),
    ("range", {"facets": [{"field": "more.x", "ranges": [{"high": -1e17}]}]}, "invalid-search",
     "/facets/0/ranges/0"),
    ("range", {"facets": [{"field": "kind", "ranges": [{"low": 1}]}]}, "invalid-search",
     "/facets/0/ranges"),
    ("sort", {"sort": ["price", "-kind"]}, "invalid-search", "/sort/1"),
    ("highlight", {"highlight": ["price"]}, "invalid-search", "/highlight/0"),
    ("distinct", {"distinct": "title"}, "invalid-search", "/distinct"),
    ("fields", {"fields": ["titel"]}, "invalid-search", "/fields/0"),
    ("filter", filtered('kind = ship AND colour = "red"'), "invalid-filter", "16"),
    ("filter", filtered("price < cheap"), "invalid-filter", "8"),
    ("filter", filtered("price < 1 AND"), "invalid-filter", "13"),
    ("filter", filtered('kind = "ship'), "invalid-filter", "7"),
    ("filter", filtered("(price < 1"), "invalid-filter", "10"),
    ("filter", filtered("title = cog"), "invalid-filter", "0"),
    ("filter", filtered("since > 2020-13-01"), "invalid-filter", "8"),
    ("filter", filtered("price = 99999999999999999999"), "invalid-filter", "8"),
]  # fmt: skip
SCHEMAS: list[Case] = [
    ("no fields", {"schema": {"fields": []}}, "invalid-request", "/schema/fields"),
    ("type", schema(field={"type": "blob"}), "invalid-request", "/schema/fields/0/type"),
    ("name", schema(field={"name": "A b"}), "invalid-request", "/schema/fields/0/name"),
    ("twice", schema(fields=[{"name": "a", "type": "int"}]), "invalid-schema",
     "/schema/fields/1/name"),
    ("id", schema(field={"name": "id"}), "invalid-schema", "/schema/fields/0/name"),
    ("facet", schema(field={"facet": True}), "invalid-schema", "/schema/fields/0/facet"),
    ("sort", schema(field={"type": "json", "sort": True}), "invalid-schema",
     "/schema/fields/0/sort"),
    ("weight", schema(field={"type": "bool", "weight": 2}), "invalid-schema",
     "/schema/fields/0/weight"),
    ("title", schema(title="b"), "invalid-schema", "/schema/title"),
    ("locale", schema(locale="xx"), "invalid-schema", "/schema/locale"),
    ("locale", schema(locale="English"), "invalid-schema", "/schema/locale"),
    ("open filter", {**schema(), "open_filter": "b = 1"}, "invalid-filter", "0"),
    ("open filter", {**schema(), "open_filter": "a ="}, "invalid-filter", "3"),
]  # fmt: skip
DOCUMENTS: list[Case] = [
    ("type", {"price": "dear"}, "invalid-document", "/price"),
    ("place in an array", {"kind": ["ship", 5]}, "invalid-document", "/kind/1"),
    ("sorted", {"price": [1, 2]}, "invalid-document", "/price"),
    ("unknown", {"titel": "cog"}, "invalid-document", "/titel"),
    ("date", {"since": "yesterday"}, "invalid-document", "/since"),
    ("member", {"more": {"a": {"b": 1e300}}}, "invalid-document", "/more/a/b"),
    ("id", {"id": "hulk"}, "invalid-document", "/id"),
    ("whole", {"price": 1.5}, "invalid-document", "/price"),
]

RULES: list[Case] = [
    ("filter", {"id": "r", "match": "always", "filter": "year > 1"}, "invalid-rule", "/filter"),
    ("nothing", {"id": "r", "q": "cog"}, "invalid-rule", ""),
    ("pins", {"id": "r", "q": "cog", "pin": [{"id": "a", "place": 1}, {"id": "a", "place": 2}]},
     "invalid-rule", "/pin/1/id"),
    ("pin", {"id": "r", "q": "cog", "pin": [{"id": "a", "place": 0}]}, "invalid-request",
     "/pin/0/place"),
]  # fmt: skip
SYNONYMS: list[Case] = [
    ("no word", {"id": "s", "words": ["cog", "!!"]}, "invalid-synonym", "/words/1"),
    ("of", {"id": "s", "words": ["cog"], "of": "-"}, "invalid-synonym", "/of"),
    ("one word", {"id": "s", "words": ["cog", "Cogs"]}, "invalid-synonym", "/words"),
]
CURATIONS: list[Case] = [
    ("synonym", {"synonyms": [{"id": "s", "words": ["cog"]}]}, "invalid-synonym",
     "/synonyms/0/words"),
    ("filter", {"rules": [{"id": "r", "match": "always", "filter": "price <"}]}, "invalid-rule",
     "/rules/0/filter"),
]  # fmt: skip


@pytest.fixture
def services() -> list[Service]:
    assert api  # it declares the handlers
    return [search]


class Client:
    """A site's owner with a key, over HTTP."""

    def __init__(self, cell: TestCell) -> None:
        self.cell = cell
        self._http = AsgiClient(cell.cell.app)
        self._headers: dict[str, str] = {}
        self._count = 0

    async def come_in(self) -> None:
        site = await self.cell.site()
        new = {"site": site.id, "body": NewKey("owner", ("search.*",))}
        key = await self.cell.runtime.do(create_key, OPERATOR, new)
        self._headers = {"authorization": f"Bearer {key.key}", "content-type": "application/json"}
        assert (await self.send("PUT", FLEET, {"schema": SCHEMA})).status == 200
        assert (await self.send("PUT", f"{FLEET}/documents/cog", {"title": "A cog"})).status == 200

    async def send(self, method: str, path: str, body: object) -> Reply:
        self._count += 1
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {**self._headers, "idempotency-key": f"key-of-a-test-{self._count:06d}"}
        return await self._http.send(method, path, raw, headers)


def place_of(reply: Reply) -> str:
    document = reply.json()
    if "position" in document:
        return str(document["position"])
    return str(document["errors"][0]["pointer"])


async def test_what_is_wrong_is_told_with_its_place(cell: TestCell) -> None:
    client = Client(cell)
    await client.come_in()
    wrong: list[str] = []
    for method, path, cases in (
        ("POST", f"{FLEET}/search", SEARCHES),
        ("PUT", "/search/collections/new", SCHEMAS),
        ("PUT", f"{FLEET}/documents/cog", DOCUMENTS),
        ("PUT", f"{FLEET}/rules/r", RULES),
        ("PUT", f"{FLEET}/synonyms/s", SYNONYMS),
        ("PUT", f"{FLEET}/curation", CURATIONS),
    ):
        for what, body, slug, place in cases:
            reply = await client.send(method, path, body)
            if reply.status not in (400, 422):
                wrong.append(f"{what} {body}: {reply.status} {reply.body[:200]!r}")
            elif (reply.slug, place_of(reply)) != (slug, place):
                wrong.append(f"{what} {body}: {reply.slug} at {place_of(reply)}, not {place}")
    assert wrong == []
    found = (await client.send("POST", f"{FLEET}/search", {"q": "cog", "change": 1})).json()
    assert [hit["document"]["title"] for hit in found["hits"]] == ["A cog"]


async def test_which_of_several_searches_is_wrong_is_told(cell: TestCell) -> None:
    client = Client(cell)
    await client.come_in()
    for wrong, pointer in (
        ({"sort": ["kind"]}, "/searches/1/sort/0"),
        ({"filter": "price <"}, "/searches/1"),
        ({"collection": "nowhere"}, "/searches/1"),
    ):
        body = {"searches": [{"collection": "fleet"}, {"collection": "fleet", **wrong}]}
        reply = await client.send("POST", "/search/multi", body)
        assert reply.json()["errors"][0]["pointer"] == pointer
        assert reply.json()["detail"].startswith("/searches/1: ")


async def test_what_is_no_json_is_told_with_its_place(cell: TestCell) -> None:
    client = Client(cell)
    await client.come_in()
    for raw in (b'{"q": "cog', b'{"q": "\xff"}', b"[]", b'{"q": "a"} x'):
        reply = await client.send("POST", f"{FLEET}/search", raw)
        assert reply.status == 400
        assert reply.slug in ("malformed-json", "invalid-request")
    lines = b'{"id":"a","title":"one"}\n{"id":"b","price":"dear"}\n{"id":\n{"id":"d"}\n'
    reply = await client.send("POST", f"{FLEET}/documents", lines)
    taken = reply.json()
    assert (reply.status, taken["taken"]) == (200, 2), taken
    places = [(one["line"], one["problem"].get("errors")) for one in taken["refused"]]
    assert [line for line, _ in places] == [2, 3]
    assert places[0][1][0]["pointer"] == "/price"


async def test_documents_in_an_array_are_told_to_stand_on_lines(cell: TestCell) -> None:
    client = Client(cell)
    await client.come_in()
    array = [{"id": "a", "title": "one"}, {"id": "b", "title": "two"}]
    for raw in (msgspec.json.encode(array), msgspec.json.format(msgspec.json.encode(array))):
        reply = await client.send("POST", f"{FLEET}/documents", raw)
        assert (reply.status, reply.slug) == (422, "invalid-document")
        assert "send one object a line (NDJSON), not an array" in reply.json()["detail"]
    lines = b"".join(map(msgspec.json.Encoder().encode_lines, [array]))
    reply = await client.send("POST", f"{FLEET}/documents", b"\xef\xbb\xbf" + lines)
    assert (reply.json()["taken"], reply.json()["refused"]) == (2, [])
    found = (await client.send("GET", f"{FLEET}/documents/a", b"")).json()
    assert found == array[0]


async def test_the_values_of_an_enumeration_are_told(cell: TestCell) -> None:
    client = Client(cell)
    await client.come_in()
    types = "bool, date, float, int, json, keyword, stored, text"
    use = {"query_id": "q", "type": "look", "id": "a", "place": 1, "visitor": "somebody"}
    for method, path, body, told in (
        ("PUT", "/search/collections/new", schema(field={"type": "string"}),
         f"/schema/fields/0/type: Invalid enum value 'string': expected one of {types}"),
        ("PUT", "/search/collections/new", schema(field={"type": "keywords"}),
         f"Invalid enum value 'keywords': did you mean keyword? Expected one of {types}"),
        ("PUT", f"{FLEET}/rules/r", {"id": "r", "match": "sometimes"}, "expected one of always,"),
        ("POST", "/search/events", use, "one of click"),
    ):  # fmt: skip
        reply = await client.send(method, path, body)
        assert (reply.status, reply.slug) == (400, "invalid-request"), reply
        assert told in reply.json()["detail"]
        assert reply.json()["errors"][0]["detail"] in reply.json()["detail"]


async def test_what_is_not_there_is_told_with_what_makes_it(cell: TestCell) -> None:
    client = Client(cell)
    await client.come_in()
    for method, path, slug in (
        ("POST", "/search/collections/fleat/search", "unknown-collection"),
        ("GET", f"{FLEET}/documents/nobody", "not-found"),
        ("PUT", "/search/collections/Fleet", "invalid-request"),
    ):
        reply = await client.send(method, path, {"schema": SCHEMA} if method == "PUT" else {})
        assert reply.slug == slug, reply


async def test_a_search_by_its_address_is_the_same_search(cell: TestCell) -> None:
    client = Client(cell)
    await client.come_in()
    hulks = [
        {"id": f"h{number}", "title": f"hulk number{number}", "kind": "ship", "price": number}
        for number in range(5)
    ]
    put = await client.send(
        "POST", f"{FLEET}/documents", b"\n".join(map(msgspec.json.encode, hulks))
    )
    asked = {"q": "hulk", "facets": [{"field": "kind"}], "sort": ["price"], "highlight": ["title"]}
    request = {
        **asked,
        "filter": "price > 0",
        "page": 2,
        "per_page": 3,
        "change": put.json()["change"],
    }
    posted = (await client.send("POST", f"{FLEET}/search", request)).json()
    query = "q=hulk&facets=kind&sort=price&highlight=title&filter=price%20%3E%200&page=2&per_page=3"
    reply = await client.send("GET", f"{FLEET}/search?{query}", b"")
    assert reply.status == 200, reply
    for name in ("found", "page", "hits", "facets"):
        assert reply.json()[name] == posted[name]
    assert [hit["document"]["id"] for hit in posted["hits"]] == ["h4"]
    assert (await client.send("GET", f"{FLEET}/search?page=0", b"")).slug == "invalid-request"
