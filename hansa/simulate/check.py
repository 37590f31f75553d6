"""Check: once everything is well and at rest, is every promise kept?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hansa.kernel.commands import deadline_in
from hansa.kernel.storage import PLATFORM, Session
from hansa.simulate.client import Promises, Violation
from hansa.simulate.league import ROAMING, SITE, League
from hansa.simulate.mint import Mint
from hansa.simulate.node import Node
from hansa.simulate.service import ACCOUNTS, BALANCE, Port

_OPEN: Final = (
    ("attempts", "SELECT count(*) FROM hansa_attempts WHERE status = 0"),
    ("deliveries", "SELECT count(*) FROM hansa_deliveries WHERE state IN ('waiting', 'queued')"),
    ("due work", "SELECT count(*) FROM hansa_due WHERE state = 'waiting'"),
)
_PARKED: Final = (
    ("deliveries", "SELECT count(*) FROM hansa_deliveries WHERE state = 'parked'"),
    ("due work", "SELECT count(*) FROM hansa_due WHERE state = 'parked'"),
)
# Each has events of one type; of copies the first ones may be pruned, and then that is noted.
_SEQUENCES: Final = """SELECT aggregate, count(*), max(seq), count(DISTINCT seq), coalesce((
  SELECT seq FROM hansa_aggregates a
  WHERE a.site = e.site AND a.aggregate = e.type || ' ' || e.aggregate), 0)
FROM hansa_events e GROUP BY site, type, aggregate"""
_ORDER: Final = "SELECT aggregate, seq FROM hansa_events ORDER BY position"
_LAST: Final = "SELECT coalesce(max(position), 0) FROM hansa_events"
_FOLLOWED: Final = "SELECT subscriber, position FROM hansa_cursors WHERE slot = -1"


async def rows(node: Node, statement: str) -> list[tuple[Any, ...]]:
    """Read rows of a node's cell."""

    async def body(session: Session) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await session.fetch(statement)]

    return await node.runtime.storage.read(
        body, site=PLATFORM, deadline=deadline_in(60), across=True
    )


async def unrest(league: League, nodes: Sequence[Node]) -> str:
    """Return what is still open anywhere, nothing when all is at rest."""
    lasts: dict[str, int] = {}
    for node in nodes:
        if not node.up:
            return f"{node.name} does not serve"
        await node.runtime.dispatcher.rest()
        for what, statement in _OPEN:
            count = (await rows(node, statement))[0][0]
            if count:
                return f"{node.name} has {count} open {what}"
        lasts[node.name] = (await rows(node, _LAST))[0][0]
    for number, node in enumerate(nodes):
        followed = await rows(node, _FOLLOWED)
        for other, (name, last) in enumerate(lasts.items()):
            reached = [at for which, at in followed if which.startswith(f"follow:{name}/")]
            if league.follows(number, other) and min(reached, default=0) < last:
                return f"{node.name} has not followed {name} to {last}"
    return ""


async def violations(
    league: League, nodes: Sequence[Node], mint: Mint, promises: Promises
) -> list[Violation]:
    """Return every promise that was broken."""
    found: list[Violation] = []
    coins = given = 0
    ports = league.ports
    sent: dict[tuple[int, str], int] = {}
    for node in nodes:
        if (whole := (await rows(node, "PRAGMA quick_check(1)"))[0][0]) != "ok":
            found.append(Violation(f"the file of {node.name} is damaged: {whole}"))
    if found:
        return found
    for node in nodes:
        found += [Violation(what) for what in await _kernel(league, node)]
    places, odd = await _places(league, nodes)
    found += odd
    if odd:
        return found
    for node, port in zip(places, ports, strict=True):
        books = await _books(node, port)
        found += _there(port, books, promises)
        found += _stock(port, books)
        for name, balance, number, _ in books["accounts"]:
            coins += balance
            sent[port.number, name] = number
        given += sum(amount for _, amount in books["deposits"])
    for node, port in zip(places, ports, strict=True):
        found += await _effects(node, port, sent)
    minted = sum(mint.given.values())
    if given != minted:
        found.append(Violation(f"the mint gave {minted} coins, and {given} arrived"))
    expected = len(ports) * len(ACCOUNTS) * BALANCE + minted
    if coins != expected:
        about = tuple(f"{one.name}/{name}" for one in ports for name in ACCOUNTS)
        found.append(Violation(f"there are {coins} coins, and {expected} were given out", about))
    return found


async def _places(league: League, nodes: Sequence[Node]) -> tuple[list[Node], list[Violation]]:
    """Return at which node the site's rows of each port are, and what is odd about that: they are
    in one cell, which says so, and nothing of them is left anywhere else."""
    if not league.roams:
        return list(nodes), []
    found: list[Violation] = []
    told = (await rows(nodes[0], "SELECT cell FROM sites_sites"))[0][0] or nodes[1].name
    there: list[Node] = []
    for node in nodes[1:]:
        state = await rows(node, f"SELECT state FROM hansa_sites WHERE site = '{SITE.id}'")
        name = league.ports[ROAMING].service.name
        has_rows = (await rows(node, f"SELECT count(*) FROM {name}_accounts"))[0][0] > 0
        is_told = node.name == told
        if has_rows != is_told:
            what = (
                "has rows of the site, which is" if has_rows else "has no rows, and is told to be"
            )
            found.append(Violation(f"{node.name} {what} in {told}"))
        if is_told:
            there.append(node)
        if is_told != (state in ([("here",)], [])) and (state or is_told):
            found.append(Violation(f"{node.name} says {state} of the site, which is in {told}"))
    return [there[0], nodes[0]], found


async def _books(node: Node, port: Port) -> dict[str, list[tuple[Any, ...]]]:
    name = port.service.name
    return {
        "accounts": await rows(node, f"SELECT name, balance, sent, received FROM {name}_accounts"),
        "stock": await rows(node, f"SELECT item, on_hand, reserved FROM {name}_stock"),
        "reservations": await rows(node, f"SELECT id, item, lapses FROM {name}_reservations"),
        "deposits": await rows(node, f"SELECT id, amount FROM {name}_deposits"),
    }


async def _kernel(league: League, node: Node) -> list[str]:
    """Return what is wrong with the rows of the kernel itself."""
    found = [
        f"{node.name} has {count} parked {what}"
        for what, statement in _PARKED
        if (count := (await rows(node, statement))[0][0])
    ]
    own = league.aggregates_of(node.name)
    seen: Counter[str] = Counter()
    for aggregate, count, highest, different, gone in await rows(node, _SEQUENCES):
        seen[aggregate] = gone
        if not aggregate.startswith(own):
            continue  # what it follows is copied only while the site is there
        if not count == highest - gone == different:
            found.append(f"{node.name}: a gap in the sequence of {aggregate}")
    for aggregate, seq in await rows(node, _ORDER):
        seen[aggregate] += 1
        if aggregate.startswith(own) and seq != seen[aggregate]:
            found.append(f"{node.name}: {aggregate} {seq} is out of its order")
    return found


def _there(
    port: Port, books: dict[str, list[tuple[Any, ...]]], promises: Promises
) -> Iterator[Violation]:
    """What was acknowledged is there, once."""
    name = port.name
    accounts = {row[0]: row[2] for row in books["accounts"]}
    told: Counter[tuple[str, int]] = Counter()
    for number, account, sent in promises.transfers:
        if number == port.number:
            told[account, sent] += 1
            if sent > accounts[account]:
                yield Violation(
                    f"transfer {sent} of {name}/{account} was acknowledged and is lost",
                    (f"{name}/{account}",),
                )
    for (account, sent), times in told.items():
        if times > 1:
            yield Violation(
                f"{times} wishes were told that they are transfer {sent} of {name}/{account}",
                (f"{name}/{account}",),
            )
    for kind in ("reservations", "deposits"):
        there = {row[0] for row in books[kind]}
        for number, id in getattr(promises, kind):
            if number == port.number and id not in there:
                yield Violation(f"{id} was acknowledged by {name} and is lost", (id, name))


def _stock(port: Port, books: dict[str, list[tuple[Any, ...]]]) -> Iterator[Violation]:
    """Every reservation has lapsed once, and nothing is held any more, nor ever was too much."""
    for id, item, lapses in books["reservations"]:
        if lapses != 1:
            what = f"{id} of {port.name}/{item} lapsed {lapses} times"
            yield Violation(what, (id, f"{port.name}/{item}"))
    for item, on_hand, reserved in books["stock"]:
        if reserved:
            what = f"of {on_hand} {port.name}/{item} {reserved} are reserved by nobody"
            yield Violation(what, (f"{port.name}/{item}",))


async def _effects(node: Node, port: Port, sent: dict[tuple[int, str], int]) -> list[Violation]:
    """Every transfer has had its effect at every port once and in order."""
    name = port.service.name
    found: list[Violation] = []
    marks = {
        (other, account): (last, count, breaks)
        for other, account, last, count, breaks in await rows(
            node, f"SELECT port, account, last, count, breaks FROM {name}_marks"
        )
    }
    for (other, account), number in sent.items():
        mark = marks.get((other, account), (0, 0, 0))
        if mark != (number, number, 0):
            found.append(
                Violation(
                    f"p{other}/{account} sent {number}; {node.name} heard of {mark[1]}, the last"
                    f" was {mark[0]}, out of order {mark[2]}",
                    (f"p{other}/{account}",),
                )
            )
    return found
