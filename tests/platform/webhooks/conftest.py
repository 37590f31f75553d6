"""Where the cells of these tests are: on each engine, empty, for one test."""

from pathlib import Path

import pytest

from hansa.assembly import Place
from hansa.testing.postgres import Dsns


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place on each engine."""
    if request.param == "sqlite":
        return Place(tmp_path, synchronous="OFF")
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    return Place(tmp_path, dsns.application, dsns.owner)
