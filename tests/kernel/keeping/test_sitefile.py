"""A site's file that is not what was written is refused, whatever became of it on the way."""

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hansa.kernel.keeping import sitefile
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.keeping.sitefile import FORMAT, Head, Reader, Writer
from hansa.kernel.schedule import from_us

ROWS = [["site_x", f"id_{number}", number * number] for number in range(500)]


def plain() -> bytes:
    out = io.BytesIO()
    tables = {"commerce_products": ["site", "id", "size"]}
    writer = Writer(out, Head(FORMAT, "site_x", from_us(1), tables, {}, ()))
    writer.table("commerce_products")
    for row in ROWS:
        writer.row("commerce_products", row)
    writer.end()
    return out.getvalue()


PACKED = gzip.compress(plain(), mtime=0)


def read(file: Path) -> list[list[object]]:
    with sitefile.opened(file) as stream:
        return [values for _, values in Reader(stream).rows()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, len(PACKED) * 8 - 1))
def test_a_packed_file_with_a_bit_turned_over_is_refused_or_harmless(
    tmp_path: Path, bit: int
) -> None:
    damaged = bytearray(PACKED)
    damaged[bit // 8] ^= 1 << (bit % 8)
    file = tmp_path / "site.gz"
    file.write_bytes(damaged)
    try:
        assert read(file) == ROWS, "a name or an instant in gzip's head"
    except KeepingRefused as refused:
        assert "damaged" in str(refused)


@pytest.mark.parametrize("name", ["site.gz", "site"])
def test_a_whole_file_is_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(PACKED if file.suffix else plain())
    assert read(file) == ROWS
