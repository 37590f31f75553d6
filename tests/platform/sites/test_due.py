"""Due work of a site does nothing of the platform's, whatever a row says that came in a file."""

import pytest

from hansa.assembly import OPERATOR, SERVICES
from hansa.kernel import codec, due
from hansa.kernel.due import DueRow
from hansa.kernel.problems import Denied
from hansa.kernel.service import Service
from hansa.kernel.structs import PageRequest
from hansa.platform.sites.api import NewHost, NewSite, add_host, create_site, list_hosts
from hansa.testing.cell import TestCell


@pytest.fixture
def services() -> tuple[Service, ...]:
    return SERVICES


async def test_a_site_cannot_have_the_platform_work_for_it(cell: TestCell) -> None:
    do = cell.runtime.do
    site, other = [
        (await do(create_site, OPERATOR, {"body": NewSite(name)})).id for name in ("one", "two")
    ]
    arguments = codec.encode({"site": other, "body": NewHost("taken.example")})
    row = DueRow("due_1", site, add_host.id, 1, arguments, 0, 0, "", "")
    with pytest.raises(Denied):
        await due.do(cell.runtime, row, "")
    hosts = await do(list_hosts, OPERATOR, {"site": other, "page": PageRequest()})
    assert hosts.items == []
