"""Who listens to all events of a site hears those of other cells too."""

from pathlib import Path

from hansa.assembly import SERVICES
from hansa.kernel.clock import MachineClock
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.following import followers
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Address, Entry, Placement
from hansa.kernel.runtime import Runtime
from hansa.kernel.sealing import Sealer
from hansa.kernel.sqlite import SqliteStorage
from tests.kernel.cells import Sites

AT = (Address("127.0.0.1", 1),)
POSTS = Entry("posts", "a", AT, ("webhooks",))
SHOP = Entry("shop", "b", AT, ("commerce", "sites"))
MAIL = Entry("mail", "b", AT, ("mail",))


def followed(own: Entry, folder: Path) -> dict[str, tuple[str, ...]]:
    """Return which types a process follows, by the cell."""
    remote = Remote(Placement((POSTS, SHOP, MAIL)), own, Seal([b"k" * 32]), MachineClock())
    runtime = Runtime(
        SERVICES, SqliteStorage(folder / "cell.db"), Sites(), Sealer([b"m" * 32]),
        remote=remote, hosted=own.services,
    )  # fmt: skip
    return {one._entry.cell: one.types for one in followers(runtime, remote)}


def test_a_listener_follows_all_that_happens_elsewhere(tmp_path: Path) -> None:
    assert followed(POSTS, tmp_path)["b"] == ("commerce.*", "mail.*", "sites.*")
    assert followed(SHOP, tmp_path) == {}
