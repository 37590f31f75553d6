"""The cells and the service that tests of the schema share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Storage
from hansa.testing.postgres import Cluster
from tests.kernel.shop import Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Shop:
    """A service with a package that can be imported and an empty folder of revisions."""
    package = f"shop_{abs(hash(request.node.nodeid))}"
    folder = tmp_path / package / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / package / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return Shop(folder, package)


@pytest.fixture
def empty(storage: Storage, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Another cell with nothing in it, of the same engine."""
    if storage.dialect == "sqlite":
        yield SqliteStorage(tmp_path / "empty.db", synchronous="OFF")
        return
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    dsns = cluster.new_database(f"empty_{tmp_path.name}"[:60])
    yield PostgresStorage(dsns.application, owner_dsn=dsns.owner)
    cluster.drop(f"empty_{tmp_path.name}"[:60])
