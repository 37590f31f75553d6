"""What the platform was told of a site, and answered, goes with the site."""

from typing import Any

import pytest

from hansa.assembly import OPERATOR, SERVICES
from hansa.kernel.clock import MachineClock
from hansa.kernel.keeping import erasing
from hansa.kernel.keeping.belongings import belongings
from hansa.kernel.problems import NotFound
from hansa.kernel.service import Service
from hansa.platform.sites.api import (
    NewHost,
    NewKey,
    NewSite,
    add_host,
    create_key,
    create_site,
)
from hansa.testing.cell import TestCell
from tests.kernel.keeping.generated import everything


@pytest.fixture
def services() -> tuple[Service, ...]:
    return SERVICES


async def ask(cell: TestCell, operation: Any, key: str, **arguments: Any) -> Any:
    return await cell.runtime.do(operation, OPERATOR, arguments, key=key)


async def told(cell: TestCell, name: str) -> str:
    """Tell the platform of a site, each time with a key for who asks again; return its id."""
    form = NewSite(f"{name}'s shop", hosts=(f"{name}.example",))
    site = str((await ask(cell, create_site, f"{name} site", body=form)).id)
    await ask(cell, add_host, f"{name} host", site=site, body=NewHost(f"www.{name}.example"))
    body = NewKey(f"till of {name}", ("blobs.*",))
    await ask(cell, create_key, f"{name} key", site=site, body=body)
    return site


def naming(database: dict[str, list[tuple[Any, ...]]], name: str) -> set[str]:
    return {table for table, rows in database.items() if name in str(rows)}


def sealed(database: dict[str, list[tuple[Any, ...]]]) -> int:
    """How many kept answers can be read with the master key alone."""
    return sum(1 in row[:6] for row in database["hansa_keys"])


async def test_what_the_platform_answered_of_a_site_goes_with_it(cell: TestCell) -> None:
    site, other = await told(cell, "anna"), await told(cell, "bea")
    storage = cell.runtime.storage
    before = await everything(storage)
    assert {"hansa_keys", "hansa_events", "sites_sites"} <= naming(before, "anna")
    assert sealed(before) == 2
    await erasing.erase(storage, belongings(SERVICES), site, MachineClock())
    after = await everything(storage)
    assert naming(after, "anna") == set()
    assert naming(after, site) == {"hansa_sites", "hansa_aggregates"}, "its id alone stays"
    assert sealed(after) == 1
    assert len(after["hansa_keys"]) == len(before["hansa_keys"]), "each key still has effect once"
    assert naming(after, "bea") == naming(before, "bea")
    with pytest.raises(NotFound) as gone:
        await told(cell, "anna")
    assert gone.value.slug == "site-not-found"
    assert len((await everything(storage))["sites_sites"]) == 1
    assert await told(cell, "bea") == other
