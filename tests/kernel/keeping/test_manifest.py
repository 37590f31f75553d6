"""A copy of a cell replaces what is in copies of cells, and nothing else that lies beside one."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hansa.kernel.keeping import backup, manifest
from hansa.kernel.keeping.backup import Kept
from hansa.kernel.keeping.manifest import KeepingRefused, Manifest, part_of


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    folder = tmp_path / "cell"
    folder.mkdir()
    (folder / "master.key").write_text("ours")
    (folder / "hansa.db").write_text("our rows")
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    for name in ("hansa.db", "testpay.db", "blobs/site_x/blob_y"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"their {name}")
    return folder


def listed(copy: Path, *names: str) -> None:
    """Write the manifest of whoever provides the copy."""
    parts = tuple(part_of(copy, copy / name) for name in names)
    made = Manifest(manifest.FORMAT, "sqlite", "local", datetime.now(UTC), 0, "1", {}, (), parts)
    manifest.write(copy, made)


def restore(copy: Path, cell: Path) -> None:
    kept = Kept(cell, beside=("testpay.db",), trees=("blobs",))
    asyncio.run(backup.restore(copy, kept, force=True))


def content(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


def test_all_that_a_backup_makes_is_restored(copy: Path, cell: Path) -> None:
    listed(copy, "hansa.db", "testpay.db", "blobs/site_x/blob_y")
    restore(copy, cell)
    assert (
        content(cell).items()
        >= {
            "hansa.db": "their hansa.db",
            "testpay.db": "their testpay.db",
            "blobs/site_x/blob_y": "their blobs/site_x/blob_y",
            "master.key": "ours",
        }.items()
    )


NAMES = ["master.key", "hansa.db-wal", "cell.toml", "blobs", "blobs/.x", "blobs/a/.x",
         "before-restore-1/hansa.db", ".shipping/x", "other/x", "hansa.dump"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_another_file_beside_a_cell_is_not_replaced(copy: Path, cell: Path, name: str) -> None:
    if name == "blobs":
        (copy / "blobs").rename(copy / "moved")
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text("theirs")
    listed(copy, "hansa.db", name)
    before = content(cell)
    with pytest.raises(KeepingRefused, match="no copy of a cell has"):
        restore(copy, cell)
    assert content(cell) == before


def a_file(copy: Path, cell: Path) -> None:
    (copy / "hansa.db").unlink()
    (copy / "hansa.db").symlink_to(cell / "master.key")


def a_folder(copy: Path, cell: Path) -> None:
    (copy / "blobs").rename(cell.parent / "moved")
    (copy / "blobs").symlink_to(cell.parent / "moved")


@pytest.mark.parametrize("linked", [a_file, a_folder])
def test_a_link_is_no_file_of_a_copy(
    copy: Path, cell: Path, linked: Callable[[Path, Path], None]
) -> None:
    linked(copy, cell)
    listed(copy, "hansa.db", "blobs/site_x/blob_y")
    with pytest.raises(KeepingRefused, match="is a link"):
        restore(copy, cell)


def test_a_copy_without_rows_does_not_put_a_cell_away(copy: Path, cell: Path) -> None:
    listed(copy, "testpay.db")
    before = content(cell)
    with pytest.raises(KeepingRefused, match=r"no hansa\.db"):
        restore(copy, cell)
    assert content(cell) == before
