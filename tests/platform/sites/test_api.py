"""The operations on sites do what they say, refuse precisely, and give no secret away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hansa.kernel import codec
from hansa.kernel.caller import SYSTEM, Caller, Principal
from hansa.kernel.migrating import migrate
from hansa.kernel.operation import INTERNAL, Operation
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.problems import (
    Conflict,
    Denied,
    NotFound,
    Problem,
    Unauthenticated,
    Unprocessable,
)
from hansa.kernel.rate import Rate
from hansa.kernel.runtime import Runtime
from hansa.kernel.schema import differences
from hansa.kernel.sealing import Sealer
from hansa.kernel.site_limits import DEFAULT_LIMITS, SiteLimits
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import PLATFORM, Session, Storage
from hansa.kernel.structs import PageRequest, Secret
from hansa.platform.sites import api, tables
from hansa.platform.sites import sites as service
from hansa.platform.sites.api import NewHost, NewKey, NewSite, SiteChange, TestClock
from hansa.platform.sites.api.clocks import NewTime
from hansa.platform.sites.api.settings import NewValue
from hansa.platform.sites.directory import FRESH_S, Directory
from hansa.platform.sites.limits import LIMITS
from hansa.platform.sites.memory import COMMAND_S
from hansa.platform.sites.rows import CellRows
from hansa.testing.postgres import Cluster

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - an instant without its offset, to be refused
OPERATOR = Caller(PLATFORM, SYSTEM)
PAGE = PageRequest()
TOKEN = api.setting("sitestest.token", Secret, Secret(""), "What opens it.", secret=True)
LIMIT = api.setting("sitestest.limit", int, 5, "How many.")


class World:
    """The service running on a cell, with a log that can be read."""

    def __init__(self, storage: Storage) -> None:
        sealer = Sealer([b"m" * 32])
        self.storage = storage
        self.monotonic_s = 0.0
        self.runtime: Runtime
        self.directory = Directory(
            CellRows(storage),
            sealer,
            self,
            alone=storage.dialect == "sqlite",
            monotonic=lambda: self.monotonic_s,
        )
        self.runtime = Runtime([service], storage, self.directory, sealer)

    def now_us(self) -> int:
        """The machine's clock."""
        return self.runtime.clock.now_us()

    async def do(
        self, operation: Operation[..., Any], *, caller: Caller = OPERATOR, **arguments: Any
    ) -> Any:
        """Run an operation as an operator."""
        return await self.runtime.do(operation, caller, arguments)

    async def site(self, **values: Any) -> api.Site:
        """Make a site."""
        made: api.Site = await self.do(api.create_site, body=NewSite("Tea", **values))
        return made

    async def log(self) -> list[tuple[str, Any]]:
        """Return the names and the data of all events."""

        async def body(session: Session) -> list[tuple[str, Any]]:
            rows = await session.fetch(
                "SELECT type, data FROM hansa_events ORDER BY at_us, aggregate, seq"
            )
            return [(row[0], msgspec.json.decode(row[1])) for row in rows]

        return await self.storage.read(body, site=PLATFORM, deadline=time.monotonic() + 10)


def run(storage: Storage, body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        await storage.open()
        try:
            await migrate(storage, [service])
            await body(World(storage))
        finally:
            await storage.close()

    asyncio.run(main())


async def refused(call: Awaitable[Any], kind: type[Problem]) -> Problem:
    with pytest.raises(kind) as refusal:
        await call
    return refusal.value


def test_what_is_declared_is_what_is_migrated(
    storage: Storage, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async def body(world: World) -> None:
        empty: Storage = SqliteStorage(tmp_path / "empty.db", synchronous="OFF")
        if storage.dialect == "postgresql":
            cluster: Cluster = request.getfixturevalue("postgres_cluster")
            dsns = await cluster.database()
            empty = PostgresStorage(dsns.application, owner_dsn=dsns.owner)
        await empty.open()
        try:
            assert await differences(storage, empty, [service]) == []
        finally:
            await empty.close()

    run(storage, body)


# ---- sites


def test_a_site_is_made_read_changed_and_listed(storage: Storage) -> None:
    async def body(world: World) -> None:
        site = await world.site(
            locale="de-ch", currency="CHF", zone="Europe/Zurich", hosts=("Tea.Example",)
        )
        assert (site.locale, site.currency, site.state) == ("de-CH", "CHF", "active")
        assert await world.do(api.get_site, site=site.id) == site
        info = await world.directory.by_host("tea.example")
        assert info is not None and info.id == site.id
        changed = await world.do(
            api.change_site, site=site.id, body=SiteChange(name=" Ink ", state="suspended")
        )
        assert (changed.name, changed.state, changed.zone) == ("Ink", "suspended", "Europe/Zurich")
        info = await world.directory.by_id(site.id)
        assert info is not None and info.state == "suspended"
        other = await world.site()
        first = await world.do(api.list_sites, page=PageRequest(limit=1))
        assert first.items == [changed] and first.next
        second = await world.do(api.list_sites, page=PageRequest(1, first.next))
        assert second.items == [other] and second.next is None
        assert [name for name, _ in await world.log()] == [
            "sites.site_created", "sites.host_added", "sites.site_changed", "sites.site_created",
        ]  # fmt: skip

    run(storage, body)


def test_all_that_is_wrong_is_told_at_once(storage: Storage) -> None:
    async def body(world: World) -> None:
        wrong = NewSite(" ", "de_DE", "euro", "Berlin", ("a b",), TestClock(NAIVE))
        problem = await refused(world.do(api.create_site, body=wrong), Unprocessable)
        assert [fault.pointer for fault in problem.errors] == [
            "/name", "/locale", "/currency", "/zone", "/hosts", "/clock/now",
        ]  # fmt: skip
        assert await world.log() == []
        many = NewSite("x", hosts=tuple(f"h{number}.example" for number in range(21)))
        await refused(world.do(api.create_site, body=many), Unprocessable)
        site = await world.site()
        change = SiteChange(zone="Nowhere")
        await refused(world.do(api.change_site, site=site.id, body=change), Unprocessable)

    run(storage, body)


def test_a_site_that_is_not_there(storage: Storage) -> None:
    async def body(world: World) -> None:
        none = "site_01h455vb4pex5vsknk084sn02q"
        for call in (
            world.do(api.get_site, site=none),
            world.do(api.change_site, site=none, body=SiteChange(name="x")),
            world.do(api.add_host, site=none, body=NewHost("a.example")),
            world.do(api.list_hosts, site=none, page=PAGE),
            world.do(api.remove_host, site=none, host="a.example"),
            world.do(api.create_key, site=none, body=NewKey("x", ("*",))),
            world.do(api.list_keys, site=none, page=PAGE),
            world.do(api.revoke_key, site=none, key=none),
            world.do(api.list_settings, site=none),
            world.do(api.set_setting, site=none, name=LIMIT.name, body=NewValue(1)),
            world.do(api.get_clock, site=none),
        ):
            await refused(call, NotFound)
        assert await world.log() == []

    run(storage, body)


def test_everything_here_is_for_the_platform_only(storage: Storage) -> None:
    async def body(world: World) -> None:
        site = await world.site()
        owner = Caller(site.id, Principal("key_x", frozenset({"*"}), "key", site.id))
        public = Caller(site.id, Principal("public", frozenset(), "public", PLATFORM))
        for operation in service.operations.values():
            assert operation.scope == "platform"
            await refused(world.do(operation, caller=owner), Denied)
            if operation.needs is INTERNAL:  # what the directories of other processes ask
                await refused(world.do(operation, caller=public), Denied)
                continue
            assert str(operation.needs).startswith("platform.")
            await refused(world.do(operation, caller=public), Unauthenticated)

    run(storage, body)


# ---- hosts


def test_a_host_leads_to_one_site(storage: Storage) -> None:
    async def body(world: World) -> None:
        tea, ink = await world.site(hosts=("tea.example",)), await world.site()
        assert await world.directory.by_host("ink.example") is None
        added = await world.do(api.add_host, site=ink.id, body=NewHost("INK.example."))
        assert added.host == "ink.example"
        info = await world.directory.by_host("ink.example")
        assert info is not None and info.id == ink.id
        taken = await refused(
            world.do(api.add_host, site=ink.id, body=NewHost("tea.example")), Conflict
        )
        assert taken.slug == "already-exists"
        await refused(
            world.do(api.create_site, body=NewSite("x", hosts=("tea.example",))), Conflict
        )
        await refused(world.do(api.remove_host, site=ink.id, host="tea.example"), NotFound)
        page = await world.do(api.list_hosts, site=tea.id, page=PAGE)
        assert [host.host for host in page.items] == ["tea.example"]
        await world.do(api.remove_host, site=tea.id, host="tea.example")
        assert await world.directory.by_host("tea.example") is None
        await refused(world.do(api.add_host, site=ink.id, body=NewHost("10.0.0.1")), Unprocessable)

    run(storage, body)


def test_a_host_is_found_among_those_of_all_sites(storage: Storage) -> None:
    async def body(world: World) -> None:
        tea = await world.site(hosts=("tea.example", "bücher.example", "localhost"))
        ink = await world.site(hosts=("ink.example",))
        every = (await world.do(api.find_hosts, page=PAGE)).items
        assert [(one.host, one.site) for one in every] == [
            ("ink.example", ink.id), ("localhost", tea.id), ("tea.example", tea.id),
            ("xn--bcher-kva.example", tea.id),
        ]  # fmt: skip
        for host in ("TEA.example.", "tea.example:8400", "Bücher.example", "127.0.0.1:8400"):
            (one,) = (await world.do(api.find_hosts, page=PAGE, host=host)).items
            assert one.site == tea.id, host
        for host in ("", "nobody.example", "a b", "[", "é" * 300):
            assert not (await world.do(api.find_hosts, page=PAGE, host=host)).items, host

    run(storage, body)


# ---- keys


def test_a_key_is_shown_once_and_opens_until_it_is_revoked(storage: Storage) -> None:
    async def body(world: World) -> None:
        site = await world.site()
        made = await world.do(
            api.create_key, site=site.id, body=NewKey("till", ("commerce.*", "commerce.*"))
        )
        bearer = f"Bearer {made.key}"
        caller = await world.directory.authenticate(bearer, "", "")
        assert caller.site == site.id
        assert caller.principal.permissions == {"commerce.*"}
        page = await world.do(api.list_keys, site=site.id, page=PAGE)
        assert [key.id for key in page.items] == [made.id]
        secret = str(made.key).rpartition("_")[2]
        assert secret not in codec.encode(page).decode()
        assert secret not in repr(await world.log()) + repr(made)
        other = await world.site()
        await refused(world.do(api.revoke_key, site=other.id, key=made.id), NotFound)
        await world.do(api.revoke_key, site=site.id, key=made.id)
        await world.do(api.revoke_key, site=site.id, key=made.id)
        for _ in range(2):
            await refused(world.directory.authenticate(bearer, "", ""), Unauthenticated)
            world.monotonic_s += COMMAND_S
        names = [name for name, _ in await world.log()]
        assert names.count("sites.key_revoked") == 1

    run(storage, body)


def test_the_operators_key_belongs_to_the_platform(storage: Storage) -> None:
    async def body(world: World) -> None:
        made = await world.do(api.create_key, site=PLATFORM, body=NewKey("operator", ("*",)))
        caller = await world.directory.authenticate(f"Bearer {made.key}", "", "")
        assert caller.site == caller.principal.home == PLATFORM
        await world.do(api.list_sites, caller=caller, page=PAGE)

    run(storage, body)


def test_nobody_gives_what_they_do_not_have(storage: Storage) -> None:
    async def body(world: World) -> None:
        site = await world.site()
        clerk = Caller(
            PLATFORM,
            Principal("key_c", frozenset({"platform.keys:write", "crm.*"}), "key", PLATFORM),
        )
        problem = await refused(
            world.do(api.create_key, caller=clerk, site=site.id, body=NewKey("x", ("*", "crm.*"))),
            Denied,
        )
        assert "*" in problem.detail and "crm" not in problem.detail
        await world.do(api.create_key, caller=clerk, site=site.id, body=NewKey("x", ("crm.a:b",)))
        wrong = NewKey("", ("nonsense",), NAIVE)
        problem = await refused(world.do(api.create_key, site=site.id, body=wrong), Unprocessable)
        assert len(problem.errors) == 3

    run(storage, body)


# ---- settings


def test_settings_are_set_reset_and_kept_secret(storage: Storage, tmp_path: Path) -> None:
    async def body(world: World) -> None:
        site = (await world.site()).id
        before = await world.do(api.get_setting, site=site, name=LIMIT.name)
        assert (before.value, before.is_set) == (5, False)
        after = await world.do(api.set_setting, site=site, name=LIMIT.name, body=NewValue(7))
        assert (after.value, after.is_set) == (7, True)
        await world.do(api.set_setting, site=site, name=LIMIT.name, body=NewValue(8))
        assert await world.directory.setting(site, LIMIT) == 8
        await world.do(api.set_setting, site=site, name=TOKEN.name, body=NewValue("hunter2"))
        assert await world.directory.setting(site, TOKEN) == "hunter2"
        every = await world.do(api.list_settings, site=site)
        shown = {one.name: (one.value, one.is_set) for one in every}
        assert shown[TOKEN.name] == (None, True)
        assert shown[LIMIT.name] == (8, True)
        problem = await refused(
            world.do(api.set_setting, site=site, name=LIMIT.name, body=NewValue("many")),
            Unprocessable,
        )
        assert [fault.pointer for fault in problem.errors] == ["/value"]
        await refused(
            world.do(api.set_setting, site=site, name="no.such", body=NewValue(1)), NotFound
        )
        await world.do(api.reset_setting, site=site, name=LIMIT.name)
        await world.do(api.reset_setting, site=site, name=LIMIT.name)
        assert await world.directory.setting(site, LIMIT) == 5
        log = await world.log()
        assert [name for name, _ in log].count("sites.setting_changed") == 4
        assert "hunter2" not in repr(log)

    run(storage, body)
    assert all(b"hunter2" not in file.read_bytes() for file in tmp_path.iterdir())


# ---- clocks


def test_only_a_site_made_with_a_clock_can_be_moved(storage: Storage) -> None:
    async def body(world: World) -> None:
        start = datetime.fromisoformat("2030-01-01T00:00:00+00:00")
        site = (await world.site(clock=TestClock(start))).id
        state = await world.do(api.get_clock, site=site)
        assert state.now == state.target == start
        later = start + timedelta(days=365)
        moved = await world.do(api.advance_clock, site=site, body=NewTime(later))
        assert moved.now == moved.target == later
        await refused(world.do(api.advance_clock, site=site, body=NewTime(start)), Problem)
        naive = NewTime(NAIVE)
        await refused(world.do(api.advance_clock, site=site, body=naive), Unprocessable)
        real = (await world.site()).id
        await refused(world.do(api.get_clock, site=real), Conflict)
        await refused(world.do(api.advance_clock, site=real, body=NewTime(later)), Conflict)

    run(storage, body)


# ---- limits (issue 2: create <= 5 ms)


def test_making_a_site_is_one_transaction(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured at 0.3 ms on SQLite; how long it may take is for the benchmarks to judge."""

    async def body(world: World) -> None:
        writes: list[str] = []
        write = storage.write

        async def counted(*args: Any, **more: Any) -> Any:
            writes.append(more["site"])
            return await write(*args, **more)

        monkeypatch.setattr(storage, "write", counted)
        await world.site(hosts=("a.example", "b.example"))
        assert writes == [PLATFORM]

    run(storage, body)


# ---- limits


def test_limits_of_a_site_hold_for_its_callers_within_a_second(storage: Storage) -> None:
    async def body(world: World) -> None:
        site = (await world.site()).id
        made = await world.do(api.create_key, site=site, body=NewKey("k", ("sitestest.*",)))
        operator = await world.do(api.create_key, site=PLATFORM, body=NewKey("o", ("*",)))

        async def limits(key: str) -> SiteLimits:
            bearer = f"Bearer {key}" if key else ""
            return (await world.directory.authenticate(bearer, "", site)).limits

        async def put(value: Any, caller: Caller = OPERATOR) -> None:
            new = NewValue(value)
            await world.do(api.set_setting, caller=caller, site=site, name=LIMITS.name, body=new)

        assert await limits(made.key) is DEFAULT_LIMITS
        await put({"site": {"per_s": 5, "burst": 9}})
        world.monotonic_s += FRESH_S
        assert await limits(made.key) == await limits("") == SiteLimits(Rate(5, 9))
        assert await limits(operator.key) is DEFAULT_LIMITS
        own = Caller(site, Principal("k", frozenset({"*"}), "key", site))
        await refused(put({}, own), Denied)  # it is the operator's to say
        for wrong in ({"site": {"per_s": 0, "burst": 9}}, {"at_once": 0}, {"x": 1}, 5):
            await refused(put(wrong), Unprocessable)
        await world.do(api.reset_setting, site=site, name=LIMITS.name)
        world.monotonic_s += FRESH_S
        assert await limits(made.key) is DEFAULT_LIMITS

    run(storage, body)


def test_limits_of_another_release_do_not_shut_a_site(storage: Storage) -> None:
    async def body(world: World) -> None:
        site = (await world.site()).id

        async def write(ctx: Any) -> None:
            await ctx.db.insert(
                tables.settings, site_id=site, name=LIMITS.name, value=b'{"of": "tomorrow"}',
                is_sealed=False, changed_at=ctx.now,
            )  # fmt: skip

        await world.runtime.commit(write, site=PLATFORM, cause="test", service="sites")
        assert (await world.directory.authenticate("", "", site)).limits is DEFAULT_LIMITS

    run(storage, body)
