"""What all tests share: engines, real data, seeds, and a rule about skipping.

`HANSA_REQUIRE_ALL=1`, as in CI, makes a skipped test a failure. Without it a test skips, with its
reason, where the machine lacks PostgreSQL or the folder of real data.

The seed of the properties is new in every run and printed at its end; `HANSA_SEED=... make test`
repeats a run. No test depends on how fast the machine is.
"""

import os
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Storage
from hansa.testing.postgres import Dsns

pytest_plugins = ["hansa.testing.fixtures"]  # the engines, and cells on them

ROOT: Final = Path(__file__).parent.parent
REQUIRE_ALL: Final = os.environ.get("HANSA_REQUIRE_ALL") == "1"
SEED: Final = int(os.environ.get("HANSA_SEED") or secrets.randbits(32))
TOLD: Final = "told"
"""The property of a test whose value is told at the end of the run, such as a seed."""

settings.register_profile(
    "hansa",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("hansa")


# ---- the run


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give Hypothesis the seed of this run, unless the command line has one."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(SEED)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, line in getattr(report, "user_properties", ()):
                if name == TOLD and report.when == "call":
                    terminalreporter.write_line(line)
    terminalreporter.write_line(f"seed of the properties: {config.option.hypothesis_seed}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure where everything is required. An expected failure is not a skip."""
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"HANSA_REQUIRE_ALL=1, but: {reason}"


# ---- engines


@pytest.fixture
def postgres_dsn(postgres_dsns: Dsns) -> str:
    """The application's login to an empty database, for one test."""
    return postgres_dsns.application


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty cell on each engine, not yet opened: the test opens and closes it in its loop."""
    if request.param == "sqlite":
        return SqliteStorage(tmp_path / "cell.db", synchronous="OFF")
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    return PostgresStorage(dsns.application, owner_dsn=dsns.owner)


# ---- real data


@pytest.fixture(scope="session")
def electronics() -> Path:
    """The folder with 19,406 real products and judged queries, beside the project."""
    folder = ROOT.parent / "shared" / "data" / "electronics"
    if not (folder / "products.ndjson.gz").exists():
        pytest.skip("the real products are not here: ../shared/data/electronics")
    return folder


@pytest.fixture(scope="session")
def cranfield() -> Path:
    """The folder with 1,400 abstracts and 225 judged queries, beside the project."""
    folder = ROOT.parent / "shared" / "data" / "cranfield"
    if not (folder / "cran.all.1400.xml").exists():
        pytest.skip("the abstracts are not here: ../shared/data/cranfield")
    return folder
