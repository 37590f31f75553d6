"""Drift: declared tables that are not what the revisions make, told with what to do.

A revision that was forgotten fails nowhere but at the first statement. So `hansa check` and
`hansa migrate` compare all that is declared with what the revisions make; a start looks only at
whether each declared column is there, which costs a query.
"""

import importlib.util
from collections.abc import Sequence

from hansa.kernel import schema
from hansa.kernel.migrating import MigrationRefused
from hansa.kernel.service import Service
from hansa.kernel.storage import Storage


def read_drift(services: Sequence[Service]) -> list[str]:
    """Return in words what the declared tables have that no revision makes, and what to do.

    Raises RevisionsInvalid.
    """
    from hansa.kernel import drafting  # Alembic costs what a start must not pay

    told: list[str] = []
    for service in services:
        if missing := drafting.missing(service):
            told += [*(f"  {one}" for one in missing), _what_to_do(service)]
    return told


async def check_declared(storage: Storage, services: Sequence[Service]) -> None:
    """Raise MigrationRefused where a migrated database lacks a declared table or column."""
    lacking = await schema.lacking(storage, services)
    for service in services:
        if service.name in lacking:
            raise MigrationRefused(
                f"{service.name} declares what none of its revisions makes:"
                f" {', '.join(lacking[service.name])}. {_what_to_do(service)}"
            )


def _what_to_do(service: Service) -> str:
    drafted = f"`hansa new revision {service.name} NAME` drafts the revision that is missing."
    spec = importlib.util.find_spec(service.package)
    if spec is None or spec.submodule_search_locations:
        return drafted
    name = service.package.rpartition(".")[2]
    return f"A plain module has no revisions: move {name}.py to {name}/__init__.py. Then {drafted}"
