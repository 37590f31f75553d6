"""A cell knows its master key again, without opening what it has sealed."""

from hansa.kernel.proof import NAME, opens
from hansa.kernel.resealing import PROOF
from hansa.kernel.sealing import Sealer


def test_a_key_is_known_by_its_name() -> None:
    value = Sealer([b"1" * 32]).seal(PROOF.purpose, NAME, b"hansa")
    assert opens(Sealer([b"2" * 32, b"1" * 32]), value)
    assert not opens(Sealer([b"2" * 32]), value)
    assert not opens(Sealer([b"1" * 32]), value[:20])
    assert not opens(Sealer([b"1" * 32]), b"\x09" + value[1:])
    other = [b"2" * 32]
    assert opens(Sealer(other, reread=lambda: [b"1" * 32]), value)
