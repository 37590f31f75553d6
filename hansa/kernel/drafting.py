"""Drafting: a first text of the revision that would bring a service's schema to its declarations.

For a team at its desk, never at run time. The revisions so far are applied to an empty database in
memory, and Alembic compares it with the declared tables. Read the draft before keeping it: Alembic
sees no change of a CHECK constraint, takes a renamed column for two, and knows no data.
"""

from collections.abc import Sequence
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations.ops import UpgradeOps
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine

from hansa.kernel.columns import Day, Instant, Json, LogPosition, completed
from hansa.kernel.migration_sql import statements_of
from hansa.kernel.revisions import Migrated, Revision, chain_of


def draft(service: Migrated, name: str) -> tuple[str, str]:
    """Return the file name and the text of a service's next revision, called `name`.

    The text is an expand revision; what takes away must be moved to a contract revision by hand,
    and the linter insists on it. Raises ValueError when there is nothing to change.
    """
    chain = chain_of(service)
    ops = _changes(service, chain)
    if ops.is_empty():
        raise ValueError(f"{service.name}: the revisions already make what is declared")
    number = f"{int(chain[-1].revision) + 1 if chain else 1:04d}"
    before = f'"{chain[-1].revision}"' if chain else "None"
    return f"{number}_{name}.py", _text(ops, name, number, before)


def missing(service: Migrated) -> list[str]:
    """Return in words what a service declares that none of its revisions makes, sorted.

    What only the revisions make is not missing: it stays until no release uses it any more. Raises
    RevisionsInvalid.
    """
    found: list[str] = []
    for change in _changes(service, chain_of(service)).as_diffs():
        for kind, *what in change if isinstance(change, list) else [change]:
            if not kind.startswith("remove_"):
                found.append(_missing(kind, what))
    return sorted(set(found))


def _missing(kind: str, what: list[Any]) -> str:
    if kind == "add_table":
        return f"{what[0].name}: no revision makes this table"
    if kind == "add_column":
        return f"{what[1]}: no revision makes the column {what[2].name}"
    if kind.startswith("modify_"):
        _, table, column, *_ = what
        return f"{table}: the column {column} has another {kind.removeprefix('modify_')}"
    return f"{what[0].table.name}: no revision makes {what[0].name or kind.removeprefix('add_')}"


def _changes(service: Migrated, chain: Sequence[Revision]) -> UpgradeOps:
    """Return what would bring the schema that the revisions make to the declared one."""
    declared = MetaData()
    for table in completed(service.tables.values(), declared):
        table.info.clear()
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            for revision in chain:
                for statement in statements_of(revision, "sqlite"):
                    connection.exec_driver_sql(statement)
            opts = {"compare_server_default": _is_other_default}
            context = MigrationContext.configure(connection, opts=opts)
            ops: Any = produce_migrations(context, declared).upgrade_ops
            return ops or UpgradeOps([])
    finally:
        engine.dispose()


def _is_other_default(
    _context: Any,
    _there: Any,
    _declared: Any,
    there: str | None,
    _default: Any,
    declared: str | None,
) -> bool:
    """Compare as values: Alembic's own comparison of SQLite's defaults takes '' for another ''."""
    return _value(there) != _value(declared)


def _value(default: str | None) -> str | None:
    if default is None:
        return None
    plain = default.strip().strip("()")
    quoted = len(plain) > 1 and plain[0] == plain[-1] == "'"
    return plain[1:-1] if quoted else plain


def _portable(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Our kinds of columns by what they rest as: a revision must not change when a kind does."""
    if kind == "type" and isinstance(item, Instant | LogPosition):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, Day | Json):
        return "sa.Text()"
    return False


def _text(ops: UpgradeOps, name: str, number: str, before: str) -> str:
    code = render_python_code(ops, render_item=_portable)
    body = "\n".join(line for line in code.splitlines() if "# ###" not in line).strip()
    title = name.replace("_", " ").capitalize()
    return (
        f'"""{title}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        f'revision = "{number}"\ndown_revision = {before}\nphase = "expand"\n\n\n'
        f'def upgrade() -> None:\n    """{title}."""\n    {body}\n'
    )
