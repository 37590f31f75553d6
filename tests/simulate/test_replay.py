"""The same seed goes the same way, in every process."""

import os
import subprocess
import sys

import pytest

MAIN = "from hansa.cli.main import main; raise SystemExit(main())"


def simulate(hash_seed: int, *arguments: str) -> tuple[int, str]:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "simulate", *arguments],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
    )  # fmt: skip
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("seed", ["7", "11"])
def test_two_processes_have_the_same_history(seed: str) -> None:
    first = simulate(1, "--seed", seed, "--whole")
    assert first[0] == 0
    assert "history" in first[1]
    assert simulate(2, "--seed", seed, "--whole") == first


def test_a_seed_that_fails_does_so_again() -> None:
    first = simulate(1, "--seed", "0", "--plant", "duplicate-applied")
    assert first[0] == 1
    assert "VIOLATION" in first[1]
    assert simulate(2, "--seed", "0", "--plant", "duplicate-applied") == first
