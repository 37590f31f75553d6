"""A process imports only what it does: a service that says hello takes 60 MB, not 90."""

import subprocess
import sys

import pytest

from tests.cli.server import ROOT

OPENED = """
import asyncio, sys
from pathlib import Path
from hansa import project
from hansa.assembly import Cell, Place
import hansa.cli.main, hansa.cli.serving

async def run():
    cell = Cell(Place(Path(sys.argv[1])), project.EVERYWHERE)
    await cell.open(migrate=sys.argv[2] == "first")
    await cell.close()

asyncio.run(run())
print(*sys.modules)
"""
HEAVY = (
    "alembic", "asyncpg", "sqlalchemy.dialects.postgresql", "cryptography", "obstore", "aiosmtplib",
    "jinja2", "starlette", "hansa.business", "hansa.platform.mail", "hansa.platform.blobs",
    "hansa.testing", "hansa.simulate",
)  # fmt: skip


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """What a process has imported that opens a cell which is there."""
    folder = tmp_path_factory.mktemp("lean")
    for time in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-c", OPENED, folder, time], cwd=ROOT, text=True, check=True,
            stdout=subprocess.PIPE, timeout=60,
        )  # fmt: skip
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("module", HEAVY)
def test_what_is_not_needed_is_not_imported(modules: frozenset[str], module: str) -> None:
    assert "hansa.kernel.sqlite" in modules
    assert module not in modules
