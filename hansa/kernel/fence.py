"""Fence: which sites this process must not write for, or not even read. In memory.

On SQLite one process owns the file, so that this alone decides: a command is refused when it comes,
and again when its turn has come, since it may have waited behind whatever closed the site; there a
turn lasts until its savepoint is released. On PostgreSQL it spares questions, and the row in
`hansa_sites` decides, which every command reads in its own transaction: one that began before the
fence is undone by the serializable order if what it writes was read, without it, by one that began
after the fence.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar, Final, TypeVar

from hansa.kernel.problems import NotFound, Overloaded, Problem
from hansa.kernel.storage import PLATFORM, Session, Storage

T = TypeVar("T")

OPEN: Final = frozenset({"", "here"})
STATES: Final = "SELECT site, state FROM hansa_sites WHERE state <> 'here'"
_STATE: Final = "SELECT state FROM hansa_sites WHERE site = $1"


class SiteMoving(Overloaded):
    """The site is on its way to another cell; the same request may be sent again (503). Nothing
    was done."""

    slug = "site-moving"
    title = "The site is being moved"


class SiteElsewhere(Problem):
    """The site's rows are in another cell (421, RFC 9110 section 15.5.20). Nothing was done."""

    status: ClassVar[int] = 421
    slug = "site-elsewhere"
    title = "The site is in another cell"


class SiteErased(NotFound):
    """The site was erased, or is being erased (404)."""

    slug = "site-not-found"
    title = "There is no such site"


CLOSED: Final = (SiteMoving, SiteElsewhere, SiteErased)
"""Refusals because of where the site is, by which nothing was done."""
LEFT: Final = (SiteElsewhere, SiteErased)
"""Those that do not end while the site is not brought back."""
ON_ITS_WAY: Final = frozenset({SiteMoving.slug, SiteElsewhere.slug})
"""Slugs of refusals after which it helps to look again where the site is."""


def refuse(site: str, state: str) -> None:
    """Raise one of CLOSED for a site in a state; nothing where it is open."""
    if state in OPEN:
        return
    if state == "moving":
        raise SiteMoving("It takes a moment; send the request again.", retry_after_s=1)
    if state in ("gone", "coming"):
        raise SiteElsewhere(f"{site} is not in this cell.")
    raise SiteErased("There is no such site.")


class Fence:
    """The sites that are closed here."""

    def __init__(self) -> None:
        self._closed: dict[str, str] = {}

    def load(self, rows: Iterable[Any]) -> None:
        """Take over what the cell keeps: site and state."""
        self._closed = {row[0]: row[1] for row in rows}

    def note(self, site: str, state: str) -> None:
        """Have a site be in a state from now on; an open one is forgotten."""
        if state in OPEN:
            self._closed.pop(site, None)
        else:
            self._closed[site] = state

    def is_left(self, site: str) -> bool:
        """Tell whether a site is in another cell, or erased."""
        return self._closed.get(site, "") not in {*OPEN, "moving"}

    def check_write(self, site: str, across: bool) -> None:
        """Raise as `refuse`. What works across sites looks for itself."""
        if self._closed and not across and site != PLATFORM:
            refuse(site, self._closed.get(site, ""))

    def check_read(self, site: str, across: bool) -> None:
        """Raise as `refuse`; while a site moves it can be read."""
        if self._closed and not across and site != PLATFORM:
            state = self._closed.get(site, "")
            if state != "moving":
                refuse(site, state)


def guarded(
    storage: Storage, site: str, body: Callable[[Session], Coroutine[Any, Any, T]]
) -> Callable[[Session], Coroutine[Any, Any, T]]:
    """Return a body that is refused where its site is closed, as its own snapshot has it. Who left
    something behind has been told so by the statement that wrote it (see `outbox`)."""
    if storage.dialect == "sqlite" or site == PLATFORM:
        return body

    async def checked(session: Session) -> T:
        value = await body(session)
        state = session.residence
        if state is None:
            rows = await session.fetch(_STATE, (site,))
            state = str(rows[0][0]) if rows else ""
        if state not in OPEN:
            storage.fence.note(site, state)
            refuse(site, state)
        return value

    return checked
