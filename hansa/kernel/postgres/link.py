"""Link: one connection, and the site that its session is set to.

Everything of the driver that is not an error is in this module.
"""

import re
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from hansa.kernel.postgres.errors import Lost, is_refused, late
from hansa.kernel.problems import StorageFailed
from hansa.kernel.storage import PLATFORM, Row

State = tuple[str, bool]
"""The site, and whether row security is lifted across sites."""

NOWHERE: Final[State] = ("", False)
"""What is asked for where no site's rows are read; no connection is ever set to it."""
EVERY_SITE: Final = "*"
"""What a session enters to read across sites."""

_SITE: Final = re.compile(r"[A-Za-z0-9_]{1,90}")
CONNECT_S: Final = 10.0
RECOVER_S: Final = 5.0
PASS_S: Final = 10.0
"""How long a pass of the sequencer may take, the wait for another one included."""
_SCHEMA_S: Final = 86_400.0
_IDLE_MAX_MS: Final = "300000"

_SETTINGS: Final = {
    "application_name": "hansa",
    "jit": "off",
    # A sequential scan in a serializable transaction locks the whole table against every insert
    # (PostgreSQL 15, 13.2.3); small tables would be read that way.
    "enable_seqscan": "off",
    # A query's only statement runs outside of a transaction; it must not write there either.
    "default_transaction_read_only": "on",
    # What ends it on the server when this process is cut off from it: far over any deadline.
    "statement_timeout": _IDLE_MAX_MS,
    "idle_in_transaction_session_timeout": _IDLE_MAX_MS,
}


def entered(state: State, site: str) -> State:
    """Return the state of a session that enters a site, or every site."""
    return (state[0], True) if site == EVERY_SITE else (site, state[1])


def settings_of(state: State, *, local: bool) -> str:
    """Return the statements that set a session to a state; `local` to the transaction's end.

    The name stands in the text, so it is checked here. Raises ValueError.
    """
    site, across = state
    if _SITE.fullmatch(site) is None:
        raise ValueError("a site's id is made of letters, digits and underscores")
    scope = "LOCAL" if local else "SESSION"
    switch = "on" if across else "off"
    return f"SET {scope} hansa.site = '{site}'; SET {scope} hansa.across = '{switch}'"


def left(deadline: float) -> float:
    """Return the seconds until a deadline. Raises DeadlineExceeded when it is over."""
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise late()
    return rest


class Link:
    """One connection. Only one statement may run at a time."""

    __slots__ = ("_connection", "site", "spare", "state", "taken")

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.state: State | None = None
        """None is new or in doubt. No request is equal to it, whatever a site is called."""
        self.site = ""
        self.taken = 0.0
        """Who has it, and since when."""
        self.spare = False
        """Opened beyond the pool's size, for a read inside of another one."""

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._connection.is_closed()

    @property
    def idle(self) -> bool:
        """Whether it can be handed on: there, and in no transaction."""
        return not (self._connection.is_closed() or self._connection.is_in_transaction())

    @property
    def backend(self) -> int:
        """The server's process id of this connection."""
        return self._connection.get_server_pid()

    def rows(self, sql: str, args: Sequence[Any], timeout_s: float) -> Awaitable[Sequence[Row]]:
        """Run one statement and return its rows."""
        # A Record is no Sequence by its name, but it is by what it can do.
        call: object = self._connection.fetch(sql, *args, timeout=timeout_s)
        return cast("Awaitable[Sequence[Row]]", call)

    async def count(self, sql: str, args: Sequence[Any], timeout_s: float) -> int:
        """Run one statement and return how many rows it changed."""
        tag = await self._connection.execute(sql, *args, timeout=timeout_s)
        number = tag.rpartition(" ")[2]
        return int(number) if number.isdecimal() else 0

    def script(self, script: str, timeout_s: float) -> Awaitable[str]:
        """Run statements in one message; return what PostgreSQL calls the last of them."""
        return self._connection.execute(script, timeout=timeout_s)

    async def enter(self, state: State, deadline: float) -> None:
        """Set the session's site; nothing to do when it is the one already."""
        if self.state == state:
            return
        script = settings_of(state, local=False)
        self.state = None  # until it is done: broken off half-way, nobody may believe it
        await self.script(script, left(deadline))
        self.state = state

    async def recover(self) -> bool:
        """End what was broken off; tell whether the connection can be used again."""
        try:
            if not self._connection.is_in_transaction():
                await self.script("SELECT 1", RECOVER_S)  # it may have been the BEGIN
            if self._connection.is_in_transaction():
                await self.script("ROLLBACK", RECOVER_S)
        except Exception:  # whatever it is, the connection is not worth more tries
            return False
        return self.idle

    async def close(self) -> None:
        """Take leave of the server, or hang up where it does not answer."""
        try:
            await self._connection.close(timeout=RECOVER_S)
        except Exception:  # it goes away, one way or the other
            self.drop()

    def drop(self) -> None:
        """Hang up at once."""
        self._connection.terminate()


class Address:
    """Where PostgreSQL is: one host or several, of which one takes writes at a time."""

    def __init__(self, dsn: str) -> None:
        self._hosts = hosts_of(dsn)

    async def connect(self, timeout_s: float = CONNECT_S) -> Link:
        """Connect to the host that takes writes, the one of last time first.

        Raises Lost where none can be reached now, and StorageFailed where waiting would not help.
        """
        end = time.monotonic() + timeout_s
        why: BaseException = TimeoutError("there is no time left")
        for place in range(len(self._hosts)):
            # A host that is gone without a word must leave time for those after it.
            share_s = (end - time.monotonic()) / (len(self._hosts) - place)
            if share_s <= 0:
                break
            try:
                link = await _connect(self._hosts[place], share_s)
            except (
                OSError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ) as error:
                if is_refused(error):
                    raise StorageFailed(f"PostgreSQL refuses the connection: {error}.") from error
                why = error
                continue
            self._hosts.insert(0, self._hosts.pop(place))
            return link
        raise Lost(f"PostgreSQL cannot be reached: {why or type(why).__name__}.") from why


def hosts_of(dsn: str) -> list[str]:
    """Return a DSN of several hosts (``//user@one:5432,two:5432/name``) as one DSN a host."""
    parts = urlsplit(dsn)
    login, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return [dsn]
    return [urlunsplit(parts._replace(netloc=f"{login}{at}{host}")) for host in hosts.split(",")]


async def _connect(dsn: str, timeout_s: float) -> Link:
    connection = await asyncpg.connect(
        dsn,
        timeout=timeout_s,
        statement_cache_size=1024,
        max_cached_statement_lifetime=0,
        server_settings=_SETTINGS,
        target_session_attrs=SessionAttribute.primary,
    )
    return Link(connection)


async def apply(dsn: str, script: Sequence[str]) -> None:
    """Run schema statements in one transaction, on a connection of their own. Raises the driver's
    errors, Lost and StorageFailed."""
    link = await Address(dsn).connect()
    try:
        begin = "BEGIN READ WRITE; SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on"
        setting = settings_of((PLATFORM, True), local=True)
        await link.script(f"{begin}; {setting}", CONNECT_S)
        for statement in script:
            await link.script(statement, _SCHEMA_S)
        await link.script("COMMIT", CONNECT_S)
    finally:
        await link.close()
