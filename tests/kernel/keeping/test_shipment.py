"""Shipments: what is chosen, what is thrown away, and that nothing damaged or missing is taken."""

import io
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.keeping import shipment
from hansa.kernel.keeping.depot import FolderDepot, parse_depot, reader
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.keeping.shipment import FORMAT, Head, Shipment
from hansa.kernel.schedule import to_us
from tests.platform.blobs.conftest import KEYS, s3_server

__all__ = ["s3_server"]

PAGE = 512


@st.composite
def depots(draw: st.DrawFn) -> list[Shipment]:
    """What shipping leaves: generations one after the other, each without a gap."""
    found: list[Shipment] = []
    at_us = draw(st.integers(0, 1_000))
    for generation in range(draw(st.integers(1, 4))):
        name = f"{at_us:016x}-{generation:08x}"
        for number in range(draw(st.integers(1, 5))):
            begun = at_us + draw(st.integers(0, 50))
            read = begun + draw(st.integers(0, 50))
            found.append(Shipment(name, number, begun, read))
            at_us = read + 1
    return found


@given(depots(), st.integers(-10, 3_000))
def test_the_newest_state_up_to_an_instant_is_chosen(every: list[Shipment], at_us: int) -> None:
    possible = [one for one in every if one.read_us <= at_us]
    if not possible:
        with pytest.raises(KeepingRefused):
            shipment.up_to(every, at_us)
        return
    chain = shipment.up_to(reversed(every), at_us)
    assert chain[-1] == max(possible, key=lambda one: one.read_us)
    assert [one.number for one in chain] == list(range(len(chain)))
    assert len({one.generation for one in chain}) == 1


@given(depots(), st.integers(-10, 3_000) | st.none(), st.data())
def test_a_gap_is_told_and_what_is_before_it_can_be_had(
    every: list[Shipment], at_us: int | None, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(every))
    rest = [one for one in every if one != gone]
    usable = [one for one in rest if at_us is None or one.read_us <= at_us]
    if not usable or usable[-1].generation != gone.generation or usable[-1] < gone:
        if usable:
            assert shipment.up_to(rest, at_us)[-1] == usable[-1], "the gap is elsewhere"
        return
    with pytest.raises(KeepingRefused) as told:
        shipment.up_to(rest, at_us)
    assert f"misses {gone.generation}.{gone.number:08}," in str(told.value)
    before = [one for one in rest if one < gone]
    if not before:
        assert str(told.value).endswith("It has nothing from before that.")
        return
    said = datetime.fromisoformat(str(told.value).rpartition("--at ")[2])
    assert shipment.up_to(rest, to_us(said))[-1] == before[-1]


def test_what_is_missing_at_the_beginning_is_told_without_an_instant() -> None:
    name = f"{1:016x}-{1:08x}"
    late = [Shipment(name, number, number, number) for number in (2, 3)]
    with pytest.raises(KeepingRefused, match=rf"misses {name}\.00000000 to 00000001,"):
        shipment.up_to(late, None)
    with pytest.raises(KeepingRefused, match="empty"):
        shipment.up_to([], None)
    with pytest.raises(KeepingRefused, match=r"It begins at 1970-01-01T00:00:00\.000009Z"):
        shipment.up_to([Shipment(name, 0, 9, 9), *late], 1)


@given(depots(), st.integers(-10, 3_000), st.integers(0, 3_000))
def test_what_is_thrown_away_is_needed_for_no_later_instant(
    every: list[Shipment], before_us: int, later_us: int
) -> None:
    left = sorted(set(every) - set(shipment.expired(every, before_us)))
    at_us = before_us + later_us
    try:
        wanted = shipment.up_to(every, at_us)
    except KeepingRefused:
        return
    assert shipment.up_to(left, at_us) == wanted


@given(depots())
def test_names_tell_all(every: list[Shipment]) -> None:
    names = [one.name for one in every]
    assert shipment.parse([*reversed(names), "notes.txt", ".x.gz", ""]) == every
    assert sorted(names) == names


def chain(folder: Path) -> list[bytes]:
    """Two shipments: a file of three pages, and a change that takes the last one away."""
    first, second = folder / "one", folder / "two"
    base = [(number, bytes([number]) * PAGE) for number in (1, 2, 3)]
    digest = shipment.write(first, Head(FORMAT, PAGE, 3, "", ("key",)), base)
    shipment.write(second, Head(FORMAT, PAGE, 2, digest), [(2, b"x" * PAGE)])
    return [first.read_bytes(), second.read_bytes()]


def applied(folder: Path, *shipments: bytes) -> bytes:
    file = folder / "file"
    file.unlink(missing_ok=True)
    digest = ""
    for one in shipments:
        _, digest = shipment.apply(io.BytesIO(one), file, digest)
    return file.read_bytes()


def test_pages_come_back_in_their_places(tmp_path: Path) -> None:
    one, two = chain(tmp_path)
    assert applied(tmp_path, one, two) == b"\1" * PAGE + b"x" * PAGE
    assert shipment.read_head(io.BytesIO(one)).master_keys == ("key",)


@given(data=st.data())
def test_a_damaged_shipment_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    one, _ = chain(folder)
    at = data.draw(st.integers(0, len(one) - 1))
    cut = data.draw(st.booleans())
    bad = one[:at] if cut else one[:at] + bytes([one[at] ^ (1 << data.draw(st.integers(0, 7)))])
    bad = bad if cut else bad + one[at + 1 :]
    try:
        whole = applied(folder, bad)
    except KeepingRefused:
        return
    assert whole == applied(folder, one), "only what gzip does not look at was changed"


def test_a_shipment_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    one, two = chain(tmp_path)
    with pytest.raises(KeepingRefused, match="missing"):
        applied(tmp_path, two)
    with pytest.raises(KeepingRefused, match="missing"):
        applied(tmp_path, one, one)


@pytest.fixture(params=["folder", "s3"])
def depot(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "depot")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    endpoint = request.getfixturevalue("s3_server")
    return f"s3://bucket/{tmp_path.name}?region=eu-central-1&endpoint={endpoint}"


def test_a_depot_keeps_lists_and_gives_back(depot: str, tmp_path: Path) -> None:
    store = parse_depot(depot)
    assert store.names() == []
    for name, content in (("b", b"tea" * 1_000_000), ("a", b"")):
        (tmp_path / "file").write_bytes(content)
        store.put(name, tmp_path / "file")
    assert store.names() == ["a", "b"]
    assert b"".join(store.pieces("b")) == b"tea" * 1_000_000
    stream = reader(store, "b")
    assert stream.read(4) + stream.read() == b"tea" * 1_000_000
    assert reader(store, "a").read() == b""
    store.erase("b")
    assert store.names() == ["a"]
    with pytest.raises(OSError, match=r"."):
        list(store.pieces("b"))


def test_a_half_written_object_has_no_name(tmp_path: Path) -> None:
    (tmp_path / ".half.gz").write_bytes(b"x")
    assert FolderDepot(tmp_path).names() == []


@pytest.mark.parametrize("url", ["s3://", "s3://b?speed=1"])
def test_a_depot_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a bucket"):
        parse_depot(url)
