"""Warm: `hansa ...` as a process of its own, forked from one that has Hansa imported already.

A command takes milliseconds so, where a new interpreter takes half a second to import what it
needs. It sees nothing of the commands before it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """How a command ended, and all that it printed."""

    status: int
    said: str


class Warm:
    """The process that the commands are forked from. One at a time."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=20)

    def run(self, folder: Path, *arguments: str) -> Done:
        """Run `hansa` with these arguments in a folder, to its end."""
        asks, answers = self._process.stdin, self._process.stdout
        assert asks is not None
        assert answers is not None
        asks.write(json.dumps([str(folder), arguments]) + "\n")
        asks.flush()
        return Done(*json.loads(answers.readline()))


def fork(folder: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a command in a child; return its exit status and what it printed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.closerange(3, 256)
        status = 1
        try:
            status = command(folder, arguments)
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        text = said.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def command(folder: str, arguments: Sequence[str]) -> int:
    """Be `python -m hansa.cli` in a folder."""
    from hansa.cli.main import main

    os.chdir(folder)
    os.environ.pop("HANSA_PROJECT", None)  # it is the one of the folder
    sys.path[0] = folder
    sys.argv = ["hansa", *arguments]
    return main(arguments)


def serve() -> None:
    """Fork a command for every line that comes, until no more do."""
    from hansa.cli import check, main, new, serving
    from hansa.kernel import drafting

    assert all((check, main, new, serving, drafting))  # what the commands import
    for line in sys.stdin:
        print(json.dumps(fork(*json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
