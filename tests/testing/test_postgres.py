"""The PostgreSQL of the tests is real, keeps what it acknowledged, and ends with its owner."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansa.testing import postgres, postgres_guard
from hansa.testing.postgres import FAST, Cluster, PostgresFailed, PostgresMissing

OWNER = """
import sys
from hansa.testing.postgres import Cluster

cluster = Cluster(durable=False)
cluster.start()
print(cluster.folder, cluster.pid, cluster._guard.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A durable server that the tests here may stop."""
    own = Cluster()
    try:
        own.start()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    with own:
        yield own


@pytest.mark.parametrize("how", [FAST, postgres.IMMEDIATE, signal.SIGKILL])
def test_acknowledged_rows_are_there_after_a_crash(cluster: Cluster, how: signal.Signals) -> None:
    name = f"crash_{how.name.lower()}"
    cluster.new_database(name)
    cluster.run_sql("CREATE TABLE kept (n INTEGER); INSERT INTO kept VALUES (7)", name)
    port = cluster.port
    cluster.restart(how)
    assert cluster.run_sql("SELECT n FROM kept", name) == "7"
    assert cluster.port == port


def test_a_durable_server_waits_for_the_disk(cluster: Cluster) -> None:
    assert cluster.run_sql("SHOW fsync") == "on"
    assert cluster.run_sql("SHOW synchronous_commit") == "on"


def test_the_server_is_not_root_and_listens_only_here(cluster: Cluster) -> None:
    if os.geteuid() == 0:
        assert cluster.folder.stat().st_uid != 0
    assert cluster.run_sql("SHOW listen_addresses") == "127.0.0.1"


def test_a_password_is_needed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "password", "wrong")
    with pytest.raises(PostgresFailed, match="password authentication failed"):
        cluster.run_sql("SELECT 1")


def test_a_database_has_its_two_roles_and_is_copied_from_a_template(cluster: Cluster) -> None:
    made = cluster.new_database("mould")
    cluster.run_sql("CREATE TABLE shape (n INTEGER)", "mould")
    copy = cluster.new_database("cast", template="mould")
    assert made != copy
    assert cluster.run_sql("SELECT count(*) FROM shape", "cast") == "0"
    roles = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'hansa%' AND NOT rolsuper ORDER BY 1"
    assert cluster.run_sql(roles) == "hansa_app\nhansa_owner"
    cluster.drop("cast")
    cluster.drop("cast")


@pytest.mark.parametrize("name", ["Shop", "a-b", 'a"; --', "1a", "a" * 64])
def test_a_name_that_would_need_quotes_is_refused(cluster: Cluster, name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        cluster.new_database(name)


def test_a_refusal_says_what_the_server_said(cluster: Cluster) -> None:
    with pytest.raises(PostgresFailed, match='relation "nothing" does not exist'):
        cluster.run_sql("SELECT * FROM nothing")


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waiting for a stranger needs Linux")
def test_a_killed_owner_leaves_no_server_and_no_folder(cluster: Cluster) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        folder, server, guard = owner.stdout.readline().split()
        assert postgres_guard.server_pid(Path(folder) / postgres_guard.DATA) == int(server)
        watch = os.pidfd_open(int(guard))
        owner.kill()
    ended, _, _ = select.select([watch], [], [], 60)
    os.close(watch)
    assert ended
    assert not Path(folder).exists()


def test_only_what_nobody_holds_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("hansa-postgres-held", "hansa-postgres-left", "hansa-postgres-new", "other"):
        (tmp_path / name).mkdir()
    for name in ("hansa-postgres-held", "hansa-postgres-left", "other"):
        (tmp_path / name / postgres_guard.OWNER).touch()
    with (tmp_path / "hansa-postgres-held" / postgres_guard.OWNER).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        postgres._clear_leftovers(None)
    left = sorted(folder.name for folder in tmp_path.iterdir())
    assert left == ["hansa-postgres-held", "hansa-postgres-new", "other"]
