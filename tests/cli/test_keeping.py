"""`hansa backup` and `hansa restore`: what they take, what they refuse, and what a kill leaves."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from hansa.cli import site_files
from hansa.cli.main import main
from hansa.kernel import residence
from hansa.kernel.storage import Session, Storage
from hansa.testing.looking import soon
from hansa.testing.postgres import Cluster, Dsns
from tests.cli.server import READY, ROOT, Server

KILLED = """
import os, signal, sys
from hansa.kernel.keeping import backup, dump, manifest, pages
from hansa.cli.main import main

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def then_killed(whole):
    def run(*arguments, **more):
        whole(*arguments, **more)
        killed()
    return run

{plant}
main(sys.argv[1:])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HANSA_FOLDER", str(tmp_path / "cell"))
    for name in ("HANSA_DATABASE", "HANSA_OWNER_DATABASE", "HANSA_MASTER_KEY", "HANSA_BLOBS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cell"


def refused(capsys: pytest.CaptureFixture[str], *line: str) -> str:
    """Run what has to be refused, and return the one line that says why."""
    capsys.readouterr()
    assert main(line) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("hansa: ")
    assert "Traceback" not in told
    return told


def sites(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["sites", "list"]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_a_copy_of_a_running_shop_comes_back_with_all_that_belongs_to_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blob = folder / "blobs" / "site_x" / "blob_y"
    with Server(folder) as server:
        server.wait_for(READY)
        blob.parent.mkdir(parents=True)
        blob.write_bytes(b"tea")
        (blob.parent / ".blob_z.draft").write_bytes(b"half")
        assert main(["backup", "--to", str(tmp_path / "copy")]) == 0
        assert "testpay.db" in (tmp_path / "copy" / "manifest.json").read_text()
        told = refused(capsys, "restore", "--from", str(tmp_path / "copy"), "--force")
        assert f"in use by process {server.process.pid}" in told
        assert server.stop() == 0
    before = sites(capsys)
    shutil.rmtree(folder / "blobs")
    assert main(["sites", "create", "made afterwards"]) == 0
    assert "already" in refused(capsys, "restore", "--from", str(tmp_path / "copy"))
    assert main(["restore", "--from", str(tmp_path / "copy"), "--force"]) == 0
    assert "What was there is in" in capsys.readouterr().out
    assert sites(capsys) == before
    assert blob.read_bytes() == b"tea"
    assert [one.name for one in blob.parent.iterdir()] == ["blob_y"]
    (kept,) = folder.glob("before-restore-*")
    assert (kept / "hansa.db").exists()


def test_secrets_need_the_key_that_is_not_in_the_copy(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    capsys.readouterr()
    assert main(["backup", "--to", str(tmp_path / "copy")]) == 0
    assert "Not in it: the master key" in capsys.readouterr().out
    key = (folder / "master.key").read_text().strip()
    assert not any(key.encode() in file.read_bytes() for file in (tmp_path / "copy").rglob("*.*"))
    elsewhere = ["restore", "--from", str(tmp_path / "copy"), "--folder", str(tmp_path / "new")]
    assert "--without-key" in refused(capsys, *elsewhere)
    assert not (tmp_path / "new" / "hansa.db").exists()
    assert main([*elsewhere, "--without-key"]) == 0
    shutil.rmtree(tmp_path / "new")
    (tmp_path / "new").mkdir()
    shutil.copy(folder / "master.key", tmp_path / "new")
    assert main(elsewhere) == 0


def test_what_is_damaged_or_no_copy_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = str(tmp_path / "copy")
    assert "no cell in" in refused(capsys, "backup", "--to", there)
    assert main(["sites", "create", "shop"]) == 0
    assert main(["backup", "--to", there]) == 0
    assert "is there already" in refused(capsys, "backup", "--to", there)
    assert "hansa: /proc/foo: No such" in refused(capsys, "backup", "--to", "/proc/foo")
    back = ("restore", "--from", there, "--force")
    rows = tmp_path / "copy" / "hansa.db"
    whole = rows.read_bytes()
    rows.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    assert "is damaged" in refused(capsys, *back)
    rows.write_bytes(whole[:-1])
    assert "is damaged" in refused(capsys, *back)
    rows.unlink()
    assert "is missing" in refused(capsys, *back)
    rows.write_bytes(whole)
    manifest = tmp_path / "copy" / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"format": 1', '"format": 2'))
    assert "format 2" in refused(capsys, *back)
    manifest.write_text(text.replace('"hansa.db"', '"../hansa.db"'))
    assert "not inside" in refused(capsys, *back)
    manifest.write_text(text[:-10])
    assert "is damaged" in refused(capsys, *back)
    manifest.unlink()
    assert "no finished copy" in refused(capsys, *back)
    assert not list(folder.glob("before-restore-*")), "nothing was touched"


def test_a_damaged_cell_is_not_copied(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    rows = folder / "hansa.db"
    whole = bytearray(rows.read_bytes())
    for page in range(20, 40):
        whole[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    rows.write_bytes(whole)
    assert "damaged" in refused(capsys, "backup", "--to", str(tmp_path / "copy"))
    assert list(tmp_path.glob("*copy*")) == []


PLANTS = {
    "before the rows": "pages.copy = killed",
    "after the rows": "pages.copy = then_killed(pages.copy)",
    "before the manifest": "manifest.write = killed",
    "before it has its name": "manifest.write = then_killed(manifest.write)",
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
def test_a_copy_that_is_killed_half_way_is_none(
    folder: Path, tmp_path: Path, plant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    there = tmp_path / "copies" / "today"
    command = [sys.executable, "-c", KILLED.format(plant=plant), "backup", "--to", str(there)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not there.exists()
    told = refused(capsys, "restore", "--from", str(there), "--force")
    assert "no finished copy" in told
    assert main(["backup", "--to", str(there)]) == 0, "the next one takes away what is left"
    assert [one.name for one in there.parent.iterdir()] == ["today"]
    assert main(["restore", "--from", str(there), "--force"]) == 0


RESTORING = {
    "before anything": "backup.place_files = killed",
    "with the rows away": "backup._set_aside = then_killed(backup._set_aside)",
}


@pytest.mark.parametrize("plant", RESTORING.values(), ids=RESTORING.keys())
def test_a_restore_that_is_killed_is_done_again(
    folder: Path, tmp_path: Path, plant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    before = sites(capsys)
    assert main(["backup", "--to", str(tmp_path / "copy")]) == 0
    back = ["restore", "--from", str(tmp_path / "copy"), "--force"]
    command = [sys.executable, "-c", KILLED.format(plant=plant), *back]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert main(back) == 0
    assert not list(folder.glob(".restoring-*"))
    assert sites(capsys) == before


def test_a_database_in_use_or_with_tables_is_not_restored_into(
    folder: Path, tmp_path: Path, postgres_dsns: Dsns, postgres_cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HANSA_DATABASE", postgres_dsns.application)
    assert "--owner-database" in refused(capsys, "backup", "--to", str(tmp_path / "copy"))
    monkeypatch.setenv("HANSA_OWNER_DATABASE", postgres_dsns.owner)
    assert main(["sites", "create", "shop"]) == 0
    before = sites(capsys)
    assert main(["backup", "--to", str(tmp_path / "copy")]) == 0
    assert main(["sites", "create", "made afterwards"]) == 0
    back = ("restore", "--from", str(tmp_path / "copy"))
    assert "tables already" in refused(capsys, *back)
    with Server(folder, "serve") as server:
        server.wait_for("Hansa serves on")
        assert "other sessions" in refused(capsys, *back, "--force")
        assert server.stop() == 0
    database = postgres_dsns.owner.rpartition("/")[2]
    postgres_cluster.run_sql("CREATE TABLE hansa_stray (x int); "
                             "ALTER TABLE hansa_stray OWNER TO hansa_owner", database)  # fmt: skip
    assert main([*back, "--force"]) == 0
    assert sites(capsys) == before
    there = "SELECT count(*) FROM pg_class WHERE relname = 'hansa_stray'"
    assert postgres_cluster.run_sql(there, database) == "0", "what is replaced is gone"
    walls = """SELECT count(*) FROM pg_class WHERE relname LIKE 'commerce_%' AND relkind = 'r'
    AND NOT (relrowsecurity AND relforcerowsecurity)"""
    assert postgres_cluster.run_sql(walls, database) == "0", "row security is back"
    monkeypatch.delenv("HANSA_DATABASE")
    assert "is of a cell on postgresql" in refused(capsys, *back, "--force")


def test_a_dump_that_breaks_off_changes_nothing(
    folder: Path, tmp_path: Path, postgres_dsns: Dsns, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from hansa.kernel.keeping import dump, manifest

    monkeypatch.setenv("HANSA_DATABASE", postgres_dsns.application)
    monkeypatch.setenv("HANSA_OWNER_DATABASE", postgres_dsns.owner)
    assert main(["sites", "create", "shop"]) == 0
    before = sites(capsys)
    assert main(["backup", "--to", str(tmp_path / "copy")]) == 0
    file = tmp_path / "copy" / "hansa.dump"
    file.write_bytes(file.read_bytes()[:-3000])

    async def tables() -> list[str]:
        async with dump.connected(postgres_dsns.owner) as link:
            return await dump.check_free(link, force=True)

    with pytest.raises(manifest.KeepingRefused, match="did not take the dump"):
        dump.load(postgres_dsns.owner, file, asyncio.run(tables()))
    assert sites(capsys) == before


def test_shipping_and_its_refusals(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    depot = str(tmp_path / "depot")
    assert "no cell" in refused(capsys, "ship", "--to", depot)
    assert main(["sites", "create", "shop"]) == 0
    before = sites(capsys)
    assert "a bucket" in refused(capsys, "ship", "--to", "s3://")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "harbour")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "lantern")
    nowhere = "s3://nope?endpoint=http://127.0.0.1:1"
    assert "Connection refused" in refused(capsys, "restore", "--from", nowhere)
    for own in (folder, folder / "depot", tmp_path / "x" / ".." / "cell"):
        assert "in the folder of the cell" in refused(capsys, "ship", "--to", str(own))
    assert not (folder / "depot").exists()
    assert "Connection refused" in waiting(nowhere)
    command = [sys.executable, "-m", "hansa.cli", "ship", "--to", depot, "--every", "0.1"]
    shipper = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert shipper.stdout is not None
        assert "master key is not shipped" in shipper.stdout.readline()
        assert "in use by process" in refused(capsys, "ship", "--to", depot)
        shipper.terminate()
        assert shipper.wait(60) == 0
    finally:
        shipper.kill()
        shipper.wait()
    back = ("restore", "--from", depot)
    assert "already" in refused(capsys, *back)
    assert "in which zone" in refused(capsys, *back, "--force", "--at", "2027-01-01T12:00:00")
    assert "nothing from before" in refused(
        capsys, *back, "--force", "--at", "2001-01-01T12:00:00Z"
    )
    assert main([*back, "--force"]) == 0
    assert "nothing that came after" in capsys.readouterr().out
    assert sites(capsys) == before
    assert main(["backup", "--to", str(tmp_path / "copy")]) == 0
    one = ("restore", "--from", str(tmp_path / "copy"), "--force", "--at", "2027-01-01T12:00:00Z")
    assert "is of one instant" in refused(capsys, *one)
    monkeypatch.setenv("HANSA_DATABASE", "postgresql://nobody@127.0.0.1:1/none")
    assert "PostgreSQL ships its own log" in refused(capsys, "ship", "--to", depot)
    assert "is none" in refused(capsys, *back, "--force")


def ship(depot: Path, *more: str) -> None:
    """Ship all that there is, and end."""
    command = [sys.executable, "-m", "hansa.cli", "ship", "--to", str(depot), "--every", "0.1"]
    shipper = subprocess.Popen([*command, *more], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert shipper.stdout is not None
        assert "Shipping" in shipper.stdout.readline()
        shipper.terminate()
        assert shipper.wait(60) == 0
    finally:
        shipper.kill()
        shipper.wait()


def waiting(depot: str) -> str:
    """Ship to a depot that cannot be reached until that is told, and end; return what was told."""
    command = [sys.executable, "-m", "hansa.cli", "ship", "--to", depot, "--every", "0.1"]
    shipper = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    try:
        assert shipper.stdout is not None
        assert shipper.stdout.readline().startswith("As soon as it can be reached, shipping")
        shipper.terminate()
        _, told = shipper.communicate(timeout=60)
    finally:
        shipper.kill()
        shipper.wait()
    assert shipper.returncode == 0, told
    return told


def test_a_depot_is_of_one_cell_wherever_that_is_restored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depot, other, again = tmp_path / "depot", tmp_path / "other", tmp_path / "again"
    assert main(["sites", "create", "shop"]) == 0
    ship(depot)
    there = sorted(depot.iterdir())
    assert main(["migrate", "--folder", str(other)]) == 0
    told = refused(capsys, "ship", "--to", str(depot), "--folder", str(other))
    assert "is of another cell" in told
    assert sorted(depot.iterdir()) == there
    again.mkdir()
    shutil.copy(folder / "master.key", again)
    assert main(["restore", "--from", str(depot), "--folder", str(again)]) == 0
    assert main(["sites", "create", "second", "--folder", str(again)]) == 0
    ship(depot, "--folder", str(again))
    assert main(["restore", "--from", str(depot), "--force"]) == 0
    assert "second" in sites(capsys)
    ship(depot)


def test_a_site_goes_into_a_file_and_into_another_cell_and_is_erased(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop", "--host", "shop.example"]) == 0
    site = capsys.readouterr().out.strip()
    assert main(["sites", "create", "other"]) == 0
    blob = folder / "blobs" / site / "blob_y"
    assert "no id" in refused(capsys, "sites", "export", "../x", "--to", str(tmp_path / "x"))
    file = tmp_path / "shop.ndjson.gz"
    assert "no site" in refused(capsys, "sites", "export", "site_none", "--to", str(file))
    assert not file.exists()
    assert main(["sites", "export", site, "--to", str(file)]) == 0
    assert "master key" in capsys.readouterr().out
    assert file.stat().st_mode & 0o77 == 0
    assert "is there already" in refused(capsys, "sites", "export", site, "--to", str(file))
    assert "already" in refused(capsys, "sites", "import", str(file))
    elsewhere = ("--folder", str(tmp_path / "elsewhere"))
    assert main(["migrate", *elsewhere]) == 0
    assert main(["sites", "import", str(file), *elsewhere]) == 0
    assert "opens with the master key" in capsys.readouterr().out
    assert main(["sites", "list", *elsewhere]) == 0
    assert capsys.readouterr().out.split()[0] == site
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"tea")
    assert main(["sites", "erase", site, "--yes"]) == 0
    assert "is erased" in capsys.readouterr().out
    assert "other" in sites(capsys)
    assert site not in sites(capsys)
    assert "never comes back" in refused(capsys, "sites", "import", str(file))
    file.write_bytes(file.read_bytes()[:-30])
    assert "damaged" in refused(capsys, "sites", "import", str(file), *elsewhere)
    with Server(folder) as server:
        server.wait_for(READY)
        assert "in use by process" in refused(capsys, "sites", "export", site, "--to", "x")
        assert server.stop() == 0


def test_what_is_no_site_erases_nothing_and_a_site_its_traces_and_bytes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    site = capsys.readouterr().out.strip()
    traces = [folder / name for name in ("observed.db", "observed.db.old", "observed.db.old-wal")]
    for one in traces:
        one.write_bytes(b"traces")
    assert "no site" in refused(capsys, "sites", "erase", "site_typo", "--yes")
    assert all(one.exists() for one in traces)
    blob = folder / "blobs" / site / "blob_y"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"tea")
    (blob.parent / ".blob_z.draft").write_bytes(b"half")
    rows = apsw.Connection(str(folder / "hansa.db"))
    row = "INSERT INTO blobs_loose VALUES (?1, 'blob_y', 'coming', 'y', '', 0)"
    rows.execute(row, (site,))
    rows.close()
    indexes = [folder / "search" / one / site for one in ("0/0007", "3/0007")]
    for index in indexes:
        (index / "coll_x-1").mkdir(parents=True)
    assert main(["sites", "erase", site, "--yes"]) == 0
    assert not blob.parent.exists()
    assert not any(one.exists() for one in indexes)
    assert not any(one.exists() for one in traces)
    assert "erased already" in refused(capsys, "sites", "erase", site, "--yes")


def test_a_site_that_is_erased_is_closed_before_its_bytes_go(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process publishes after its bytes were looked for would stay for good."""
    assert main(["sites", "create", "shop"]) == 0
    site = capsys.readouterr().out.strip()
    states: list[str] = []

    async def looked(storage: Storage, site: str, place: object) -> None:
        async def body(session: Session) -> None:
            row, _, _ = await residence.read(session, site)
            states.append("" if row is None else row.state)

        await storage.read(body, site="platform", deadline=soon(), across=True)

    monkeypatch.setattr(site_files, "_erase_bytes", looked)
    assert main(["sites", "erase", site, "--yes", "--settle-s", "0.01"]) == 0
    assert states == ["going"]


def test_a_site_in_the_middle_of_a_move_is_not_erased(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sites", "create", "shop"]) == 0
    site = capsys.readouterr().out.strip()
    rows = apsw.Connection(str(folder / "hansa.db"))
    rows.execute("UPDATE sites_sites SET move = 'to', move_cell = 'south'")
    assert "finish the move" in refused(capsys, "sites", "erase", site, "--yes")
    rows.execute("UPDATE sites_sites SET move = 'none', move_cell = '', cell = 'south'")
    row = "INSERT INTO hansa_sites (site, state, epoch, at_us) VALUES (?1, 'gone', 2, 1)"
    rows.execute(row, (site,))
    rows.close()
    told = refused(capsys, "sites", "erase", site, "--yes")
    assert "the cell south" in told
    assert "--rest" in told
    assert main(["sites", "erase", site, "--yes", "--rest"]) == 0
    assert site not in sites(capsys)
