"""Fixtures: what a test finds by the name of its argument.

A project's `conftest.py` says `pytest_plugins = ["hansa.testing.fixtures"]`. An `async` test that
takes `cell` runs with it, once on SQLite and once on PostgreSQL; it needs no other plugin. Where
PostgreSQL cannot be had the test is skipped there and says why.
"""

import asyncio
import inspect
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hansa import project
from hansa.assembly import Place
from hansa.kernel.service import Service
from hansa.testing.cell import TestCell
from hansa.testing.postgres import Cluster, Dsns, PostgresMissing
from hansa.testing.split import SplitCell


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for the whole run: not durable, and sorting as a stock server does."""
    cluster = Cluster(durable=False, locale="en")
    try:
        cluster.start()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with cluster:
        yield cluster


@pytest.fixture
def postgres_dsns(postgres_cluster: Cluster) -> Iterator[Dsns]:
    """The logins of an empty database with its two roles, for one test."""
    name = f"test_{secrets.token_hex(6)}"
    yield postgres_cluster.new_database(name)
    postgres_cluster.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where an empty cell may be made, on each engine."""
    if request.param == "sqlite":
        return Place(tmp_path, synchronous="OFF")
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    return Place(tmp_path, dsns.application, dsns.owner)


@pytest.fixture
def services(pytestconfig: pytest.Config) -> Sequence[Service]:
    """The services of `cell`: those of the project. Override it to test with others."""
    here = project.find_project(pytestconfig.rootpath)
    here.load()
    return here.own()


@pytest.fixture
def cell(place: Place, services: Sequence[Service]) -> TestCell:
    """A cell with the services of the project, on each engine; open while the test runs."""
    return TestCell(*services, place=place)


@pytest.fixture
def split_cell(place: Place, services: Sequence[Service]) -> SplitCell:
    """The same services as of `cell`, each as in a process of its own with a database of its own;
    the first one's is on each engine."""
    return SplitCell(*services, place=place)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async` test that takes a cell in a loop of its own, with the cell open."""
    cells = [one for one in pyfuncitem.funcargs.values() if isinstance(one, TestCell)]
    if not cells or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames  # pyright: ignore[reportPrivateUsage]
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        async with AsyncExitStack() as opened:
            for one in cells:
                await opened.enter_async_context(one)
            await pyfuncitem.obj(**arguments)

    asyncio.run(run())
    return True
