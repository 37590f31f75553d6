"""Asking: the platform's rows for a process that does not serve the sites, asked of one that does.

What it is answered is kept by the directory for a second. While nobody answers, what was asked in
the last minutes is answered again: that the sites' process starts anew must not stop the others.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from hansa.kernel import machine
from hansa.kernel.caller import SYSTEM
from hansa.kernel.ids import ID
from hansa.kernel.operation import Operation
from hansa.kernel.problems import DeadlineExceeded
from hansa.kernel.remote.calls import Remote, Unreachable
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.api import lookups
from hansa.platform.sites.rows import ClockRow, KeyRow, SettingRow, SiteRow

ASK_S: Final = 3.0
ASK_AGAIN_S: Final = 0.5
"""How long is waited where there is an answer from before."""
STALE_S: Final = 300.0
"""How old an answer may be that is given again: a key that was revoked meanwhile still opens."""
KEPT_MAX: Final = 20_000


Join = Callable[[ID, int, int], Awaitable[None]]


class AskedRows:
    """The rows of the process that serves the sites (see `rows.Rows`)."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.join: Join | None = None
        """What makes this cell's copy of a test clock, before anything of its site happens here."""
        self._joined: set[ID] = set()
        self._kept: OrderedDict[Any, tuple[float, Any]] = OrderedDict()

    async def site(self, id: ID) -> SiteRow | None:
        """See `rows.site_of`."""
        found: SiteRow | None = await self._ask(lookups.look_up_site, id=id)
        if found is not None and found.test_clock:
            await self._have_clock(found)
        return found

    async def _have_clock(self, site: SiteRow) -> None:
        """Have a copy of a site's test clock, where the site is in this cell."""
        if self.join is None or site.id in self._joined or not self._remote.is_home(site.cell):
            return
        clock: ClockRow = await self._ask(lookups.look_up_clock, id=site.id)
        await self.join(site.id, clock.now_us, clock.ticked_us)
        self._joined.add(site.id)

    async def host(self, host: str) -> ID | None:
        """See `rows.site_of_host`."""
        found: ID | None = await self._ask(lookups.look_up_host, host=host)
        return found

    async def key(self, id: ID) -> KeyRow | None:
        """See `rows.key_of`."""
        found: KeyRow | None = await self._ask(lookups.look_up_key, id=id)
        return found

    async def setting(self, site: ID, name: str) -> SettingRow | None:
        """See `rows.setting_of`."""
        found: SettingRow | None = await self._ask(lookups.look_up_setting, site=site, name=name)
        return found

    async def zones(self) -> Sequence[str]:
        """See `rows.zones_of`."""
        found: list[str] = await self._ask(lookups.look_up_zones)
        return found

    async def in_zone(self, zone: str, after: ID, limit: int) -> Sequence[SiteRow]:
        """See `rows.sites_in_zone`."""
        found: list[SiteRow] = await self._ask(
            lookups.look_up_zone, zone=zone, after=after, limit=limit
        )
        return found

    async def _ask(self, operation: Operation[..., Any], **arguments: Any) -> Any:
        name = (operation.name, *arguments.values())
        now = machine.monotonic()
        kept = self._kept.get(name)
        if kept is not None and kept[0] < now:
            kept = None
        try:
            answer = await self._remote.invoke(
                operation, PLATFORM, SYSTEM, arguments, inside=True,
                deadline=now + (ASK_S if kept is None else ASK_AGAIN_S),
            )  # fmt: skip
        except (Unreachable, DeadlineExceeded):
            if kept is None:
                raise
            return kept[1]
        value = self._remote.value(answer, operation.returns)
        self._kept[name] = (machine.monotonic() + STALE_S, value)
        self._kept.move_to_end(name)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return value
