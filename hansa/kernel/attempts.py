"""Attempts: where a caller reads what became of an action that was not settled in time."""

from typing import Any, Literal

import msgspec

from hansa.kernel import actions
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import NotFound
from hansa.kernel.service import Service
from hansa.kernel.structs import Struct

attempts = Service("attempts", owner="kernel", package=__name__)


class Attempt(Struct):
    """An attempt: while it is open there is no status and no answer yet."""

    id: ID
    action: str
    state: Literal["open", "settled"]
    status: int | None = None
    answer: Any = None


@attempts.query("GET /{id}", needs=PUBLIC)
async def get_attempt(ctx: Context, id: ID) -> Attempt:
    """Return an attempt of this site; its unguessable id is what it takes to see it."""
    found = await actions.state_of(ctx.session, ctx.site, id)
    if found is None:
        raise NotFound(f"There is no attempt {id[:80]} on this site.")
    if not found.status:
        return Attempt(id, found.action, "open")
    action = ctx.runtime.actions[found.action]
    answer = ctx.runtime.stored.opened(ctx.site, found.answer, action.returns)
    return Attempt(id, found.action, "settled", found.status, msgspec.json.decode(answer))
