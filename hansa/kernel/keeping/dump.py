"""Dump: a cell's database out of a PostgreSQL server and into one, by PostgreSQL's own programs.

`pg_dump` and not `pg_basebackup`: a cell is one database of a server that may have others, the
dump needs the owner's login alone, and it can be loaded into another server, also a newer one. A
base backup with archived logs is for the whole server (docs/keeping.md).
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.postgres.link import CONNECT_S, Address, Link
from hansa.kernel.row_security import APPLICATION

ASK_S: Final = 30.0
_BEGIN: Final = """BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL hansa.across = 'on'; SET LOCAL idle_in_transaction_session_timeout = 0"""
_TABLES: Final = """SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY relname"""
_OTHERS: Final = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usesysid IS NOT NULL AND pid <> pg_backend_pid()"""


def program(name: str) -> str:
    """Return where a program of PostgreSQL is: in the folder that PG_BIN names, in the path, or in
    Debian's folder of the newest version. Raises KeepingRefused."""
    named = os.environ.get("PG_BIN")
    if named:
        return str(Path(named) / name)
    debian = [one for one in Path("/usr/lib/postgresql").glob("*") if one.name.isdigit()]
    for folder in sorted(debian, key=lambda one: -int(one.name)):
        if os.access(folder / "bin" / name, os.X_OK):
            return str(folder / "bin" / name)
    found = shutil.which(name)
    if found is None:
        raise KeepingRefused(f"{name} is not here: install postgresql-client, or set PG_BIN.")
    return found


def login(dsn: str) -> tuple[str, dict[str, str]]:
    """Return a DSN without its password, and the environment that has it: what stands in a command
    line, every user of the machine can read."""
    parts = urlsplit(dsn)
    user, at, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    environment = {**os.environ, "PGOPTIONS": "-c hansa.across=on -c statement_timeout=0"}
    if password:
        environment["PGPASSWORD"] = unquote(password)
    return urlunsplit(parts._replace(netloc=f"{name}{at}{hosts}")), environment


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Link]:
    """Connect as the owner."""
    link = await Address(dsn).connect()
    try:
        yield link
    finally:
        await link.close()


async def begin_snapshot(link: Link) -> str:
    """Begin a snapshot of all sites, and return the name under which `dump` finds it."""
    await link.script(_BEGIN, CONNECT_S)
    return str((await link.rows("SELECT pg_export_snapshot()", (), ASK_S))[0][0])


async def dump(dsn: str, snapshot: str, to: Path) -> None:
    """Write a snapshot of a database into a file. Raises KeepingRefused with what pg_dump said."""
    address, environment = login(dsn)
    command = [program("pg_dump"), "--format=custom", f"--snapshot={snapshot}", "--no-password"]
    # The owner is under row security as well; the policies let `hansa.across` through.
    command += ["--enable-row-security", f"--file={to}", f"--dbname={address}"]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise KeepingRefused(f"pg_dump: {done.stderr.strip()[-2000:]}")


async def check_free(link: Link, *, force: bool) -> list[str]:
    """Return the tables that a restore has to take away. Raises KeepingRefused where others are
    connected, or where there are tables and nobody said `force`."""
    others: int = (await link.rows(_OTHERS, (), ASK_S))[0][0]
    if others:
        raise KeepingRefused(
            f"The database is in use: {others} other sessions are connected. Stop them first."
        )
    tables = [str(row[0]) for row in await link.rows(_TABLES, (), ASK_S)]
    if tables and not force:
        raise KeepingRefused(
            f"The database has {len(tables)} tables already. Restore into an empty one, or have"
            " them replaced with --force."
        )
    return tables


def load(dsn: str, file: Path, replaced: list[str]) -> None:
    """Load a dump in one transaction, in the place of some tables: whatever fails, nothing changes.

    Raises KeepingRefused with what PostgreSQL said.
    """
    address, environment = login(dsn)
    # What a schema grants is the affair of the server; tables are granted anew.
    reading = [program("pg_restore"), "--no-owner", "--no-acl", "--file=-", str(file)]
    writing = [program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "--no-password", address]
    with tempfile.TemporaryFile() as said:
        reader = subprocess.Popen(reading, stdout=subprocess.PIPE, stderr=said)
        writer = subprocess.Popen(
            writing, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said
        )
        assert reader.stdout is not None
        assert writer.stdin is not None
        try:
            failed = _pour(reader, reader.stdout, writer.stdin, replaced)
        finally:
            try:
                writer.stdin.close()  # without a COMMIT it undoes everything
            except OSError:
                failed = True
            reader.stdout.close()
            reader.wait()
        if writer.wait() or failed:
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
            raise KeepingRefused(f"PostgreSQL did not take the dump: {text[-2000:]}")


def _pour(
    reader: "subprocess.Popen[bytes]", script: IO[bytes], into: IO[bytes], replaced: list[str]
) -> bool:
    """Write the whole transaction; its COMMIT only if the dump was read to its end."""
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in replaced)
    try:
        into.write(b"BEGIN;\n")
        if quoted:
            into.write(f"DROP TABLE {quoted} CASCADE;\n".encode())
        shutil.copyfileobj(script, into, 1 << 20)
        if reader.wait():
            return True
        grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO"
        into.write(f"\n{grant} {APPLICATION};\nCOMMIT;\n".encode())
        into.flush()
    except OSError:  # psql has gone; it said why
        reader.kill()
        return True
    return False
