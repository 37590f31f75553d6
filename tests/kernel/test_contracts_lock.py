"""The committed contracts.lock has all that the services store, and today's code breaks nothing of
it, nor of the operations that were released."""

from pathlib import Path

import hansa
from hansa.assembly import SERVICES
from hansa.kernel import contracts

FILE = Path(hansa.__file__).parent / contracts.LOCK_NAME


def test_the_lock_is_up_to_date() -> None:
    assert FILE.exists(), "make it with: hansa check --accept"
    lock = contracts.read_lock(FILE)
    current = contracts.describe(SERVICES)
    breaches = contracts.compare(lock, current, contracts.upcasters_of(SERVICES))
    assert not breaches, "\n\n".join(str(one) for one in breaches)
    updated = contracts.updated(lock, current)
    assert updated.contracts == lock.contracts, "hansa check --accept"
    assert updated.revisions == lock.revisions, "hansa check --accept"
    assert contracts.to_text(lock) == FILE.read_text(encoding="utf-8")
