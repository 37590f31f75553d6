"""Check: once everything is well and at rest, is every promise kept?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hansa.kernel.commands import deadline_in
from hansa.kernel.storage import PLATFORM, Session
from hansa.simulate.client import Promises, Violation
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
_SEQUENCES: Final = """SELECT aggregate, count(*), max(seq), count(DISTINCT seq) FROM hansa_events
GROUP BY site, aggregate"""
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


async def unrest(nodes: Sequence[Node]) -> str:
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
    for node in nodes:
        followed = await rows(node, _FOLLOWED)
        for other, last in lasts.items():
            reached = [at for name, at in followed if name.startswith(f"follow:{other}/")]
            if other != node.name and min(reached, default=0) < last:
                return f"{node.name} has not followed {other} to {last}"
    return ""


async def violations(
    nodes: Sequence[Node], ports: Sequence[Port], mint: Mint, promises: Promises
) -> list[Violation]:
    """Return every promise that was broken."""
    found: list[Violation] = []
    coins = given = 0
    sent: dict[tuple[int, str], int] = {}
    for node in nodes:
        if (whole := (await rows(node, "PRAGMA quick_check(1)"))[0][0]) != "ok":
            found.append(Violation(f"the file of {node.name} is damaged: {whole}"))
    if found:
        return found
    for node, port in zip(nodes, ports, strict=True):
        books = await _books(node, port)
        found += [Violation(what) for what in await _kernel(node)]
        found += _there(port, books, promises)
        found += _stock(port, books)
        for name, balance, number, _ in books["accounts"]:
            coins += balance
            sent[port.number, name] = number
        given += sum(amount for _, amount in books["deposits"])
    for node, port in zip(nodes, ports, strict=True):
        found += await _effects(node, port, sent)
    minted = sum(mint.given.values())
    if given != minted:
        found.append(Violation(f"the mint gave {minted} coins, and {given} arrived"))
    expected = len(ports) * len(ACCOUNTS) * BALANCE + minted
    if coins != expected:
        about = tuple(f"n{one.number}/{name}" for one in ports for name in ACCOUNTS)
        found.append(Violation(f"there are {coins} coins, and {expected} were given out", about))
    return found


async def _books(node: Node, port: Port) -> dict[str, list[tuple[Any, ...]]]:
    name = port.service.name
    return {
        "accounts": await rows(node, f"SELECT name, balance, sent, received FROM {name}_accounts"),
        "stock": await rows(node, f"SELECT item, on_hand, reserved FROM {name}_stock"),
        "reservations": await rows(node, f"SELECT id, item, lapses FROM {name}_reservations"),
        "deposits": await rows(node, f"SELECT id, amount FROM {name}_deposits"),
    }


async def _kernel(node: Node) -> list[str]:
    """Return what is wrong with the rows of the kernel itself."""
    found = [
        f"{node.name} has {count} parked {what}"
        for what, statement in _PARKED
        if (count := (await rows(node, statement))[0][0])
    ]
    for aggregate, count, highest, different in await rows(node, _SEQUENCES):
        if not count == highest == different:
            found.append(f"{node.name}: a gap in the sequence of {aggregate}")
    seen: Counter[str] = Counter()
    for aggregate, seq in await rows(node, _ORDER):
        seen[aggregate] += 1
        if seq != seen[aggregate]:
            found.append(f"{node.name}: {aggregate} {seq} is out of its order")
    return found


def _there(
    port: Port, books: dict[str, list[tuple[Any, ...]]], promises: Promises
) -> Iterator[Violation]:
    """What was acknowledged is there, once."""
    node = f"n{port.number}"
    accounts = {row[0]: row[2] for row in books["accounts"]}
    told: Counter[tuple[str, int]] = Counter()
    for number, account, sent in promises.transfers:
        if number == port.number:
            told[account, sent] += 1
            if sent > accounts[account]:
                yield Violation(
                    f"transfer {sent} of {node}/{account} was acknowledged and is lost",
                    (f"{node}/{account}",),
                )
    for (account, sent), times in told.items():
        if times > 1:
            yield Violation(
                f"{times} wishes were told that they are transfer {sent} of {node}/{account}",
                (f"{node}/{account}",),
            )
    for kind in ("reservations", "deposits"):
        there = {row[0] for row in books[kind]}
        for number, id in getattr(promises, kind):
            if number == port.number and id not in there:
                yield Violation(f"{id} was acknowledged by {node} and is lost", (id, node))


def _stock(port: Port, books: dict[str, list[tuple[Any, ...]]]) -> Iterator[Violation]:
    """Every reservation has lapsed once, and nothing is held any more, nor ever was too much."""
    for id, item, lapses in books["reservations"]:
        if lapses != 1:
            what = f"{id} of n{port.number}/{item} lapsed {lapses} times"
            yield Violation(what, (id, f"n{port.number}/{item}"))
    for item, on_hand, reserved in books["stock"]:
        if reserved:
            what = f"of {on_hand} n{port.number}/{item} {reserved} are reserved by nobody"
            yield Violation(what, (f"n{port.number}/{item}",))


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
                    f"n{other}/{account} sent {number}; {node.name} heard of {mark[1]}, the last"
                    f" was {mark[0]}, out of order {mark[2]}",
                    (f"n{other}/{account}",),
                )
            )
    return found
