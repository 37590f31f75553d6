"""Installing: the peers' own packages, pinned, apart from the project's, in folders git ignores."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
INSTALL_S: Final = 600


class PeerMissing(Exception):
    """A peer cannot run here; the message says what is missing."""


def python_of_peers() -> Path:
    """Return the interpreter that has the Python peers' packages, installing them once.

    Raises PeerMissing when they cannot be installed.
    """
    home = HERE / ".peers"
    python = home / "bin" / "python"
    wanted = HERE / "peers" / "requirements.txt"
    mark = home / "installed"
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    if mark.exists() and mark.read_text() == digest:
        return python
    print("installing the Python peers …", file=sys.stderr)
    venv.create(home, clear=True, with_pip=True)
    _run([str(python), "-m", "pip", "install", "-q", "-r", str(wanted)], HERE)
    mark.write_text(digest)
    return python


def node_of_fastify() -> Path:
    """Return the node that runs `fastify/server.js`, installing its packages once.

    Raises PeerMissing when there is no node or npm, or the packages cannot be installed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise PeerMissing("node and npm are not here: apt-get install nodejs npm")
    home = HERE / "fastify"
    if not (home / "node_modules" / "better-sqlite3" / "build").exists():
        print("installing Fastify and better-sqlite3 (compiles for a minute) …", file=sys.stderr)
        command = "ci" if (home / "package-lock.json").exists() else "install"
        _run([npm, command, "--no-audit", "--no-fund"], home)
    _run([node, "-e", "new (require('better-sqlite3'))(':memory:')"], home)
    return Path(node)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PeerMissing(f"{command[0]} took more than {INSTALL_S} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise PeerMissing(f"{' '.join(command[:3])} failed: {' / '.join(said)}")
