"""Where PostgreSQL's programs are on this machine, and how they get there if they are not.

Only the standard library, and no other module of Hansa: sudo runs this file by itself, before
anything is installed. What must never happen: a server or cluster of the machine's owner that is
started, changed or left behind because tests needed the programs.

    python -m hansa.testing.postgres_install    # exits 0 when they are there, or were installed
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NEEDED: Final = ("initdb", "postgres", "psql")
VERSION_MIN: Final = 14
APT_S: Final = 900
_NO_CLUSTER: Final = Path("/etc/postgresql-common/createcluster.d/hansa-testing.conf")


class PostgresMissing(Exception):
    """There is no PostgreSQL to start; the message says what to install."""


def find() -> Path | None:
    """Return the folder with the newest PostgreSQL's programs, or None if there is none.

    `PG_BIN` in the environment comes first, then Debian's folders, then pg_config in the path.
    """
    for folder in _candidates():
        if all(os.access(folder / name, os.X_OK) for name in NEEDED):
            return folder
    return None


def _candidates() -> Iterator[Path]:
    named = os.environ.get("PG_BIN")
    if named:
        yield Path(named)
    debian = [one for one in Path("/usr/lib/postgresql").glob("*") if one.name.isdigit()]
    for folder in sorted(debian, key=lambda one: -int(one.name)):
        if int(folder.name) >= VERSION_MIN:
            yield folder / "bin"
    config = shutil.which("pg_config")
    if config is not None:
        asked = subprocess.run(
            [config, "--bindir"], capture_output=True, text=True, check=False, timeout=10
        )
        yield Path(asked.stdout.strip())
    server = shutil.which("initdb")
    if server is not None:
        yield Path(server).resolve().parent


def has_icu(folder: Path) -> bool:
    """Tell whether the initdb in `folder` can make a cluster that sorts by an ICU locale."""
    asked = subprocess.run(
        [folder / "initdb", "--help"], capture_output=True, text=True, check=False, timeout=10
    )
    return "--icu-locale" in asked.stdout


def install() -> Path:
    """Return the folder of the programs, after installing them with apt-get if it must be.

    As root by apt-get, as anybody else by sudo where it asks for no password. Raises
    PostgresMissing with what to do where neither goes.
    """
    found = find()
    if found is not None:
        return found
    if shutil.which("apt-get") is None:
        raise PostgresMissing(_advice("There is no apt-get here."))
    if os.geteuid() == 0:
        _install_with_apt()
    else:
        _install_with_sudo()
    found = find()
    if found is None:
        raise PostgresMissing(_advice("apt-get installed none that is new enough."))
    return found


def _install_with_apt() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (
        ["update", "-q"],
        ["install", "-q", "-y", "--no-install-recommends", "postgresql"],
    ):
        with _no_cluster_of_debian():
            done = subprocess.run(
                ["apt-get", *arguments], env=environment, check=False, timeout=APT_S
            )
        if done.returncode:
            raise PostgresMissing(_advice(f"apt-get {arguments[0]} failed, see above."))


@contextmanager
def _no_cluster_of_debian() -> Iterator[None]:
    """Keep Debian's package from making and starting a cluster of its own while it is installed."""
    _NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
    _NO_CLUSTER.write_text("create_main_cluster = false\n")
    try:
        yield
    finally:
        _NO_CLUSTER.unlink(missing_ok=True)


def _install_with_sudo() -> None:
    sudo = shutil.which("sudo")
    if sudo is None:
        raise PostgresMissing(_advice("Only root may install it, and there is no sudo."))
    done = subprocess.run(
        [sudo, "-n", sys.executable, "-I", __file__],
        check=False,
        timeout=APT_S,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise PostgresMissing(_advice("sudo could not install it without a password."))


def _advice(reason: str) -> str:
    return (
        f"PostgreSQL {VERSION_MIN} or newer is needed for the tests. {reason}\n"
        "  Install it:      apt-get install postgresql     (or your system's own package)\n"
        "  or point to it:  export PG_BIN=/folder/with/initdb/and/postgres"
    )


def main() -> int:
    """Install PostgreSQL if it is missing; print where it is, or what to do."""
    try:
        folder = install()
    except PostgresMissing as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    sys.stdout.write(f"PostgreSQL: {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
