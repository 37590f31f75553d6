"""A small process that outlives its parent by a moment, to stop the parent's PostgreSQL.

The cluster starts it with a pipe as its standard input. While the parent lives, the guard sleeps in
a read of that pipe; however the parent ends, SIGKILL included, the read returns, and the guard
stops the server and removes its folder. What must never happen: a server left running on a
machine that was lent for a test.

Only the standard library, and no other module of Hansa: it is started as a file, in 30 ms.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

OWNER: Final = "owner"
"""The file in a cluster's folder that its owner holds locked for as long as it lives."""
DATA: Final = "data"
STOP_S: Final = 10.0


def server_pid(data: Path) -> int | None:
    """Return the process that serves the folder `data`, or None if none does."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if str(data) in _command_of(pid) else None


def _command_of(pid: int) -> str:
    """Return a process's command line, so that a number given anew is not taken for the server."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            return ""
    asked = subprocess.run(
        ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout


def clear(folder: Path) -> None:
    """Stop the server of a cluster whose owner is gone, at once, and remove the folder."""
    deadline = time.monotonic() + STOP_S
    while (pid := server_pid(folder / DATA)) is not None:
        late = time.monotonic() > deadline
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if late else signal.SIGQUIT)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def abandoned(folder: Path) -> bool:
    """Tell whether the owner of a cluster's folder is gone: nobody holds its lock."""
    try:
        with (folder / OWNER).open("rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def main() -> None:
    """Wait for the end of standard input, then clear the folder named in the arguments."""
    folder = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    if folder.exists():
        clear(folder)


if __name__ == "__main__":
    main()
