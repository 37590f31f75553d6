"""Schema: the declared tables of a service made at once, for services that have no revisions."""

from hansa.kernel import migration_sql, row_security
from hansa.kernel.service import Service
from hansa.kernel.storage import Storage


async def make_tables(storage: Storage, service: Service) -> None:
    """Make a service's tables in an open cell, with their row security on PostgreSQL."""
    tables = list(service.tables.values())
    script = migration_sql.declared_statements(tables, storage.dialect)
    if storage.dialect == "postgresql":
        script += [statement for table in tables for statement in row_security.secure(table)]
    await storage.apply(script)
