"""Row security: PostgreSQL's own wall behind the compiler's. Pure: functions that return SQL.

Each site's table shows only the rows of the site that the session has set, to its owner as well.
The application's role owns nothing and cannot lift that. `hansa.across` is for the kernel's loops,
which follow all sites; handlers have no way to set it.
"""

from typing import Final

from sqlalchemy import Table

APPLICATION: Final = "hansa_app"
"""The role (or group of roles) that serves."""
OWNER: Final = "hansa_owner"
"""The role that migrates, and owns the tables."""

_VISIBLE: Final = (
    "site = current_setting('hansa.site', true) OR current_setting('hansa.across', true) = 'on'"
)

ROLE_FAULTS: Final = """SELECT current_user, fault FROM (
  SELECT 1, 'is a superuser, or a member of one' FROM pg_roles
    WHERE rolsuper AND pg_has_role(current_user, oid, 'MEMBER')
  UNION ALL SELECT 2, 'may bypass row security' FROM pg_roles
    WHERE rolbypassrls AND pg_has_role(current_user, oid, 'MEMBER')
  UNION ALL SELECT 3, 'owns the table ' || relname FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
      AND pg_has_role(current_user, relowner, 'MEMBER')
) AS faults (rank, fault) ORDER BY rank, fault LIMIT 1"""
"""What lets the connected role pass row security: its name and the fault; no row if all is well."""


def secure(table: Table) -> list[str]:
    """Return what stands behind a table: the grant, and for a site's table its policy."""
    name = f'"{table.name}"'
    statements = [f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {APPLICATION}"]
    if table.info.get("scope") == "site":
        statements += [
            f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
            f"DROP POLICY IF EXISTS hansa_site ON {name}",
            f"CREATE POLICY hansa_site ON {name} USING ({_VISIBLE}) WITH CHECK ({_VISIBLE})",
        ]
    return statements


def bootstrap(database: str, password: str) -> list[str]:
    """Return what a superuser runs once in a database: the two roles and what they may.

    `password` is the login of both; it must be made of letters and digits.
    """
    if not password.isalnum() or not database.replace("_", "").isalnum():
        raise ValueError("database and password are made of letters and digits")
    login = f"LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD '{password}'"
    return [
        *[
            f"DO $$ BEGIN CREATE ROLE {role} {login}; EXCEPTION WHEN duplicate_object THEN"
            f" ALTER ROLE {role} {login}; END $$"
            for role in (OWNER, APPLICATION)
        ],
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}",
        f"GRANT USAGE ON SCHEMA public TO {APPLICATION}",
        # A temporary table of a kernel table's name would stand before it.
        f'REVOKE TEMPORARY ON DATABASE "{database}" FROM PUBLIC',
        f'GRANT CONNECT ON DATABASE "{database}" TO {OWNER}, {APPLICATION}',
    ]
