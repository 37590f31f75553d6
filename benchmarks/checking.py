"""Checking: a target must do what it is measured for before it is measured."""

from typing import Any

import msgspec

from benchmarks.target import Reply, Target, TargetFailed
from benchmarks.workload import is_right_creation, is_right_read, new_product


def check(target: Target) -> None:
    """Try reading, scoping, the key, creating, repeating, clashing and delivery once each.

    Raises TargetFailed naming what is wrong.
    """
    _check_reading(target)
    _check_creating(target)
    target.wait_delivered()
    target.check_count()


def _check_reading(target: Target) -> None:
    seed = target.seed
    for site in seed.sites:
        wanted = seed.products[site.id][7]
        reply = target.ask("GET", f"/bench/products/{wanted.handle}", site=site)
        _expect(target, "read", reply, 200)
        if not is_right_read(reply.body, wanted):
            raise TargetFailed(f"{target.name} read {reply.body!r}, not {wanted}")
        if not 700 <= len(reply.body) <= 1_100:
            raise TargetFailed(f"{target.name} read: {len(reply.body)} bytes, about 900 wanted")
    _expect(target, "missing", target.ask("GET", "/bench/products/no-such-thing"), 404)
    path = f"/bench/products/{seed.products[seed.sites[0].id][0].handle}"
    wrong = seed.sites[0].key[:-1] + ("0" if seed.sites[0].key[-1] != "0" else "1")
    _expect(target, "wrong key", target.ask("GET", path, authorization=f"Bearer {wrong}"), 401)


def _check_creating(target: Target) -> None:
    site, other = target.seed.sites[:2]
    path = "/bench/products"
    first = new_product("check-first-0000")
    made = target.ask("POST", path, first, site=site, key="check-1")
    _expect(target, "create", made, 201)
    target.acknowledged += 1
    if not is_right_creation(made.body, "check-first-0000"):
        raise TargetFailed(f"{target.name} created {made.body!r}")
    again = target.ask("POST", path, first, site=site, key="check-1")
    _expect(target, "repeat", again, 201)
    if _decoded(again) != _decoded(made) or again.headers.get("idempotency-replayed") != "true":
        raise TargetFailed(f"{target.name} repeated {again.headers} {again.body!r}")
    changed = {**first, "stock": 26}
    _expect(target, "reused key", target.ask("POST", path, changed, site=site, key="check-1"), 422)
    _expect(target, "taken", target.ask("POST", path, first, site=site, key="check-2"), 409)
    _expect(target, "elsewhere", target.ask("POST", path, first, site=other, key="check-1"), 201)
    target.acknowledged += 1
    typed = {**first, "handle": "check-typed", "stock": "many"}
    refused = target.ask("POST", path, typed, site=site, key="check-3")
    if refused.status not in (400, 422):
        _expect(target, "wrong type", refused, 422)
    found = target.ask("GET", f"{path}/check-first-0000", site=site)
    _expect(target, "read what was created", found, 200)
    if not is_right_creation(found.body, "check-first-0000"):
        raise TargetFailed(f"{target.name} read what was created: {found.body!r}")
    third = target.ask("GET", f"{path}/check-first-0000", site=target.seed.sites[2])
    _expect(target, "another site's product", third, 404)


def _decoded(reply: Reply) -> Any:
    value: Any = msgspec.json.decode(reply.body)
    return value


def _expect(target: Target, what: str, reply: Reply, status: int) -> None:
    if reply.status != status:
        raise TargetFailed(
            f"{target.name}, {what}: {reply.status} instead of {status}: {reply.body[:400]!r}"
        )
