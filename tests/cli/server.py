"""A server started as people start it: a process on a free port, ready when it has said so."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
READY_S = 60


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def hansa(*arguments: str, folder: Path, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, with the cell in `folder`."""
    command = [sys.executable, "-m", "hansa.cli", *arguments]
    environment = {**os.environ, "HANSA_FOLDER": str(folder)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=120, **more
    )


class Server:
    """`hansa up` or `hansa serve` in a process, with all that it prints."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0, cwd: Path = ROOT) -> None:
        """Start it; `cwd` is the project that it serves."""
        self.port = port or free_port()
        self.said = ""
        command = [
            sys.executable, "-m", "hansa.cli", *(arguments or ("up",)), "--port", str(self.port)
        ]  # fmt: skip
        environment = {
            **os.environ, "HANSA_FOLDER": str(folder), "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": f"{ROOT}:{cwd}",
        }  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """Read on until something is printed, and return it."""
        out = self.process.stdout
        assert out is not None
        end = time.monotonic() + READY_S
        while not (found := re.search(pattern, self.said)):
            ready, _, _ = select.select([out], [], [], max(0.0, end - time.monotonic()))
            text = os.read(out.fileno(), 65_536).decode() if ready else ""
            assert text, f"{pattern!r} was not printed:\n{self.said}"
            self.said += text
        self.said = self.said[found.end() :]
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, and return its exit status."""
        self.process.send_signal(how)
        return self.process.wait(60)


READY = r"(?s)Hansa serves.*?what is in \S+ stays\.|Hansa serves on \S+"
