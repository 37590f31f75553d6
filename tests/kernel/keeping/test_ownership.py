"""A site's file brings rows of that site, and nothing else."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.assembly import BYTES_TABLES, SERVICES
from hansa.kernel.clock import MachineClock
from hansa.kernel.keeping import carrying, sitefile
from hansa.kernel.keeping.belongings import EVENTS, belongings
from hansa.kernel.keeping.erasing import erase_rows
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.site import slot_of
from hansa.kernel.storage import Storage
from hansa.platform.blobs.api import check_key
from tests.kernel.keeping.copying import opened
from tests.kernel.keeping.generated import everything, fill

SITE = "site_gone"
ALL = belongings(SERVICES)
CLOCK = MachineClock()
Lines = list[Any]


async def lines_of(storage: Storage) -> Lines:
    """A good file, without its end."""
    with TemporaryFile() as out:
        await carrying.export(storage, ALL, SITE, slot_of(SITE), out, CLOCK)
        out.seek(0)
        return [json.loads(line) for line in out][:-1]


@contextmanager
def written(lines: Lines) -> Iterator[sitefile.Reader]:
    """A file with its proof, as anybody can write one."""
    digest = hashlib.sha256()
    with TemporaryFile() as out:
        for line in lines:
            text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            digest.update(text)
            out.write(text)
        end = {"rows": {}, "sha256": digest.hexdigest()}
        out.write(json.dumps(end, separators=(",", ":")).encode() + b"\n")
        yield sitefile.Reader(out)


async def take(storage: Storage, lines: Lines, stored: tuple[str, ...] = ()) -> None:
    with written(lines) as source:
        await carrying.take_in(
            storage, ALL, source, CLOCK, cell="local", check_key=check_key, stored=stored
        )


def row_of(lines: Lines, table: str) -> list[Any]:
    found: list[Any] = lines[lines.index({"table": table}) + 1]
    return found


def given_to(table: str, column: str, value: Any) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        row_of(lines, table)[lines[0]["tables"][table].index(column)] = value

    return change


def short(lines: Lines) -> None:
    row_of(lines, "sites_keys").pop()


def undeclared(lines: Lines) -> None:
    del lines[0]["tables"]["commerce_products"]


def nested(lines: Lines) -> None:
    row_of(lines, "sites_keys")[0] = {"a": 1}


def huge(lines: Lines) -> None:
    row_of(lines, EVENTS)[0] = 2**70


def without_a_site(lines: Lines) -> None:
    lines[0]["tables"]["sites_keys"].remove("site_id")


def twice(lines: Lines) -> None:
    lines[0]["tables"]["sites_keys"].append("site_id")


BAD: dict[str, Callable[[Lines], None]] = {
    "a key of the platform": given_to("sites_keys", "site_id", "platform"),
    "a row of another site": given_to("commerce_products", "site", "site_other"),
    "an event of the platform": given_to(EVENTS, "site", "platform"),
    "due work of another site": given_to("hansa_due", "site", "site_other"),
    "no site at all": given_to("commerce_products", "site", None),
    "a row that is short": short,
    "a table that is not told of": undeclared,
    "no value": nested,
    "a number too large": huge,
    "no column of sites": without_a_site,
    "a column twice": twice,
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
def test_what_is_not_of_the_site_does_not_go_in(
    storage: Storage, change: Callable[[Lines], None]
) -> None:
    async def play() -> None:
        async with opened(storage):
            await fill(storage, ALL, SITE, 2)
            lines = await lines_of(storage)
            change(lines)
            await erase_rows(storage, ALL, SITE)
            before = await everything(storage)
            with pytest.raises(KeepingRefused):
                await take(storage, lines)
            assert await everything(storage) == before

    asyncio.run(play())


@pytest.mark.parametrize("id", ["../site_other/blob_x", "/blob", "", "a b", None])
def test_a_name_of_bytes_that_are_not_of_the_site_does_not_go_in(
    storage: Storage, id: str | None
) -> None:
    async def play() -> None:
        async with opened(storage):
            await fill(storage, [one for one in ALL if one.name == "sites_sites"], SITE, 1)
            lines = await lines_of(storage)
            await erase_rows(storage, ALL, SITE)
            at = lines.index({"table": "blobs_blobs"})
            names = lines[0]["tables"]["blobs_blobs"]
            good = {"site": SITE, "id": "blob_x", "size": 1, "created_at": 1}

            def told_of(name: str | None) -> Lines:
                row = [{**good, "id": name}.get(column, "") for column in names]
                return [*lines[: at + 1], row, *lines[at + 1 :]]

            with pytest.raises(KeepingRefused, match="blobs_blobs"):
                await take(storage, told_of(id), BYTES_TABLES)
            await take(storage, told_of("blob_x"), BYTES_TABLES)

    asyncio.run(play())


@pytest.mark.parametrize("site", ["platform", "../../etc", "site_", "site_a/b", "site_\u00e9", ""])
def test_a_file_of_no_site_is_refused(site: str) -> None:
    head = {
        "hansa_site": 1, "site": site, "exported_at": "2026-01-01T00:00:00Z", "tables": {},
        "passed": {}, "master_keys": [],
    }  # fmt: skip
    with pytest.raises(KeepingRefused, match="no id"), written([head]):
        pass
    with pytest.raises(KeepingRefused, match="no id"):
        sitefile.check_site(site)


@given(st.text() | st.from_regex(r"site_.*"))
def test_the_id_of_a_site_is_the_name_of_a_folder_in_a_store(site: str) -> None:
    try:
        sitefile.check_site(site)
    except KeepingRefused:
        return
    assert check_key(f"{site}/blob_x")
