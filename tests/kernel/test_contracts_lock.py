"""The committed contracts.lock says what the services store today, and breaks nothing of before."""

from pathlib import Path

import hansa
from hansa.assembly import SERVICES
from hansa.kernel import contracts

FILE = Path(hansa.__file__).parent / contracts.LOCK_NAME


def test_the_lock_is_up_to_date() -> None:
    assert FILE.exists(), "make it with: hansa contracts --update"
    lock = contracts.read_lock(FILE)
    current = contracts.describe(SERVICES)
    assert contracts.compare(lock, current, contracts.upcasters_of(SERVICES)) == []
    assert contracts.updated(lock, current) == lock
    assert contracts.to_text(lock) == FILE.read_text(encoding="utf-8")
