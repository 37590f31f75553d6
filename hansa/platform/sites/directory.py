"""Directory: who knocks, and at which site; asked on every request, so answered from memory.

What is read is kept in small tables of bounded size, for a second at most: whatever happens to the
notice of a change, a revoked key ends. A command of this process gives notice before it changes a
row, so that here it holds at once. What must never happen: a key that opens another site, an answer
that is older than what it was made from may be, or memory that grows with what strangers ask for.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller, Principal
from hansa.kernel.clock import Clock
from hansa.kernel.ids import ID
from hansa.kernel.problems import Denied, NotFound, Unauthenticated
from hansa.kernel.schedule import from_us, to_us
from hansa.kernel.sealing import Sealer
from hansa.kernel.site import PLATFORM_SITE, SiteInfo
from hansa.kernel.site_limits import DEFAULT_LIMITS
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.hosts import host_of_header
from hansa.platform.sites.keys import is_live, is_secret_of, parse_key
from hansa.platform.sites.limits import LIMITS
from hansa.platform.sites.memory import Memory
from hansa.platform.sites.rows import KeyRow, Rows, SettingRow, SiteRow
from hansa.platform.sites.settings import SEAL_PURPOSE, Setting

T = TypeVar("T")

logger = logging.getLogger("hansa.sites")

KEPT_MAX: Final = 20_000
"""Sites, hosts, keys and settings in memory, each at most; one takes about 500 bytes."""
MISSES_MAX: Final = 2_000
"""Names that are known to be nothing, at most."""
NEVER_US: Final = 2**62
CALLER_LETTERS_MAX: Final = 600
"""Of the headers that a caller is remembered by; anybody may send long ones."""
CALLERS_MAX: Final = 4_096
"""Callers that are answered again without asking, at most."""
FRESH_S: Final = 1.0
"""How old what is in memory may be, and so how long after its commit a change may be unseen."""


class _Entry:
    """A key as it is kept in memory: the principal is made once."""

    __slots__ = ("principal", "row")

    def __init__(self, row: KeyRow) -> None:
        self.row = row
        self.principal = Principal(row.id, frozenset(row.permissions), "key", row.site_id)


class Directory:
    """Tells the kernel which sites there are and who calls (`hansa.kernel.site.SiteDirectory`)."""

    def __init__(
        self,
        rows: Rows,
        sealer: Sealer,
        clock: Clock,
        *,
        alone: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Stand on the platform's rows. `clock` is the machine's: keys expire by real time. `alone`
        is whether no other process changes them."""
        self.bearers: dict[str, Callable[[str], Awaitable[Principal]]] = {}
        """What reads the keys that other services sign, by what stands before their first ``_``.
        Raises Unauthenticated."""
        self._monotonic = monotonic
        self._callers: dict[tuple[str, str, str], tuple[Caller, float, int]] = {}
        self._generation = 0
        self._rows = rows
        self._clock = clock
        self._sealer = sealer

        def memory(load: Callable[[str], Awaitable[T | None]]) -> Memory[T]:
            return Memory(load, KEPT_MAX, MISSES_MAX, FRESH_S, monotonic)

        self._sites = memory(self._load_site)
        self._hosts = memory(rows.host)
        self._keys = memory(self._load_key)
        self._settings = memory(self._load_setting)

    # ---- what others ask

    async def by_id(self, site: ID) -> SiteInfo | None:
        """Return a site, None when there is none of that id."""
        if site == PLATFORM:
            return PLATFORM_SITE
        return await self._sites.get(site)

    async def by_host(self, header: str) -> SiteInfo | None:
        """Return the site that a Host header leads to, None when it leads nowhere."""
        host = host_of_header(header)
        site = await self._hosts.get(host) if host else None
        return None if site is None else await self.by_id(site)

    async def by_key(self, text: str) -> Principal:
        """Return who a key's text stands for; its `home` is the key's site, or the platform.

        Raises Unauthenticated, in the same words whether the key is unknown, wrong or revoked.
        """
        bearer = self.bearers.get(text.partition("_")[0])
        if bearer is not None:
            return await bearer(text)
        parsed = parse_key(text)
        entry = await self._keys.get(parsed[0]) if parsed is not None else None
        if parsed is None or entry is None or not is_secret_of(parsed[1], entry.row.hash):
            raise Unauthenticated("The API key is not known here.")
        return self._good(entry)

    async def holder_of(self, key: ID) -> Principal:
        """Return who a key stands for that has proved itself before. Raises Unauthenticated once
        it has ended."""
        entry = await self._keys.get(key)
        if entry is None:
            raise Unauthenticated("The API key is not known here.")
        return self._good(entry)

    def _good(self, entry: _Entry) -> Principal:
        """Return the principal of a key that has not ended. Raises Unauthenticated."""
        row = entry.row
        now = from_us(self._clock.now_us())
        if not is_live(now, row.expires_at, row.revoked_at):
            ended = "was revoked" if row.revoked_at is not None else "has expired"
            raise Unauthenticated(f"The API key {ended}.")
        return entry.principal

    async def authenticate(self, authorization: str, host: str, site: ID) -> Caller:
        """Return who calls which site (see `_authenticate`); answered again without asking for as
        long as all that it was made from is fresh."""
        name = (authorization, host, site)
        known = self._callers.get(name)
        if known is not None and self._monotonic() < known[1] and self._clock.now_us() < known[2]:
            return known[0]
        generation = self._generation
        caller = await self._authenticate(authorization, host, site)
        letters = len(authorization) + len(host) + len(site)
        if generation == self._generation and letters <= CALLER_LETTERS_MAX:
            if len(self._callers) >= CALLERS_MAX:
                self._callers.clear()
            self._callers[name] = (caller, self._until(caller, host, site), self._expiry_us(caller))
        return caller

    def _until(self, caller: Caller, host: str, site: ID) -> float:
        """Return when the first is too old of what a caller was made from: key, host and site."""
        until = float("inf")
        if caller.principal.kind == "key":
            until = self._keys.until(caller.principal.id)
        elif not site and (name := host_of_header(host)):
            until = self._hosts.until(name)
        return until if caller.site == PLATFORM else min(until, self._sites.until(caller.site))

    def _expiry_us(self, caller: Caller) -> int:
        """Return when a caller's key ends by itself, in microseconds by the machine's clock."""
        if caller.principal.kind != "key":
            return NEVER_US
        entry = self._keys.peek(caller.principal.id)
        if entry is None:
            return 0
        expires_at = entry.row.expires_at
        return NEVER_US if expires_at is None else to_us(expires_at)

    async def _authenticate(self, authorization: str, host: str, site: ID) -> Caller:
        """Return who calls which site, by the headers Authorization, Host and Hansa-Site.

        A site's key calls its own site. An operator's key calls the site that Hansa-Site names, or
        the platform. Without a key it is the public that calls the site of Hansa-Site or of the
        host, or the platform where neither leads to one. Raises Unauthenticated for a key that is
        none, Denied for another site's key and at a suspended site, and NotFound for no such site.
        """
        if not authorization:
            found = await self.by_id(site) if site else await self.by_host(host)
            if found is None and site:
                raise NotFound(f"There is no site {site[:64]}.", slug="site-not-found")
            wanted = PLATFORM if found is None else found.id
            info = await self._open(wanted, operator=False)
            return Caller(info.id, PUBLIC_PRINCIPAL, info.limits)
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("Send the API key as 'Authorization: Bearer <key>'.")
        principal = await self.by_key(text.strip())
        own = principal.home
        if own == PLATFORM:
            # An operator is bound by no site's limits: it must be able to help one that is flooded.
            return Caller((await self._open(site or PLATFORM, operator=True)).id, principal)
        if site and site != own:
            raise Denied("The API key belongs to another site.")
        info = await self._open(own, operator=False)
        return Caller(info.id, principal, info.limits)

    async def _open(self, site: ID, *, operator: bool) -> SiteInfo:
        """Return the site if it may be called now."""
        info = await self.by_id(site)
        if info is None or info.state == "closed":
            raise NotFound(f"There is no site {site[:64]}.", slug="site-not-found")
        if info.state == "suspended" and not operator:
            raise Denied("The site is suspended.", slug="site-suspended")
        return info

    def forget(self, site: ID) -> None:
        """Read anew what is known of a site: it has moved."""
        self._sites.forget(site)

    async def zones(self) -> Sequence[str]:
        """Return the time zones of all active sites on the real clock."""
        return await self._rows.zones()

    async def in_zone(self, zone: str, after: ID, limit: int) -> Sequence[SiteInfo]:
        """Return active sites of a zone on the real clock, by id, after the site `after`."""
        return [_info(row) for row in await self._rows.in_zone(zone, after, limit)]

    async def setting(self, site: ID, one: Setting[T]) -> T:
        """Return what a setting is on a site, opened if it is secret. For `outside` and `prepare`;
        raises SealBroken, and ValueError when what is kept does not fit any more."""
        kept = await self._settings.get(setting_key(site, one.name))
        if kept is None:
            return one.default
        stored = kept.value
        if kept.is_sealed:
            stored = self._sealer.open(SEAL_PURPOSE, site, stored)
        return one.read(stored)

    # ---- what commands tell

    def changing(self, name: str) -> None:
        """Note that a command is about to change a site, host, key or setting: from now on, and
        until the command must have ended, it is read from the database each time."""
        self._generation += 1
        self._callers.clear()
        for memory in (self._sites, self._hosts, self._keys, self._settings):
            memory.changing(name)

    def changing_setting(self, site: ID, name: str) -> None:
        """Note that a command is about to change a setting of a site (see `changing`). Its limits
        are read with the site and may be a second old: one that floods is not read each time."""
        self.changing(setting_key(site, name))

    # ---- reading

    async def _load_site(self, site: str) -> SiteInfo | None:
        row = await self._rows.site(site)
        return None if row is None else _info(row)

    async def _load_key(self, key: str) -> _Entry | None:
        row = await self._rows.key(key)
        return None if row is None else _Entry(row)

    async def _load_setting(self, name: str) -> SettingRow | None:
        site, _, setting = name.partition("/")
        return await self._rows.setting(site, setting)


def setting_key(site: ID, name: str) -> str:
    """Return under which name the memory has a setting of a site."""
    return f"{site}/{name}"


def _info(row: SiteRow) -> SiteInfo:
    limits = DEFAULT_LIMITS
    if row.limits is not None:
        try:
            limits = LIMITS.read(row.limits)
        except ValueError as error:  # of another release: no reason to shut the site
            logger.error("the site %s has the default limits: %s", row.id, error)
    return SiteInfo(
        row.id, row.slot, row.epoch, row.name, row.state, row.locale, row.currency, row.zone,
        row.test_clock, limits, row.cell,
    )  # fmt: skip
