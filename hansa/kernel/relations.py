"""Relations and the authorizer seam: who stands in which relation to what, on one site.

Relations are rows of the cell and commit with the business row that they are about. The authorizer
here grants a permission that the principal's key carries, or one that a relation of the same name
gives on the object itself; a richer one takes its place through the same seam.
"""

from typing import Protocol

from hansa.kernel.caller import Principal
from hansa.kernel.problems import Denied
from hansa.kernel.storage import Session

_SQL = {
    "add": "INSERT INTO hansa_relations (site, object, relation, subject)"
    " VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    "remove": "DELETE FROM hansa_relations"
    " WHERE site = ?1 AND object = ?2 AND relation = ?3 AND subject = ?4",
    "check": "SELECT 1 FROM hansa_relations"
    " WHERE site = ?1 AND object = ?2 AND relation = ?3 AND subject = ?4",
    "list": "SELECT object FROM hansa_relations"
    # by its beginning, not by its order, which on PostgreSQL depends on the language
    " WHERE site = ?1 AND subject = ?2 AND relation = ?3 AND substr(object, 1, ?5) = ?4"
    " ORDER BY object LIMIT 10000",
}


def sql(session: Session, text: str) -> str:
    """Return SQL written with ?1 placeholders in the session's dialect."""
    return text if session.dialect == "sqlite" else text.replace("?", "$")


async def add(session: Session, site: str, object: str, relation: str, subject: str) -> None:
    """Record a relation; recording it twice is the same as once."""
    await session.run(sql(session, _SQL["add"]), (site, object, relation, subject))


async def remove(session: Session, site: str, object: str, relation: str, subject: str) -> None:
    """Take a relation back; nothing happens when there is none."""
    await session.run(sql(session, _SQL["remove"]), (site, object, relation, subject))


class Authorizer(Protocol):
    """Who may do what to which object. Asked before, inside after loading, and as a list filter."""

    async def check(
        self, session: Session, site: str, principal: Principal, permission: str, object: str
    ) -> None:
        """Return if allowed. Raises Denied."""
        ...

    async def permitted(
        self, session: Session, site: str, principal: Principal, permission: str, kind: str
    ) -> list[str] | None:
        """Return the objects ``kind:...`` that are allowed, at most 10,000; None means all."""
        ...


class RelationAuthorizer:
    """Grants what the key's permissions say, and what a direct relation to the object says."""

    async def check(
        self, session: Session, site: str, principal: Principal, permission: str, object: str
    ) -> None:
        """Return if allowed. Raises Denied."""
        if principal.allows(permission):
            return
        arguments = (site, object, permission, principal.id)
        if not await session.fetch(sql(session, _SQL["check"]), arguments):
            raise Denied(f"It takes the permission {permission} on {object}.")

    async def permitted(
        self, session: Session, site: str, principal: Principal, permission: str, kind: str
    ) -> list[str] | None:
        """Return the objects ``kind:...`` that are allowed, at most 10,000; None means all."""
        if principal.allows(permission):
            return None
        arguments = (site, principal.id, permission, f"{kind}:", len(kind) + 1)
        return [row[0] for row in await session.fetch(sql(session, _SQL["list"]), arguments)]
