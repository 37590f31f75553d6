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

    __slots__ = ("_addresses", "_keys", "_sites")

    def __init__(self) -> None:
        self._sites = Meter()
        self._keys = Meter()
        self._addresses = Meter()

    def take(self, caller: Caller, address: str, now: float, headers: list[Header]) -> None:
        """Count a request at `now` (monotonic seconds) and add what its answer tells; `address` is
        that of a visitor who writes, else "". Raises TooMany, and then has counted nothing."""
        principal, limits = caller.principal, caller.limits
        if principal.kind == "public":
            self._take_public(caller, address, now, headers)
            return
        key, rate = principal.id, limits.key
        room = self._keys.take(key, rate, now)
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
        site_room = self._sites.take(caller.site, whole, now)
        if site_room < 0.0:
            self._keys.give_back(key, rate)
            raise _refusal("site", limits.policy_of_key, site_room, headers)
        if is_worth_telling(rate, room) or is_worth_telling(whole, site_room):
            headers.append((POLICY, limits.policy_of_key))
            headers.append(
                (FIELD, f"{_left('key', rate, room)}, {_left('site', whole, site_room)}")
            )

    def _take_public(self, caller: Caller, address: str, now: float, headers: list[Header]) -> None:
        limits = caller.limits
        whole, rate = limits.site, limits.address
        name = f"{caller.site} {address}" if address else ""
        room = self._addresses.take(name, rate, now) if name else 0.0
        if room < 0.0:
            raise _refusal("address", limits.policy_of_address, room, headers)
        site_room = self._sites.take(caller.site, whole, now)
        if site_room < 0.0:
            if name:
                self._addresses.give_back(name, rate)
            raise _refusal("site", limits.policy_of_site, site_room, headers)
        if name and is_worth_telling(rate, room):
            headers.append((POLICY, limits.policy_of_address))
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
