"""Who is let in, and what a form must bring."""

from datetime import UTC, datetime, timedelta

from hansa.assembly import OPERATOR
from hansa.console.views import ROUTES
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.api import NewKey, create_key, revoke_key
from hansa.testing.cell import TestCell
from tests.console.visitor import HERE, Visitor, engineer, new_key, text_of


async def test_nobody_sees_anything_without_a_session(cell: TestCell) -> None:
    visitor = Visitor(cell)
    for path, _, method in ROUTES:
        path = path.replace("{", "").replace("}", "")
        reply = await (visitor.get(path) if method == "GET" else visitor.post(path, {}))
        assert (reply.status, reply.body) == (303, b""), path
        assert reply.headers["location"].startswith("/hansa/login?next=")
    assert (await visitor.get("/live")).status == 303
    assert (await visitor.get("/nothing")).status == 303
    assert "password" in (await visitor.get("/login")).body.decode()


async def test_a_key_of_the_platform_opens_them_and_the_cookie_is_kept_close(
    cell: TestCell,
) -> None:
    visitor = Visitor(cell)
    key = await new_key(cell)
    reply = await visitor.post("/login?next=/hansa/services", {"key": key.key})
    assert (reply.status, reply.headers["location"]) == (303, "/hansa/services")
    cookie = reply.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/hansa", "Max-Age=43200"} <= set(
        cookie.split("; ")
    )
    assert key.key not in cookie
    assert "Secure" not in cookie
    secure = await visitor.post("/login", {"key": key.key}, {**HERE, "x-forwarded-proto": "https"})
    assert "Secure" in secure.headers["set-cookie"].split("; ")
    visitor.cookie = cookie.partition(";")[0]
    assert (await visitor.get("/")).status == 200
    assert (await visitor.get("")).status == 200
    assert (await visitor.get("/nothing")).status == 404


async def test_a_key_of_a_site_or_without_the_permission_is_refused(cell: TestCell) -> None:
    visitor = Visitor(cell)
    site = await cell.site()
    for key, told in (
        (await new_key(cell, site=site.id), "a key of one site"),
        (await new_key(cell, "platform.keys:read"), "platform.sites:across"),
    ):
        reply = await visitor.login(key.key)
        assert reply.status == 403
        assert told in text_of(reply)
        assert "set-cookie" not in reply.headers
    for nonsense in ("", "hansa_no_key", (await new_key(cell)).key[:-1] + "u"):
        assert (await visitor.login(nonsense)).status == 401


async def test_a_session_ends_with_its_key(cell: TestCell) -> None:
    key = await new_key(cell)
    visitor = Visitor(cell)
    await visitor.login(key.key)
    assert (await visitor.get("/")).status == 200
    await cell.runtime.do(revoke_key, OPERATOR, {"site": PLATFORM, "key": key.id})
    assert (await visitor.get("/")).status == 303
    assert (await visitor.login(key.key)).status == 401
    ended = NewKey("ended", ("*",), datetime.now(UTC) + timedelta(days=1))
    made = await cell.runtime.do(create_key, OPERATOR, {"site": PLATFORM, "body": ended})
    assert (await visitor.login(made.key)).status == 303


async def test_forms_of_other_places_are_refused(cell: TestCell) -> None:
    visitor = await engineer(cell)
    key = (await new_key(cell)).key
    strange = {"host": HERE["host"], "origin": "https://evil.test"}
    reply = await visitor.post("/login", {"key": key}, strange)
    assert reply.status == 403
    for fields, headers in (
        ({}, HERE),
        ({"token": "0" * 64}, HERE),
        ({"token": "token"}, strange),
    ):
        assert (await visitor.post("/logout", fields, headers)).status == 403
    page = (await visitor.get("/")).body.decode()
    token = page.partition('name="token" value="')[2][:64]
    assert (await visitor.post("/logout", {"token": token}, strange)).status == 403
    other = await engineer(cell)
    assert (await other.post("/logout", {"token": token})).status == 403
    done = await visitor.post("/logout", {"token": token})
    assert (done.status, done.headers["location"]) == (303, "/hansa/login")
    assert 'hansa_session=""' in done.headers["set-cookie"]


async def test_the_way_after_the_login_stays_here(cell: TestCell) -> None:
    visitor = await engineer(cell)
    for way in ("https://evil.test/", "//evil.test", "/hansa\\evil", "/commerce", "/hansa/ %0d"):
        reply = await visitor.get(f"/login?next={way.replace(' ', '%20')}")
        assert reply.headers["location"] == "/hansa/", way


async def test_each_answer_is_protected(cell: TestCell) -> None:
    visitor = await engineer(cell)
    for path in ("/", "/login", "/static/pages.css", "/static/nothing", "/services/nothing"):
        headers = (await visitor.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    page = (await visitor.get("/services")).body.decode()
    assert "no-store" in (await visitor.get("/services")).headers["cache-control"]
    assert " style=" not in page
    assert " onclick" not in page
    script = page.partition('<script src="')[2].partition('"')[0]
    static = await visitor.get(script.removeprefix("/hansa"))
    assert "immutable" in static.headers["cache-control"]
