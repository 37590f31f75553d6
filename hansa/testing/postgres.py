"""Cluster: a PostgreSQL server of one's own, for a test, a torture run or a benchmark.

    with Cluster() as cluster:
        dsns = cluster.new_database()
        storage = PostgresStorage(dsns.application, owner_dsn=dsns.owner)

It lives in a temporary folder on a free port of 127.0.0.1, with a password made up for it, runs as
`postgres` or `nobody` when the caller is root, and is stopped and removed at the end of the block,
at the exit of the process, and also when the process is killed (see postgres_guard). It is a real
server: `durable=True` keeps fsync on, so what it acknowledges is on the disk.

What must never happen: a server or a folder that is left behind, or one that was not ours touched.
"""

import asyncio
import atexit
import fcntl
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Final, Self

from hansa.kernel import row_security
from hansa.testing import postgres_guard, postgres_install
from hansa.testing.postgres_install import PostgresMissing

__all__ = ["FAST", "IMMEDIATE", "Cluster", "Dsns", "PostgresFailed", "PostgresMissing"]

FAST: Final = signal.SIGINT
"""Stop in good order: break off the sessions, write a checkpoint."""
IMMEDIATE: Final = signal.SIGQUIT
"""Stop as in a crash: without a checkpoint, so that the next start recovers from the log."""

SUPERUSER: Final = "postgres"
START_S: Final = 60.0
STOP_S: Final = 60.0
PORTS: Final = range(20_000, 32_000)
"""Below the ports that the system gives to outgoing connections, so that none of those takes the
port while the server is down for a moment."""

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PREFIX: Final = "hansa-postgres-"


class PostgresFailed(Exception):
    """A program of PostgreSQL refused; the message ends with what it said."""


@dataclass(frozen=True)
class Dsns:
    """The logins of one database: the application's, the owner's and the superuser's."""

    application: str
    owner: str
    superuser: str


class Cluster:
    """A server with its folder. Use it as a context manager, or call `start` and `close`.

    `durable=False` switches fsync off: for tests of anything but durability, several times faster.
    `settings` are further lines of postgresql.conf. `locale` is an ICU locale for sorting, such as
    "en", as most servers in use have one (from PostgreSQL 15 on); without it text sorts by its
    bytes. `install` lets apt-get bring missing programs. Raises PostgresMissing or PostgresFailed
    when it cannot start.
    """

    def __init__(
        self,
        *,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        locale: str | None = None,
        install: bool = False,
    ) -> None:
        self.durable = durable
        self.settings = dict(settings or {})
        self.locale = locale
        self.install = install
        self.port = 0
        self.password = secrets.token_hex(16)
        self.folder = Path()
        self._binaries = Path()
        self._account: pwd.struct_passwd | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None
        self._maker = 0
        self._count = 0

    # ---- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the server, and make it first if it is not there; return when it answers."""
        if self.running:
            return
        if self._lock is None:
            self._make()
        deadline = monotonic() + START_S
        while not self._started():
            if monotonic() > deadline:
                raise PostgresFailed(f"the server did not start in time\n{self.log_tail()}")

    def stop(self, how: signal.Signals = FAST) -> None:
        """Stop the server and keep its folder, so that `start` goes on from there."""
        server = self._server
        if server is None:
            return
        if server.poll() is None:
            server.send_signal(how)
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        self._server = None

    def kill(self) -> None:
        """Crash the server: `immediate`. It loses nothing that it acknowledged, when durable."""
        self.stop(IMMEDIATE)

    def restart(self, how: signal.Signals = IMMEDIATE) -> None:
        """Stop the server, by default as in a crash, and start it again on the same port."""
        self.stop(how)
        self.start()

    def close(self) -> None:
        """Stop the server and remove all that it kept. May be called again, also in a failure."""
        if self._lock is None or os.getpid() != self._maker:
            return
        atexit.unregister(self.close)
        try:
            self.stop(IMMEDIATE)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            if self._guard is not None and self._guard.stdin is not None:
                self._guard.stdin.close()
                self._guard.wait()
            self._lock.close()
            self._lock = self._guard = None

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the postmaster: the parent of all that the server uses CPU time in."""
        if self._server is None:
            raise PostgresFailed("the server is not running")
        return self._server.pid

    # ---- use

    def superuser_dsn(self, database: str = "postgres") -> str:
        """Return the superuser's login to a database."""
        return self._dsn(SUPERUSER, database)

    def new_database(self, name: str = "", *, template: str = "template1") -> Dsns:
        """Make a database with the two roles of `row_security` and return its logins.

        It is empty, or a copy of `template`, to which nobody may be connected then. Names are small
        letters, digits and underscores. Blocks for about 80 ms; see `database` for a running loop.
        """
        self._count += 1
        name = name or f"cell_{self._count}"
        if _NAME.fullmatch(name) is None or _NAME.fullmatch(template) is None:
            raise ValueError(f"{name!r} is not a name of small letters, digits and underscores")
        self.run_sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self.run_sql("; ".join(row_security.bootstrap(name, self.password)), name)
        application = self._dsn(row_security.APPLICATION, name)
        return Dsns(application, self._dsn(row_security.OWNER, name), self.superuser_dsn(name))

    async def database(self, name: str = "", *, template: str = "template1") -> Dsns:
        """Do what `new_database` does, without blocking the loop."""
        return await asyncio.to_thread(self.new_database, name, template=template)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it; nothing happens if it is not there."""
        self.run_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def run_sql(self, script: str, database: str = "postgres") -> str:
        """Run SQL as the superuser and return what psql prints: a line a row, columns by tabs.

        For preparing and inspecting from outside; statements separated by semicolons are one
        transaction. Raises PostgresFailed with what the server said.
        """
        command = [str(self._binaries / "psql"), "-X", "-q", "-A", "-t", "-F", "\t"]
        command += ["-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port)]
        command += ["-U", SUPERUSER, "-d", database, "-c", script]
        environment = {**os.environ, "PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "10"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            raise PostgresFailed(f"psql: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")

    def log_tail(self, lines: int = 20) -> str:
        """Return the end of the server's log."""
        try:
            text = (self.folder / "server.log").read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _dsn(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    # ---- how it is made

    def _make(self) -> None:
        found = postgres_install.install() if self.install else postgres_install.find()
        if found is None:
            raise PostgresMissing(
                "PostgreSQL's server is not installed: apt-get install postgresql"
            )
        self._binaries = found
        self._account = _other_account() if os.geteuid() == 0 else None
        _clear_leftovers(self._account)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._maker = os.getpid()
        self._lock = _locked_owner(self.folder)
        atexit.register(self.close)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", postgres_guard.__file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._initialise()
        except BaseException:
            self.close()
            raise

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.touch(0o600)
        secret.write_text(self.password)
        if self._account is not None:
            for path in (self.folder, secret):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        command = [str(self._binaries / "initdb"), "-D", str(self._data), "-U", SUPERUSER]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--auth=scram-sha-256"]
        command += [f"--pwfile={secret}"]
        if self.locale is not None and postgres_install.has_icu(self._binaries):
            command += ["--locale-provider=icu", f"--icu-locale={self.locale}"]
        done = self._spawn(command, subprocess.PIPE)
        said, _ = done.communicate(timeout=START_S)
        if done.returncode:
            raise PostgresFailed(f"initdb: {said.decode(errors='replace').strip()}")
        secret.unlink()

    @property
    def _data(self) -> Path:
        return self.folder / postgres_guard.DATA

    def _spawn(self, command: list[str], output: int) -> subprocess.Popen[bytes]:
        """Start a program in the folder, as the account that may run a server."""
        account = self._account
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )

    def _started(self) -> bool:
        """Start the process and tell whether it came up; False is worth another try."""
        first = self.port == 0
        self.port = self.port or free_port()
        with (self.folder / "server.log").open("ab") as log:
            self._server = server = self._spawn(self._command(), log.fileno())
        deadline = monotonic() + START_S
        while not self._ready(server.pid):
            try:
                server.wait(0.02)
            except subprocess.TimeoutExpired:
                if monotonic() < deadline:
                    continue
            self.stop(IMMEDIATE)
            said = self.log_tail(6)
            if first and "could not bind" in said:
                self.port = 0
            elif "shared memory block" not in said:  # held by sessions of a killed server, ending
                raise PostgresFailed(f"the server did not start\n{self.log_tail()}")
            return False
        return True

    def _ready(self, pid: int) -> bool:
        """Tell what pg_ctl looks at: the eighth line of postmaster.pid, written by this server."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _command(self) -> list[str]:
        switch = "on" if self.durable else "off"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "fsync": switch,
            "full_page_writes": switch,
            "max_connections": "200",
            "shared_buffers": "128MB",
            "max_wal_size": "1GB",
            "log_min_messages": "warning",
            "log_checkpoints": "off",
            "timezone": "UTC",
            **self.settings,
        }
        command = [str(self._binaries / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command


def _other_account() -> pwd.struct_passwd:
    """Return the account that the server runs as where the caller is root."""
    for name in (SUPERUSER, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresMissing(
        "PostgreSQL does not run as root, and there is no user postgres or nobody"
    )


def _locked_owner(folder: Path) -> IO[bytes]:
    """Make the file that says, by being locked, that this process lives."""
    new = folder / f".{postgres_guard.OWNER}"
    lock = new.open("w+b")
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(folder / postgres_guard.OWNER)
    return lock


def _clear_leftovers(account: pwd.struct_passwd | None) -> None:
    """Remove clusters of this user whose owner and guard were both killed."""
    ours = {os.geteuid()} if account is None else {os.geteuid(), account.pw_uid}
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            mine = folder.lstat().st_uid in ours and not folder.is_symlink()
        except FileNotFoundError:
            continue
        if mine and postgres_guard.abandoned(folder):
            postgres_guard.clear(folder)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens now."""
    for _ in range(100):
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise PostgresFailed(f"no port from {PORTS.start} to {PORTS.stop} is free")
