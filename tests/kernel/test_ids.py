"""Identifiers: the published vectors, and what must hold of every one."""

import os
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.ids import decode, encode, is_id, random_bits, time_us, typeid

# TypeID specification 0.3.0, spec/valid.json: name, suffix and UUID.
VALID = [
    ("00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
    ("00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
    ("0000000000000000000000000a", "00000000-0000-0000-0000-00000000000a"),
    ("0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
    ("00000000000000000000000010", "00000000-0000-0000-0000-000000000020"),
    ("7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ("0123456789abcdefghjkmnpqrs", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
    ("01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
]
# spec/invalid.json, without the empty prefix, which Hansa does not use.
INVALID = [
    "PREFIX_00000000000000000000000000",
    "12345_00000000000000000000000000",
    "pre.fix_00000000000000000000000000",
    "préfix_00000000000000000000000000",
    "  prefix_00000000000000000000000000",
    f"{'a' * 64}_00000000000000000000000000",
    "_00000000000000000000000000",
    "_",
    "prefix_1234567890123456789012345",
    "prefix_123456789012345678901234567",
    "prefix_1234567890123456789012345 ",
    "prefix_0123456789ABCDEFGHJKMNPQRS",
    "prefix_123456789-123456789-123456",
    "prefix_ooooooooooooooooooooooooll",
    "prefix_i23456789ol23456789oi23456",
    "prefix_123456789-0123456789-0123456",
    "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "_prefix_00000000000000000000000000",
    "prefix__00000000000000000000000000",
]


@pytest.mark.parametrize(("letters", "uuid"), VALID)
def test_the_published_vectors(letters: str, uuid: str) -> None:
    assert encode(UUID(uuid).int) == letters
    assert decode(letters) == UUID(uuid).int
    assert is_id(f"prefix_{letters}", "prefix")


@pytest.mark.parametrize("text", INVALID)
def test_what_the_specification_refuses_is_refused(text: str) -> None:
    assert not is_id(text)


@given(st.integers(0, 2**128 - 1))
def test_every_value_comes_back(value: int) -> None:
    assert decode(encode(value)) == value


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(0, 2**62 - 1))
def test_an_identifier_is_a_uuid_of_version_7_and_keeps_its_instant(at_us: int, bits: int) -> None:
    made = typeid("prod", at_us, bits)
    assert is_id(made, "prod")
    uuid = UUID(int=decode(made[-26:]))
    assert (uuid.version, uuid.variant) == (7, "specified in RFC 4122")
    assert time_us(made) == at_us // 1000 * 1000
    assert uuid.int & 2**62 - 1 == bits


@given(st.lists(st.integers(0, 2**48 * 1000 - 1), min_size=2, max_size=2), st.data())
def test_identifiers_sort_by_their_instant(instants: list[int], data: st.DataObject) -> None:
    earlier, later = sorted(instants)
    bits = st.integers(0, 2**62 - 1)
    first, second = (typeid("evt", at, data.draw(bits)) for at in (earlier, later))
    # The twelve bits below the millisecond tell instants apart that are a microsecond apart.
    assert first < second or earlier == later


def test_a_forked_process_draws_other_bits() -> None:
    random_bits()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, random_bits().to_bytes(8, "big"))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        theirs = int.from_bytes(pipe.read(), "big")
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert theirs != random_bits()
    assert 0 <= theirs < 2**62


def test_a_thousand_draws_differ() -> None:
    assert len({random_bits() for _ in range(1000)}) == 1000
