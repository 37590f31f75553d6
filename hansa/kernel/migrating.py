"""Migrating: bringing a cell's schema to what the code declares, forward only, once.

Each service has one line of revisions (module revisions). What must never happen: a revision
applied twice or half, two processes migrating at once, old code on a schema that took away what it
uses, or a table on PostgreSQL without row security.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Table

from hansa.kernel import machine, row_security
from hansa.kernel import tables as kernel_tables
from hansa.kernel.clock import MachineClock
from hansa.kernel.revisions import Migrated, Phase, Revision, RevisionsInvalid, chain_of, numbers_of
from hansa.kernel.storage import PLATFORM, Dialect, Session, Storage

READ_S: Final = 30.0
"""How long the reading of what is applied may take, seconds."""
_LOCK: Final = 0x68616E7361  # "hansa": one lock for all migrations of a database

TABLE: Final = """CREATE TABLE IF NOT EXISTS hansa_migrations (
    service TEXT NOT NULL,
    revision TEXT NOT NULL,
    phase TEXT NOT NULL,
    applied_at_us BIGINT NOT NULL,
    PRIMARY KEY (service, revision)
)"""


class MigrationRefused(Exception):
    """The database and the code do not fit together; nothing was changed. The message says what
    to do."""


class MigrationFailed(Exception):
    """The database refused a revision; its service's transaction was undone."""


@dataclass(frozen=True, slots=True)
class Step:
    """A revision that is to be applied, or was."""

    service: str
    revision: str
    name: str
    phase: Phase


@dataclass(frozen=True)
class KernelSchema:
    """The kernel's own tables, migrated before those of any service."""

    dialect: Dialect
    name: str = "kernel"
    package: str = "hansa.kernel"
    tables: Mapping[str, Table] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", _kernel_tables(self.dialect))


def _kernel_tables(dialect: Dialect) -> dict[str, Table]:
    """Only the log differs between the engines; the runner makes `hansa_migrations` itself."""
    return {table.name: table for table in kernel_tables.all_tables(dialect)}


Applied = dict[str, dict[str, Phase]]
"""What a database has: by service, by revision, its phase."""


async def plan(
    storage: Storage, services: Sequence[Migrated], *, until: Phase = "contract"
) -> list[Step]:
    """Return what is to be applied, in order, with the kernel's revisions first.

    With `until="expand"` a service stops before its first revision that takes something away.
    Raises MigrationRefused when the database is newer than the code, and RevisionsInvalid.
    """
    every = _with_kernel(storage.dialect, services)
    applied = await read_applied(storage)
    chains = _chains(every, applied)
    return [step_of(revision) for revision in pending(chains, applied, until)]


async def migrate(
    storage: Storage,
    services: Sequence[Migrated],
    *,
    until: Phase = "contract",
    now_us: Callable[[], int] = MachineClock().now_us,
) -> list[Step]:
    """Apply what `plan` returns, one transaction per service, and return the steps done here.

    Another process may do the same at the same time: one applies, the others find it done. Raises
    MigrationRefused, RevisionsInvalid, and MigrationFailed for what the database refused.
    """
    every = _with_kernel(storage.dialect, services)
    chains = _chains(every, await read_applied(storage))
    by_name = {service.name: service for service in every}
    done: list[Step] = []
    while todo := pending(chains, await read_applied(storage), until):
        for name, found in groupby(todo, lambda revision: revision.service):
            batch = list(found)
            script = _script(storage.dialect, by_name[name], chains[name], batch, now_us())
            try:
                await storage.apply(script)
            except Exception as error:
                after = await read_applied(storage)
                if batch[0].revision in after.get(name, {}):
                    break  # another process was first: see what is left
                names = ", ".join(revision.revision for revision in batch)
                raise MigrationFailed(f"{name} {names}: {error}") from error
            done += [step_of(revision) for revision in batch]
    return done


def _with_kernel(dialect: Dialect, services: Sequence[Migrated]) -> list[Migrated]:
    every: list[Migrated] = [KernelSchema(dialect), *services]
    names: set[str] = set()
    for service in every:
        if service.name in names:
            raise RevisionsInvalid(f"two services are named {service.name}")
        names.add(service.name)
    return every


def _chains(every: Sequence[Migrated], applied: Applied) -> dict[str, list[Revision]]:
    """Return the revisions of each service but of those of which the database has all and no more:
    thousands of files are not read to find that there is nothing to do."""
    return {
        service.name: chain_of(service)
        for service in every
        if numbers_of(service) != applied.get(service.name, {}).keys()
    }


# ---- what is there


async def read_applied(storage: Storage) -> Applied:
    """Return which revisions a database has; nothing for an empty one."""

    async def body(session: Session) -> Sequence[Sequence[Any]]:
        if session.dialect == "sqlite":
            there = await session.fetch(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'hansa_migrations'"
            )
        else:
            there = await session.fetch(
                "SELECT 1 WHERE to_regclass('hansa_migrations') IS NOT NULL"
            )
        if not there:
            return ()
        return await session.fetch("SELECT service, revision, phase FROM hansa_migrations")

    rows = await storage.read(body, site=PLATFORM, deadline=machine.monotonic() + READ_S)
    applied: Applied = {}
    for service, revision, phase in rows:
        applied.setdefault(service, {})[revision] = phase
    return applied


def pending(
    chains: Mapping[str, Sequence[Revision]], applied: Applied, until: Phase
) -> list[Revision]:
    """Return the revisions of `chains` that are not applied, service by service.

    A database that is ahead by expand revisions only is served: that is what they are for, and so a
    release can be taken back. Raises MigrationRefused when it is ahead by a contract, or when it
    has revisions that the code does not know besides lacking some that it does.
    """
    todo: list[Revision] = []
    for service, chain in chains.items():
        have = applied.get(service, {})
        known = [revision.revision for revision in chain]
        missing = [revision for revision in chain if revision.revision not in have]
        unknown = sorted(revision for revision in have if revision not in known)
        contracts = [revision for revision in unknown if have[revision] == "contract"]
        if contracts:
            raise MigrationRefused(
                f"the database is newer than this code: {service} has the contract revision "
                f"{contracts[0]}, which may have taken away what this code uses; start the release "
                "that knows it"
            )
        if unknown and missing:
            raise MigrationRefused(
                f"{service}: the database has {unknown[0]}, which this code does not know, and "
                f"lacks {missing[0].revision}, which it does: the two come from different branches"
            )
        if missing and have.keys() & known[chain.index(missing[0]) :]:
            raise MigrationRefused(
                f"{service}: {missing[0].file.name} is not applied but a later one is; a new "
                "revision goes to the end of the line"
            )
        for revision in missing:
            if until == "expand" and revision.phase == "contract":
                break
            todo.append(revision)
    return todo


# ---- what is to be done


def _script(
    dialect: Dialect,
    service: Migrated,
    chain: Sequence[Revision],
    batch: Sequence[Revision],
    at_us: int,
) -> list[str]:
    """Return the statements of one service's transaction; `batch` is a part of its `chain`."""
    # Alembic is loaded only here, when there is something to do.
    from hansa.kernel import migration_sql

    faults = [str(fault) for revision in batch for fault in migration_sql.lint(revision)]
    if faults:
        raise RevisionsInvalid("\n".join(faults))
    script: list[str] = []
    if dialect == "postgresql":
        script.append(f"SELECT pg_advisory_xact_lock({_LOCK})")
    script.append(TABLE)
    # First, so that a process that waited for the lock stops here instead of in the middle.
    script += [
        "INSERT INTO hansa_migrations (service, revision, phase, applied_at_us) "
        f"VALUES ('{service.name}', '{revision.revision}', '{revision.phase}', {at_us})"
        for revision in batch
    ]
    for revision in batch:
        script += migration_sql.statements_of(revision, dialect)
    made = {"hansa_migrations"}
    made |= migration_sql.tables_after(chain[: chain.index(batch[-1]) + 1], dialect)
    missing = [table.name for table in service.tables.values() if table.name not in made]
    if missing and batch[-1] is chain[-1]:
        raise RevisionsInvalid(
            f"{service.name} declares {', '.join(missing)}, but no revision makes it:"
            f" `hansa new revision {service.name} NAME` drafts one"
        )
    return script + _secured(dialect, service, made)


def _secured(dialect: Dialect, service: Migrated, made: set[str]) -> list[str]:
    """Return what stands behind the declared tables on PostgreSQL: row security and grants."""
    if dialect != "postgresql":
        return []
    return [
        statement
        for table in service.tables.values()
        if table.name in made
        for statement in row_security.secure(table)
    ]


def step_of(revision: Revision) -> Step:
    """Return a revision as a step."""
    return Step(revision.service, revision.revision, revision.name, revision.phase)


def lines_of(steps: Sequence[Step], *, done: bool) -> list[str]:
    """Return steps as lines for people: what is to be applied, or with `done` what was."""
    if not steps:
        return ["The schema is up to date."]
    wide = max(len(step.service) for step in steps)
    lines = [
        f"  {step.service:<{wide}}  {step.revision}  {step.phase:<8}  {step.name.replace('_', ' ')}"
        for step in steps
    ]
    count = "1 revision" if len(steps) == 1 else f"{len(steps)} revisions"
    return [f"{count} {'applied' if done else 'to apply'}:", *lines]
