"""Transactions: one command, driven through BEGIN, its statements and COMMIT."""

import asyncio
from typing import Final, TypeVar

from hansa.kernel.observe.statements import Statements
from hansa.kernel.postgres.errors import (
    Lost,
    is_conflict,
    is_demoted,
    is_late,
    is_lost,
    late,
    translate,
)
from hansa.kernel.postgres.link import RECOVER_S, Link, State, left, settings_of
from hansa.kernel.postgres.pool import Pool
from hansa.kernel.postgres.sessions import WriteSession, holding
from hansa.kernel.problems import DeadlineExceeded, StorageFailed
from hansa.kernel.storage import Body, Committed
from hansa.kernel.trampoline import drive

T = TypeVar("T")

_BEGIN: Final = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE"
COMMIT_MIN_S: Final = 1.0
"""A commit that has begun gets as much time, so that its outcome is known if it can be."""


class Retry(Exception):
    """Nothing was kept, and another try may do."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


async def transact(
    pool: Pool, body: Body[T], state: State, deadline: float, statements: Statements
) -> Committed[T]:
    """Run `body` once. Raises Retry where nothing was kept and another try may do."""
    try:
        link = await pool.take(state, deadline, holding=holding.get())
    except Lost as lost:
        raise Retry(lost) from lost
    sound = False
    try:
        await _begin(link, state, deadline)
        session = WriteSession(link, state, deadline, statements)
        try:
            value = await drive(body(session))
            if session.failure is not None:  # the body went on after it, PostgreSQL does not
                raise translate(session.failure) from session.failure
        except Exception as error:
            failure = session.failure
            if failure is None:  # of the body's own making, such as an OSError of a file
                raise
            if is_lost(failure) or is_demoted(failure):
                link.drop()
                raise Retry(failure) from error
            if is_conflict(failure):
                raise Retry(failure) from error
            raise
        finally:
            session.end()
        await _commit(link, deadline)
        sound = True
        return Committed(value, session.position)
    except Exception as error:
        await _undo(link, error)
        sound = True
        raise
    finally:
        # Broken off from outside, a BEGIN may be on its way still, which the driver does not know.
        if sound and link.idle:
            pool.give(link)
        else:
            pool.reclaim(link)


async def _begin(link: Link, state: State, deadline: float) -> None:
    """Begin in one message, which sets the site for this transaction only."""
    begin = _BEGIN
    if link.state != state:
        begin = f"{begin}; {settings_of(state, local=True)}"
    rest_s = left(deadline)
    try:
        await link.script(begin, rest_s)
    except Exception as error:  # nothing has happened yet, so that another try can do no harm
        link.drop()
        raise (late() if is_late(error) else Retry(error)) from error


async def _undo(link: Link, error: Exception) -> None:
    """Roll back, unless the connection cannot do that right now."""
    broken_off = is_late(error) or isinstance(error, DeadlineExceeded)
    if broken_off or link.closed or link.idle:
        return
    try:
        await link.script("ROLLBACK", RECOVER_S)
    except Exception:  # the connection is not idle then, and is put right or closed
        return


async def _commit(link: Link, deadline: float) -> None:
    """Commit. Raises StorageFailed where nobody can tell whether it was kept."""
    rest_s = max(COMMIT_MIN_S, left(deadline))
    try:
        tag = await link.script("COMMIT", rest_s)
    except Exception as error:
        if is_conflict(error):
            raise Retry(error) from error
        if is_lost(error) or is_late(error):
            link.drop()
            raise StorageFailed(
                "The connection was lost while it committed; retry with the same key."
            ) from error
        told = translate(error)
        if told is error:
            raise
        raise told from error
    except asyncio.CancelledError:
        link.drop()  # whatever comes of it, nobody waits for it
        raise
    if tag != "COMMIT":
        raise StorageFailed("PostgreSQL rolled the transaction back.")
