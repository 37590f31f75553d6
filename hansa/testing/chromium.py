"""Where Chromium is on this machine, and how it gets there if it is not. Only the standard library.

python -m hansa.testing.chromium    # exits 0 when it is there, or was installed
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
APT_S: Final = 900
ARGUMENTS: Final = (
    "--no-sandbox",  # root has none; what is looked at is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
"""How it is started for tests: by anybody, and without a word to the world outside."""


class ChromiumMissing(Exception):
    """There is no Chromium to start; the message says what to install."""


def find() -> Path | None:
    """Return the program: what `CHROMIUM` in the environment names, else the first in the path."""
    named = os.environ.get("CHROMIUM")
    if named:
        return Path(named)
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return None if found is None else Path(found)


def install() -> Path:
    """Return the program, after installing it with apt-get if it must be: as root, or by sudo where
    it asks for no password. Raises ChromiumMissing with what to do where neither goes."""
    found = find()
    if found is not None:
        return found
    if shutil.which("apt-get") is None:
        raise ChromiumMissing(_advice("There is no apt-get here."))
    before: list[str] = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if before and shutil.which("sudo") is None:
        raise ChromiumMissing(_advice("Only root may install it, and there is no sudo."))
    packages = ["chromium", "fonts-liberation"]
    for arguments in (
        ["update", "-q"],
        ["install", "-q", "-y", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(
            [*before, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments],
            check=False, timeout=APT_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise ChromiumMissing(_advice(f"apt-get {arguments[0]} failed, see above."))
    found = find()
    if found is None:
        raise ChromiumMissing(_advice("apt-get installed none."))
    return found


def _advice(reason: str) -> str:
    return (
        f"Chromium is needed for the tests of the pages. {reason}\n"
        "  Install it:      apt-get install chromium     (or your system's own package)\n"
        "  or point to it:  export CHROMIUM=/path/to/chromium"
    )


def main() -> int:
    """Install Chromium if it is missing; print where it is, or what to do."""
    try:
        program = install()
    except ChromiumMissing as missing:
        sys.stderr.write(f"{missing}\n")
        return 1
    sys.stdout.write(f"Chromium: {program}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
