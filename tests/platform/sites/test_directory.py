"""The directory lets in who has a key, at the site the key is for, and forgets what changed."""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from hansa.kernel.compiler import Statements
from hansa.kernel.database import Db
from hansa.kernel.ids import typeid
from hansa.kernel.migrating import migrate
from hansa.kernel.problems import Denied, NotFound, Problem, Unauthenticated
from hansa.kernel.schedule import from_us
from hansa.kernel.sealing import SealBroken, Sealer
from hansa.kernel.site import slot_of
from hansa.kernel.storage import PLATFORM, Session, Storage
from hansa.kernel.structs import Secret
from hansa.platform.sites import keys, tables
from hansa.platform.sites import sites as service
from hansa.platform.sites.directory import FRESH_S, Directory, setting_key
from hansa.platform.sites.memory import COMMAND_S
from hansa.platform.sites.rows import CellRows
from hansa.platform.sites.settings import SEAL_PURPOSE, Setting

START_US = 1_700_000_000_000_000
TOKEN = Setting("pay.token", Secret, Secret("none"), "What opens the provider.", secret=True)
LIMIT = Setting("shop.limit", int, 5, "How many.")


class World:
    """A platform's tables, a directory over them, and both clocks in the hand."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.statements = Statements(storage.dialect)
        self.sealer = Sealer([b"m" * 32])
        self.at_us = START_US
        self.monotonic_s = 50.0
        self.made = 0
        self.directory = Directory(
            CellRows(storage),
            self.sealer,
            self,
            alone=storage.dialect == "sqlite",
            monotonic=lambda: self.monotonic_s,
        )

    def now_us(self) -> int:
        """The machine's clock."""
        return self.at_us

    async def write(self, change: Callable[[Db], Awaitable[Any]]) -> Any:
        """Do something to the tables in a command of its own."""

        async def body(session: Session) -> Any:
            return await change(Db(session, PLATFORM, "sites", self.statements, self.new_id))

        deadline = asyncio.get_running_loop().time() + 10
        return (await self.storage.write(body, site=PLATFORM, deadline=deadline)).value

    def new_id(self, prefix: str) -> str:
        self.made += 1
        return typeid(prefix, self.at_us, self.made)

    async def site(self, *hosts: str, **values: Any) -> str:
        """Make a site."""
        site = self.new_id("site")
        row: dict[str, Any] = {
            "name": "Tea", "state": "active", "locale": "en", "currency": "EUR",
            "zone": "Europe/Paris", "test_clock": False, "slot": slot_of(site), "epoch": 1,
            "created_at": from_us(self.at_us), "changed_at": from_us(self.at_us), **values,
        }  # fmt: skip

        async def change(db: Db) -> None:
            await db.insert(tables.sites, id=site, **row)
            for host in hosts:
                self.directory.changing(host)
                await db.insert(
                    tables.hosts, host=host, site_id=site, created_at=from_us(self.at_us)
                )

        await self.write(change)
        return site

    async def key(self, site: str, *permissions: str, ends_s: int | None = None) -> str:
        """Make a key and return its text."""
        key, secret = self.new_id("key"), keys.new_secret()
        ends = None if ends_s is None else from_us(self.at_us) + timedelta(seconds=ends_s)
        await self.write(
            lambda db: db.insert(
                tables.keys, id=key, site_id=site, name="k", hash=keys.secret_hash(secret),
                permissions=permissions, expires_at=ends, revoked_at=None,
                created_at=from_us(self.at_us),
            )
        )  # fmt: skip
        return str(keys.key_text(key, secret))

    async def knock(self, key: str = "", host: str = "", site: str = "") -> tuple[str, str]:
        """Return the site that is called and who calls."""
        caller = await self.directory.authenticate(f"Bearer {key}" if key else "", host, site)
        return caller.site, caller.principal.kind


def run(storage: Storage, body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        await storage.open()
        try:
            await migrate(storage, [service])
            await body(World(storage))
        finally:
            await storage.close()

    asyncio.run(main())


async def refused(call: Awaitable[Any], kind: type[Problem]) -> str:
    with pytest.raises(kind) as refusal:
        await call
    return refusal.value.detail


def test_a_key_opens_its_own_site_only(storage: Storage) -> None:
    async def body(world: World) -> None:
        tea, ink = await world.site(), await world.site()
        key = await world.key(tea, "commerce.*")
        assert await world.knock(key) == (tea, "key")
        assert await world.knock(key, site=tea) == (tea, "key")
        await refused(world.knock(key, site=ink), Denied)
        await refused(world.knock(key, site=PLATFORM), Denied)
        principal = await world.directory.by_key(key)
        assert (principal.permissions, principal.home) == (frozenset({"commerce.*"}), tea)

    run(storage, body)


def test_an_operator_calls_the_platform_or_any_site(storage: Storage) -> None:
    async def body(world: World) -> None:
        tea = await world.site(state="suspended")
        key = await world.key(PLATFORM, "*")
        assert await world.knock(key) == (PLATFORM, "key")
        assert await world.knock(key, site=tea) == (tea, "key")
        await refused(world.knock(key, site="site_none"), NotFound)

    run(storage, body)


def test_the_public_comes_by_host_or_by_name(storage: Storage) -> None:
    async def body(world: World) -> None:
        tea = await world.site("tea.example", "xn--bcher-kva.example")
        assert await world.knock(host="Tea.Example:8000") == (tea, "public")
        assert await world.knock(host="xn--bcher-kva.example") == (tea, "public")
        assert await world.knock(host="127.0.0.1:8000", site=tea) == (tea, "public")
        assert await world.knock(host="127.0.0.1:8000") == (PLATFORM, "public")
        await refused(world.knock(site="site_none"), NotFound)

    run(storage, body)


def test_who_sends_long_headers_fills_no_memory(storage: Storage) -> None:
    async def body(world: World) -> None:
        tracemalloc.start()
        for number in range(500):
            assert await world.knock(host=f"{number}-".ljust(20_000, "x")) == (PLATFORM, "public")
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 2_000_000

    run(storage, body)


def test_nobody_learns_why_a_key_is_refused(storage: Storage) -> None:
    async def body(world: World) -> None:
        tea = await world.site()
        key = await world.key(tea, "*")
        wrong = key[:-1] + ("1" if key[-1] == "0" else "0")
        unknown = str(keys.key_text(world.new_id("key"), keys.new_secret()))
        words = {
            await refused(world.knock(text), Unauthenticated)
            for text in (wrong, unknown, "hansa_", "x" * 5000, key + "0")
        }
        assert words == {"The API key is not known here."}
        await refused(world.directory.authenticate("Basic eA==", "", ""), Unauthenticated)

    run(storage, body)


def test_a_key_ends_by_itself_though_it_is_remembered(storage: Storage) -> None:
    async def body(world: World) -> None:
        key = await world.key(await world.site(), "*", ends_s=60)
        await world.knock(key)
        world.at_us += 60 * 1_000_000
        assert "expired" in await refused(world.knock(key), Unauthenticated)

    run(storage, body)


def test_a_revoked_key_is_refused_at_once(storage: Storage) -> None:
    async def body(world: World) -> None:
        key = await world.key(await world.site(), "*")
        await world.knock(key)
        parsed = keys.parse_key(key)
        assert parsed is not None
        world.directory.changing(parsed[0])
        await world.write(
            lambda db: db.update(tables.keys, parsed[0], revoked_at=from_us(world.at_us))
        )
        assert "revoked" in await refused(world.knock(key), Unauthenticated)
        world.monotonic_s += COMMAND_S
        assert "revoked" in await refused(world.knock(key), Unauthenticated)

    run(storage, body)


def test_a_revoked_key_ends_within_a_second_whatever_became_of_the_notice(storage: Storage) -> None:
    async def body(world: World) -> None:
        key = await world.key(await world.site(), "*")
        parsed = keys.parse_key(key)
        assert parsed is not None
        world.directory.changing(parsed[0])
        world.monotonic_s += COMMAND_S
        await world.directory.by_key(key)  # read before the commit, which the disk held up
        world.monotonic_s += FRESH_S * 0.9
        await world.knock(key)  # made of what is nearly too old already
        await world.write(
            lambda db: db.update(tables.keys, parsed[0], revoked_at=from_us(world.at_us))
        )
        world.monotonic_s += FRESH_S * 0.1
        assert "revoked" in await refused(world.knock(key), Unauthenticated)

    run(storage, body)


def test_a_host_that_moves_leads_to_its_new_site_within_a_second(storage: Storage) -> None:
    async def body(world: World) -> None:
        tea, ink = await world.site("tea.example"), await world.site()
        assert await world.knock(host="tea.example") == (tea, "public")
        await world.write(lambda db: db.update(tables.hosts, "tea.example", site_id=ink))
        world.monotonic_s += FRESH_S
        assert await world.knock(host="tea.example") == (ink, "public")

    run(storage, body)


def test_suspended_and_closed_sites_answer_no_public(storage: Storage) -> None:
    async def body(world: World) -> None:
        await world.site("slow.example", state="suspended")
        gone = await world.site("gone.example", state="closed")
        assert "suspended" in await refused(world.knock(host="slow.example"), Denied)
        await refused(world.knock(host="gone.example"), NotFound)
        await refused(world.knock(await world.key(gone, "*")), NotFound)
        await refused(world.knock(await world.key(PLATFORM, "*"), site=gone), NotFound)

    run(storage, body)


def test_a_host_that_was_asked_for_before_it_was_there(storage: Storage) -> None:
    async def body(world: World) -> None:
        assert await world.directory.by_host("new.example") is None
        site = await world.site("new.example")
        found = await world.directory.by_host("new.example")
        assert found is not None and found.id == site

    run(storage, body)


def test_a_changed_site_is_seen_at_once(storage: Storage) -> None:
    async def body(world: World) -> None:
        site = await world.site()
        info = await world.directory.by_id(site)
        assert info is not None
        assert (info.zone, info.currency, info.slot) == ("Europe/Paris", "EUR", slot_of(site))
        world.directory.changing(site)
        await world.write(lambda db: db.update(tables.sites, site, zone="UTC"))
        info = await world.directory.by_id(site)
        assert info is not None and info.zone == "UTC"

    run(storage, body)


def test_zones_are_those_of_sites_on_the_real_clock(storage: Storage) -> None:
    async def body(world: World) -> None:
        paris = [await world.site() for _ in range(5)]
        await world.site(zone="Asia/Tokyo", test_clock=True)
        await world.site(zone="Asia/Seoul", state="closed")
        assert await world.directory.zones() == ["Europe/Paris"]
        first = await world.directory.in_zone("Europe/Paris", "", 3)
        assert [site.id for site in first] == paris[:3]
        rest = await world.directory.in_zone("Europe/Paris", first[-1].id, 3)
        assert [site.id for site in rest] == paris[3:]
        assert not (await world.directory.in_zone("Asia/Tokyo", "", 3))

    run(storage, body)


def test_a_setting_is_read_and_opened(storage: Storage) -> None:
    async def body(world: World) -> None:
        site, other = await world.site(), await world.site()
        assert await world.directory.setting(site, LIMIT) == 5
        sealed = world.sealer.seal(SEAL_PURPOSE, site, TOKEN.write("hunter2"))

        async def change(db: Db) -> None:
            at = from_us(world.at_us)
            for place, name, value, is_sealed in (
                (site, LIMIT.name, b"9", False),
                (site, TOKEN.name, sealed, True),
                (other, TOKEN.name, sealed, True),
            ):
                world.directory.changing(setting_key(place, name))
                await db.insert(
                    tables.settings, site_id=place, name=name, value=value, is_sealed=is_sealed,
                    changed_at=at,
                )  # fmt: skip

        await world.write(change)
        assert await world.directory.setting(site, LIMIT) == 9
        assert await world.directory.setting(site, TOKEN) == Secret("hunter2")
        with pytest.raises(SealBroken):
            await world.directory.setting(other, TOKEN)

    run(storage, body)


def test_ten_thousand_sites_in_memory_are_small(storage: Storage) -> None:
    """An idle site takes less than 20 kB (issue 2); here is what the directory has of it."""

    async def body(world: World) -> None:
        sites = [await world.site(f"s{number}.example") for number in range(500)]
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(500):
            await world.directory.by_host(f"s{number}.example")
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (after - before) / len(sites) < 4_000

    run(storage, body)
