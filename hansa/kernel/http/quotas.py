"""Quotas: whether a caller has some of its rate left, and what it is told of that.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10: RateLimit-Policy says what holds
(`q` requests, whole again in `w` seconds), RateLimit what is left (`r` requests; all of `q` in `t`
seconds). They are told once half of a quota is used. A visitor is told nothing of the site's quota
before it is used up: what is left of it would tell a competitor how much business the shop does.

Each process counts what comes to it from outside, and only that: what one process asks of another
was counted where it came in. What must never happen here: a request that is refused and counted.
"""

from math import ceil
from typing import Any

from hansa.kernel.caller import Caller
from hansa.kernel.http.replies import Header
from hansa.kernel.problems import TooMany
from hansa.kernel.rate import Meter, Rate
from hansa.kernel.storage import PLATFORM

FIELD = "ratelimit"
POLICY = "ratelimit-policy"


class Quotas:
    """What the callers of a process have used of their rates."""

    __slots__ = ("_addresses", "_keys", "_readers", "_sites")

    def __init__(self) -> None:
        self._sites = Meter()
        self._keys = Meter()
        self._addresses = Meter()
        self._readers = Meter()

    def take(
        self,
        caller: Caller,
        now: float,
        headers: list[Header],
        *,
        reads: bool = False,
        count: int = 1,
    ) -> None:
        """Count a request at `now` (monotonic seconds) as `count` and add what its answer tells;
        `reads` is whether it only reads. Raises TooMany, and then has counted nothing."""
        principal, limits = caller.principal, caller.limits
        if principal.kind == "public":
            self._take_public(caller, now, headers, reads, count)
            return
        key, rate = principal.id, limits.key
        room = self._keys.take(key, rate, now, count)
        if principal.home == PLATFORM:
            if room < 0.0:
                raise _refusal("key", limits.policy_of_operator, room, headers)
            if is_worth_telling(rate, room):
                headers.append((POLICY, limits.policy_of_operator))
                headers.append((FIELD, _left("key", rate, room)))
            return
        if room < 0.0:
            raise _refusal("key", limits.policy_of_key, room, headers)
        whole = limits.site
        site_room = self._sites.take(caller.site, whole, now, count)
        if site_room < 0.0:
            self._keys.give_back(key, rate, count)
            raise _refusal("site", limits.policy_of_key, site_room, headers)
        if is_worth_telling(rate, room) or is_worth_telling(whole, site_room):
            headers.append((POLICY, limits.policy_of_key))
            headers.append(
                (FIELD, f"{_left('key', rate, room)}, {_left('site', whole, site_room)}")
            )

    def add(
        self, caller: Caller, now: float, headers: list[Header], *, reads: bool, more: int
    ) -> None:
        """Count `more` for a request that `take` has counted as one, once it is known what it asks
        for. Raises TooMany, and then it has not been counted at all."""
        headers[:] = [one for one in headers if one[0] not in (FIELD, POLICY)]
        try:
            self.take(caller, now, headers, reads=reads, count=more)
        except TooMany:
            self._give_back(caller, reads)
            raise

    def _give_back(self, caller: Caller, reads: bool) -> None:
        """Undo what `take` counted for a request as one."""
        principal, limits = caller.principal, caller.limits
        if principal.kind != "public":
            self._keys.give_back(principal.id, limits.key)
        elif principal.address:
            meter, rate, _ = self._of_address(caller, reads)
            meter.give_back(f"{caller.site} {principal.address}", rate)
        if principal.kind == "public" or principal.home != PLATFORM:
            self._sites.give_back(caller.site, limits.site)

    def _of_address(self, caller: Caller, reads: bool) -> tuple[Meter, Rate, str]:
        """Return where a visitor's requests are counted by address, at which rate, and what is told
        of it."""
        limits = caller.limits
        if reads:
            return self._readers, limits.reads, limits.policy_of_reads
        return self._addresses, limits.address, limits.policy_of_address

    def _take_public(
        self, caller: Caller, now: float, headers: list[Header], reads: bool, count: int
    ) -> None:
        limits, address = caller.limits, caller.principal.address
        meter, rate, policy = self._of_address(caller, reads)
        name = f"{caller.site} {address}" if address else ""
        room = meter.take(name, rate, now, count) if name else 0.0
        if room < 0.0:
            raise _refusal("address", policy, room, headers)
        site_room = self._sites.take(caller.site, limits.site, now, count)
        if site_room < 0.0:
            if name:
                meter.give_back(name, rate, count)
            raise _refusal("site", limits.policy_of_site, site_room, headers)
        if name and is_worth_telling(rate, room):
            headers.append((POLICY, policy))
            headers.append((FIELD, _left("address", rate, room)))


def is_worth_telling(rate: Rate, room: float) -> bool:
    """Tell whether at most half of a quota is left: before that it would only cost time."""
    return room * rate.per_s * 2.0 <= rate.burst


def _left(name: str, rate: Rate, room: float) -> str:
    return f'"{name}";r={int(room * rate.per_s)};t={ceil(rate.window_s - room)}'


def _refusal(name: str, policy: str, room: float, headers: list[Header]) -> TooMany:
    """Return the refusal of a quota with `room` below 0, which tells when to come again."""
    wait_s = ceil(-room)
    headers.append((POLICY, policy))
    headers.append((FIELD, f'"{name}";r=0;t={wait_s}'))
    more: dict[str, Any] = {"violated-policies": [name]}  # as the draft names it
    what = f"The quota of this {name} is used up. Try again in {wait_s} s."
    return TooMany(what, retry_after_s=wait_s, **more)
