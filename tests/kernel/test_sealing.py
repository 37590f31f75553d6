"""Sealed bytes open for their site and purpose only, and only whole."""

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.sealing import (
    OVERHEAD_BYTES,
    MasterKeyInvalid,
    SealBroken,
    Sealer,
    load_sealer,
    new_master_key,
    parse_master_keys,
    replace_master_keys,
)

OLD, NEW = b"o" * 32, b"n" * 32
sealer = Sealer([OLD])


@given(st.text(max_size=20), st.text(max_size=20), st.binary(max_size=200))
def test_opens_to_what_was_sealed(purpose: str, site: str, plain: bytes) -> None:
    sealed = sealer.seal(purpose, site, plain)
    assert len(sealed) == len(plain) + OVERHEAD_BYTES
    assert sealer.open(purpose, site, sealed) == plain
    assert sealer.seal(purpose, site, plain) != sealed


@given(st.binary(min_size=1, max_size=40), st.data())
def test_any_changed_bit_is_refused(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(sealer.seal("p", "s", plain))
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[at // 8] ^= 1 << at % 8
    with pytest.raises(SealBroken):
        sealer.open("p", "s", bytes(sealed))


@given(st.binary(max_size=40), st.integers(0, 80))
def test_a_cut_value_is_refused(plain: bytes, length: int) -> None:
    sealed = sealer.seal("p", "s", plain)
    if length < len(sealed):
        with pytest.raises(SealBroken):
            sealer.open("p", "s", sealed[:length])


@given(st.tuples(st.text(max_size=5), st.text(max_size=5)), st.tuples(st.text(), st.text()))
def test_another_site_or_purpose_cannot_open(one: tuple[str, str], two: tuple[str, str]) -> None:
    if one != two:
        with pytest.raises(SealBroken):
            sealer.open(*two, sealer.seal(*one, b"secret"))


def test_names_that_join_to_the_same_text_stay_apart() -> None:
    with pytest.raises(SealBroken):
        sealer.open("a", "bc", sealer.seal("ab", "c", b"secret"))


def test_rotation_opens_the_old_and_seals_with_the_new() -> None:
    old = sealer.seal("p", "s", b"kept")
    both = Sealer([NEW, OLD])
    assert both.open("p", "s", old) == b"kept"
    assert not both.is_current(old)
    fresh = both.seal("p", "s", b"kept")
    assert both.is_current(fresh)
    with pytest.raises(SealBroken):
        sealer.open("p", "s", fresh)


def test_more_sites_than_derived_keys_are_kept() -> None:
    sealed = [(str(site), sealer.seal("p", str(site), b"x")) for site in range(1500)]
    assert all(sealer.open("p", site, value) == b"x" for site, value in sealed)


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(b"x" * 31).decode(), "ä" * 44])
def test_a_bad_master_key_is_named_by_its_place_only(text: str) -> None:
    with pytest.raises(MasterKeyInvalid) as refused:
        parse_master_keys(text, "the file")
    assert "the file" in str(refused.value)
    assert not text or text not in str(refused.value)


def test_the_first_start_makes_a_file_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "master.key"
    sealed = load_sealer(file, None).seal("p", "s", b"x")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == ["master.key"]
    assert load_sealer(file, "").open("p", "s", sealed) == b"x"


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    load_sealer(file, None)
    file.chmod(0o640)
    with pytest.raises(MasterKeyInvalid, match="chmod 600"):
        load_sealer(file, None)


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    text = f"{new_master_key()}, {new_master_key()}"
    sealed = load_sealer(tmp_path / "none", text).seal("p", "s", b"x")
    assert load_sealer(tmp_path / "none", text).open("p", "s", sealed) == b"x"
    assert not (tmp_path / "none").exists()


def test_a_running_sealer_takes_up_what_the_file_says_next(tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    replace_master_keys(file, [OLD])
    running = load_sealer(file, None)
    before = running.seal("p", "s", b"x")
    assert running.is_current(before)
    replace_master_keys(file, [NEW, OLD])
    # A value of the new key makes it look at once, anything else within a second.
    assert running.open("p", "s", Sealer([NEW]).seal("p", "s", b"y")) == b"y"
    assert not running.is_current(before)
    assert Sealer([NEW]).open("p", "s", running.seal("p", "s", b"z")) == b"z"
    assert running.open("p", "s", before) == b"x"
    other = load_sealer(file, None)
    replace_master_keys(file, [OLD, NEW])
    other._reread_at = 0.0  # the second is over
    assert other.head == Sealer([OLD]).head


def test_a_file_that_becomes_unreadable_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    replace_master_keys(file, [OLD])
    running = load_sealer(file, None)
    for spoil in (lambda: file.write_text("nonsense"), lambda: file.unlink()):
        spoil()
        running._reread_at = 0.0
        assert running.open("p", "s", running.seal("p", "s", b"x")) == b"x"
        with pytest.raises(SealBroken):
            running.open("p", "s", Sealer([NEW]).seal("p", "s", b"y"))


def test_derived_keys_belong_to_purpose_and_master() -> None:
    both = Sealer([NEW, OLD]).derived("p")
    assert both == Sealer([NEW]).derived("p") + Sealer([OLD]).derived("p")
    assert len({*both, *Sealer([NEW]).derived("q")}) == 3
