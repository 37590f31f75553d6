# pyright: reportPrivateUsage=false
"""Aging: thirty days go by for what a node has copied of other nodes' logs, and has heard.

Other things stay young, and the logs that it was copied from have it as long as they like: so it is
as where a cell is far behind, or a site moves after long.
"""

from hansa.kernel import watermarks
from hansa.kernel.commands import deadline_in
from hansa.kernel.problems import Problem
from hansa.kernel.residence import NOT_AWAY
from hansa.kernel.storage import PLATFORM, Session
from hansa.simulate.history import History
from hansa.simulate.node import Node

_COPIES = f"""SELECT position FROM hansa_events WHERE position <= ?1
AND NOT EXISTS (SELECT 1 FROM hansa_aggregates a
  WHERE a.site = hansa_events.site AND a.aggregate = hansa_events.aggregate)
AND NOT EXISTS (SELECT 1 FROM hansa_deliveries d WHERE d.position = hansa_events.position)
{NOT_AWAY.format(table="hansa_events")}"""
_RECEIPTS = f"""DELETE FROM hansa_receipts WHERE event IN
(SELECT id FROM hansa_events WHERE position IN ({_COPIES}))"""
_PRUNE = f"DELETE FROM hansa_events WHERE position IN ({_COPIES})"


async def age(node: Node, history: History) -> None:
    """Prune the copies of a node that all its subscribers are past, and their receipts, if it has
    nothing to deliver now. Runs in its process."""
    dispatcher = node.runtime.dispatcher
    heard = 0 if dispatcher._pending else dispatcher._position

    async def body(session: Session) -> int:
        await session.run(_RECEIPTS, (heard,))
        await watermarks.note(session, _COPIES, heard)
        return await session.run(_PRUNE, (heard,))

    try:
        gone = await node.runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(30), across=True
        )
    except Problem as problem:
        history.note(node.name, f"cannot prune: {problem.slug}")
    else:
        history.note(node.name, f"prunes {gone.value} events that it had from other nodes")
