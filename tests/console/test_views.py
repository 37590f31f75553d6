"""What stands on each page, and what its forms do, on both engines."""

import json
import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest

from hansa.assembly import OPERATOR
from hansa.console import MOUNT
from hansa.console.views import ROUTES
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.commands import deadline_in
from hansa.kernel.problems import Overloaded
from hansa.kernel.storage import PLATFORM
from hansa.platform.search.api import CollectionForm, Curation, Field, Pin, Rule, Schema, Synonym
from hansa.platform.sites.api import NewSite, TestClock, create_site
from hansa.testing.cell import TestCell
from tests.console import quay
from tests.console.visitor import Visitor, engineer, new_key, text_of
from tests.kernel.cells import DAWN
from tests.kernel.http.client import Reply

TRACE = "0af7651916cd43dd8448eb211c80319c"
EVIL = "<script>alert('x')</script>&\"'"
OPEN = "SELECT subscriber, event, site FROM hansa_deliveries WHERE state = 'parked'"
TOWED = "SELECT id FROM hansa_due WHERE name = 'quay.tow'"
PARKED = "/due?state=parked"
TOLD = "SELECT type, principal FROM hansa_events WHERE type LIKE 'interventions.%' ORDER BY type"


@dataclass
class World:
    """A cell with a site where something has gone wrong, and somebody who looks."""

    cell: TestCell
    visitor: Visitor
    site: str
    event: str
    message: str
    endpoint: str

    @property
    def named(self) -> dict[str, str]:
        return {"site": self.site, "subscriber": "quay.unload", "event": self.event}

    @property
    def places(self) -> dict[str, str]:
        """What the places in the addresses of pages stand for."""
        return {
            "name": "quay", "operation": "quay.arrive", "position": "1", "site": self.site,
            "id": self.message, "endpoint": self.endpoint, "number": "1", "trace": TRACE,
            "collection": "ships",
        }  # fmt: skip

    async def arrive(self, name: str, tonnes: int) -> None:
        await arrive(self.cell, self.site, name, tonnes)


async def arrive(cell: TestCell, site: str, name: str, tonnes: int) -> None:
    body = {"body": quay.Ship(name, tonnes)}
    await cell.runtime.do(quay.arrive, Caller(site, SYSTEM), body)
    await cell.rest()


async def ask(cell: TestCell, name: str, site: str, **arguments: Any) -> Any:
    operation = cell.runtime.by_id[name]
    for one in operation.parameters:
        if one.source == "body":
            arguments["body"] = one.type(**arguments["body"])
    return await cell.runtime.do(operation, Caller(site, SYSTEM), arguments)


async def fleet(cell: TestCell, site: str) -> None:
    """Make a collection with a ship in it, of which strangers say what they like."""
    fields = (Field("name", "text"), Field("flag", "keyword", facet=True))
    form = CollectionForm(Schema(fields, title="name"), "")
    body = {"name": EVIL, "flag": EVIL}
    await ask_as_is(cell, "search.put_collection", site, name="ships", body=form)
    await ask_as_is(cell, "search.put_document", site, name="ships", id="aurora", body=body)
    rule = Rule("all", "always", pin=(Pin("aurora", 1),))
    curation = Curation((Synonym("x", (EVIL, "ship")),), (EVIL,), (rule,))
    await ask_as_is(cell, "search.put_curation", site, name="ships", body=curation)


async def ask_as_is(cell: TestCell, name: str, site: str, /, **arguments: Any) -> Any:
    return await cell.runtime.do(cell.runtime.by_id[name], Caller(site, SYSTEM), arguments)


async def world(cell: TestCell, *permissions: str) -> World:
    form = NewSite(EVIL, hosts=("quay.example",))
    site = (await cell.runtime.do(create_site, OPERATOR, {"body": form})).id
    endpoint = await ask(
        cell, "webhooks.create_endpoint", site,
        body={"url": "https://hooks.example/in", "description": EVIL},
    )  # fmt: skip
    await fleet(cell, site)
    await arrive(cell, site, EVIL, 0)
    await cell.until_rows([("parked",)], "SELECT state FROM hansa_deliveries")
    await cell.until_rows([("parked",)], "SELECT state FROM hansa_due WHERE name = 'quay.tow'")
    await cell.until_rows([("kept",)], "SELECT state FROM mail_messages")
    await cell.until_rows([(1,)], "SELECT number FROM webhooks_messages LIMIT 1")
    event = (await cell.rows(OPEN))[0][1]
    message = (await cell.rows("SELECT id FROM mail_messages"))[0][0]
    visitor = await engineer(cell, *permissions)
    return World(cell, visitor, site, event, message, endpoint.endpoint.id)


async def see(visitor: Visitor, path: str) -> Reply:
    """Return a page, and check that no stranger's text is a part of it."""
    reply = await visitor.get(path)
    page = reply.body.decode()
    if not path.endswith("/html"):
        assert "<script>" not in page, path
        assert "alert('x')" not in page, path
        assert " style=" not in page, path
    return reply


async def test_every_page_answers_and_escapes(cell: TestCell) -> None:
    here = await world(cell)
    for path, _, method in ROUTES:
        if method != "GET":
            continue
        path = re.sub(r"\{(\w+)\}", lambda found: here.places[found[1]], path)
        if path == "/deliveries/one":
            path += f"?subscriber=quay.unload&event={here.event}"
        if path == "/due/one":
            path += f"?site={here.site}&id={(await cell.rows(TOWED))[0][0]}".replace("&", "%26", 0)
            path = path.replace("<", "%3C").replace('"', "%22").replace('&"', "%26%22")
            path = path.replace("</script>&", "</script>%26").replace("script>&", "script>%26")
        reply = await see(here.visitor, path)
        assert reply.status == (404 if TRACE in path else 200), (path, text_of(reply))


async def test_lists_name_what_is_there(cell: TestCell) -> None:
    here = await world(cell)
    for path, *words in (
        ("/", "1 parked deliveries", "quay.ship_arrived"),
        ("/services", "Ships arrive", "quays", "quay tells → quay"),
        ("/services/quay", "POST /quay/ships", "heard by quay.unload", "quay.tow"),
        ("/api?find=ships", "/quay/ships", "2 operations like that"),
        ("/api/quay.arrive", "quay.ships:write", '"tonnes"'),
        ("/log?type=quay.ship_arrived", "quay.ship_arrived"),
        ("/log/1", "sites.site_created"),
        (f"/log?site={here.site}", "quay:"),
        ("/deliveries", "quay.unload", "carries nothing", "Replay"),
        ("/deliveries?state=waiting", "None is waiting"),
        ("/due?state=parked", "quay.tow", "cannot be found", "Retry"),
        ("/sites", "active", here.site),
        (f"/sites/{here.site}", "quay.example", "mail.smtp not set, secret"),
        ("/mail", "is here", "kept"),
        (f"/mail/{here.site}/{here.message}", "pilot@quay.example", "As its readers see it"),
        ("/webhooks", "https://hooks.example/in"),
        (f"/webhooks/{here.site}/{here.endpoint}", "quay.ship_arrived"),
        (f"/search?site={here.site}", "ships", "the API", "find all"),
        (f"/search/{here.site}/ships?q=alert", "1 document", "pinned", "Why here"),
        (f"/search/{here.site}/ships/words", "Synonyms", "Stop words"),
        (f"/search/{here.site}/ships/rules", "every query", "pins aurora to 1"),
        (f"/search/{here.site}/ships/json", '"match": "always"'),
        (f"/search/{here.site}/ships/analytics", "Nobody has searched yet"),
        ("/find?q=unload", "quay.unload", "hears quay.ship_arrived"),
        ("/problems", "invalid-filter", "422"),
        ("/cells", "0001", "quay.unload", "up to date", "expand"),
    ):
        told = text_of(await see(here.visitor, path))
        for word in words:
            assert word in told, (path, word, told)


async def test_what_is_not_there_is_told(cell: TestCell) -> None:
    visitor = await engineer(cell)
    for path, status in (
        ("/services/nothing", 404),
        ("/api/nothing", 404),
        ("/log/99999", 404),
        ("/log/word", 404),
        ("/log?before=word", 400),
        ("/log?type=" + "x" * 300, 400),
        ("/deliveries?state=odd", 400),
        ("/deliveries?cursor=odd", 400),
        ("/deliveries/one?subscriber=a&event=b", 404),
        ("/due?state=odd", 400),
        ("/due?cursor=W10", 400),
        ("/due/one?site=a&id=b", 404),
        ("/sites/site_none", 404),
        ("/sites?find=nowhere.example", 404),
        ("/mail/site_none/mail_none", 404),
        ("/webhooks/site_none/whe_none", 404),
        ("/webhooks/a/b/c", 404),
    ):
        reply = await visitor.get(path)
        assert reply.status == status, (path, text_of(reply))
        assert b"Traceback" not in reply.body


async def test_a_parked_event_is_edited_and_replayed(cell: TestCell) -> None:
    here = await world(cell)
    page = f"/deliveries/one?subscriber=quay.unload&event={here.event}"
    assert "carries nothing" in text_of(await see(here.visitor, page))
    bad = await here.visitor.submit(page, "/deliveries/replay", **here.named, data='{"tonnes": 1}')
    assert (bad.status, "This is no quay.ship_arrived" in text_of(bad)) == (422, True)
    data = json.dumps({"name": EVIL, "tonnes": 3})
    done = await here.visitor.submit(page, "/deliveries/replay", **here.named, data=data)
    assert done.status == 200
    await cell.until_rows([], "SELECT state FROM hansa_deliveries")
    told = await cell.rows(TOLD)
    assert [kind for kind, _ in told] == ["interventions.delivery_replayed"]
    assert told[0][1].startswith("key_")


async def test_deliveries_are_skipped_and_due_work_retried_and_cancelled(cell: TestCell) -> None:
    here = await world(cell)
    visitor, submit = here.visitor, here.visitor.submit
    assert (await submit("/deliveries", "/deliveries/skip", **here.named)).status == 200
    await cell.until_rows([("skipped",)], "SELECT state FROM hansa_deliveries")
    again = await submit("/deliveries?state=skipped", "/deliveries/skip", **here.named)
    assert again.status == 404
    id = (await cell.rows(TOWED))[0][0]
    row = {"site": here.site, "id": id}
    edited = json.dumps({"name": "Ghost", "tonnes": 2})
    assert (await submit("/due", "/due/retry", **row, arguments=edited)).status == 200
    await cell.until_rows([], TOWED)
    await here.arrive("Second", 0)
    await cell.until_rows([("tow:Second",)], TOWED + " AND state = 'parked'")
    row = {"site": here.site, "id": "tow:Second"}
    assert (await submit("/due", "/due/cancel", **row)).status == 200
    assert await cell.rows(TOWED) == []
    assert (await submit("/due", "/due/cancel", **row)).status == 404
    assert (await visitor.post("/due/cancel", row)).status == 403
    assert [kind.partition(".")[2] for kind, _ in await cell.rows(TOLD)] == [
        "delivery_skipped", "due_cancelled", "due_retried",
    ]  # fmt: skip


async def test_due_work_that_is_being_done_is_not_cancelled(cell: TestCell) -> None:
    here = await world(cell)
    leased = "UPDATE hansa_due SET lease_until_us = {} WHERE name = 'quay.tow'"
    (due,) = (await cell.rows("SELECT id FROM hansa_due WHERE name = 'quay.tow'"))[0]
    row = {"site": here.site, "id": due}
    later_us = cell.runtime.clock.now_us() + 60_000_000
    await cell.runtime.storage.write(
        lambda session: session.run(leased.format(later_us)),
        site=PLATFORM, deadline=deadline_in(30), across=True,
    )  # fmt: skip
    page = await here.visitor.submit("/due", "/due/cancel", **row)
    assert page.status == 409
    assert "being done" in text_of(page)


async def test_where_nobody_can_be_known_the_door_says_why(
    cell: TestCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = await engineer(cell)

    async def away(key: str) -> None:
        raise Overloaded("The sites cannot be reached.", retry_after_s=1)

    monkeypatch.setattr(cell.cell.directory, "holder_of", away)
    for path in ("/log", "/login", "/nowhere"):
        page = await visitor.get(path)
        assert page.status == 503
        assert "The sites cannot be reached." in text_of(page)


async def test_all_that_is_shown_is_tried_again(cell: TestCell) -> None:
    visitor, site = await engineer(cell), await cell.site()
    names = [f"s{number}" for number in range(3)]
    await cell.runtime.do(quay.sail_in, Caller(site.id, SYSTEM), {"body": quay.Fleet(tuple(names))})
    for name in ("Ghost", "Second"):
        await arrive(cell, site.id, name, 0)
    parked = "SELECT count(*) FROM {} WHERE state = 'parked'"
    await cell.until_rows([(5,)], parked.format("hansa_deliveries"))
    await cell.until_rows([(2,)], parked.format("hansa_due"))
    shown = {path: shown_on(await see(visitor, path)) for path in ("/deliveries", PARKED)}
    await arrive(cell, site.id, "Late", 0)  # what comes after the page is left alone
    await cell.until_rows([(6,)], parked.format("hansa_deliveries"))
    page = await visitor.submit(
        "/deliveries", "/deliveries/replay-shown", shown=shown["/deliveries"]
    )
    assert page.status == 200
    assert (await visitor.submit(PARKED, "/due/retry-shown", shown=shown[PARKED])).status == 200
    told = [kind.partition(".")[2] for kind, _ in await cell.rows(TOLD)]
    assert told == ["delivery_replayed"] * 5 + ["due_retried"] * 2
    await cell.until_rows([(6,)], parked.format("hansa_deliveries"))
    for wrong in ("", "{}", "[[]]", '[["a"]]', json.dumps([["a", "b", "c"]] * 51)):
        refused = await visitor.submit("/deliveries", "/deliveries/replay-shown", shown=wrong)
        assert refused.status == 400, wrong


def shown_on(page: Reply) -> str:
    """Return what a button for all that is shown would send."""
    return unescape(re.findall(r'name="shown" value="([^"]*)"', page.body.decode())[0])


async def test_who_may_only_look_changes_nothing(cell: TestCell) -> None:
    here = await world(cell, "platform.sites:across")
    page = await see(here.visitor, "/deliveries")
    assert "Replay" not in text_of(page)
    for path, fields in (
        ("/deliveries/skip", here.named),
        ("/deliveries/replay", here.named),
        ("/deliveries/replay-shown", {"shown": f'[["{here.site}", "a", "b"]]'}),
        ("/due/retry-shown", {"shown": f'[["{here.site}", "a"]]'}),
        ("/due/cancel", {"site": here.site, "id": "x"}),
        (f"/mail/{here.site}/{here.message}/retry", {}),
        (f"/webhooks/{here.site}/{here.endpoint}/1/skip", {}),
        (f"/sites/{here.site}/clock", {"step": "a day"}),
    ):
        assert (await here.visitor.submit("/", path, **fields)).status == 403, path
    for path in ("/sites", "/mail", "/webhooks"):
        assert (await here.visitor.get(path)).status == 403
    assert await cell.rows(TOLD) == []


async def test_a_mail_of_html_is_shown_where_nothing_gets_out(cell: TestCell) -> None:
    here = await world(cell)
    page = (await see(here.visitor, f"/mail/{here.site}/{here.message}")).body.decode()
    frame = re.search(r"<iframe[^>]* sandbox src=\"([^\"]+)\"", page)
    assert frame
    reply = await here.visitor.get(frame[1].removeprefix(MOUNT))
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy and "allow-" not in policy
    assert f"<h1>{EVIL}</h1>" in reply.body.decode()
    retried = f"/mail/{here.site}/{here.message}/retry"
    assert (await here.visitor.submit("/", retried)).status == 200


async def test_a_list_goes_on_where_it_ended(cell: TestCell) -> None:
    visitor, site = await engineer(cell), await cell.site()
    names = [f"s{number:03}" for number in range(110)]
    body = {"body": quay.Fleet(tuple(names))}
    await cell.runtime.do(quay.sail_in, Caller(site.id, SYSTEM), body)
    await cell.rest()
    wanted = set(names)
    for path, column in (("/log?type=quay.ship_arrived", "log"), ("/deliveries", "deliveries")):
        found: list[str] = []
        pages = 0
        while path:
            page = (await visitor.get(path)).body.decode()
            pages += 1
            found += re.findall(r"<code>quay:(s\d{3})</code>", page)
            more = re.search(r'class="more" href="/hansa([^"]+)"', page)
            path = unescape(more[1]) if more else ""
        assert (pages, len(found), set(found)) == (3, 110, wanted), column


async def test_an_operation_is_tried_as_from_outside(cell: TestCell) -> None:
    here = await world(cell)
    path = "/api/quay.arrive"
    fields = {"site": here.site, "body": '{"name": "Hope", "tonnes": 4}'}
    assert "401" in text_of(await here.visitor.submit(path, path, **fields))
    key = (await new_key(cell, "quay.ships:write", site=here.site)).key
    told = text_of(await here.visitor.submit(path, path, **fields, key=key))
    assert "201 in" in told and '"name": "Hope"' in told
    wrong = {**fields, "body": '{"name": 3}'}
    told = text_of(await here.visitor.submit(path, path, **wrong, key=key))
    assert "422 in" in told or "400 in" in told
    found = await cell.rows("SELECT count(*) FROM hansa_events WHERE aggregate = 'quay:Hope'")
    assert found == [(1,)]


async def test_a_test_clock_is_moved_by_a_button(cell: TestCell) -> None:
    visitor = await engineer(cell)
    form = NewSite("clocked", clock=TestClock(DAWN))
    site = (await cell.runtime.do(create_site, OPERATOR, {"body": form})).id
    assert "2026-01-01 00:00:00" in text_of(await visitor.get(f"/sites/{site}"))
    page = await visitor.submit(f"/sites/{site}", f"/sites/{site}/clock", step="a day")
    assert "2026-01-02 00:00:00" in text_of(page)
    odd = await visitor.submit(f"/sites/{site}", f"/sites/{site}/clock", step="a year")
    assert odd.status == 400


async def test_a_webhook_is_sent_again_and_skipped(cell: TestCell) -> None:
    here = await world(cell)
    page = f"/webhooks/{here.site}/{here.endpoint}/1"
    await cell.run("UPDATE webhooks_deliveries SET state = 'failed' WHERE number = 1")
    again = await here.visitor.submit(page, page + "/replay")
    assert again.status == 200
    assert "failed" not in text_of(again).partition("Attempts")[0]
    assert PLATFORM not in text_of(again)
