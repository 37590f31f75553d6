"""Documents as rows: what may be put, and all of them listed as they were."""

import msgspec
import pytest

from hansa.assembly import Place
from hansa.kernel.structs import Page, PageRequest
from hansa.platform.search import api, search
from hansa.platform.search.documents import InvalidDocument
from hansa.platform.search.schema import DOCUMENT_BYTES_MAX
from hansa.testing import TestCell
from tests.platform.search.test_service import BOATS, fleet


@pytest.fixture
def cell(place: Place) -> TestCell:
    return TestCell(search, place=place)


async def test_one_document_has_the_size_of_any(cell: TestCell) -> None:
    site = await cell.site()
    await fleet(site)
    title = "x" * (DOCUMENT_BYTES_MAX - len('{"title":"","id":"long"}'))
    await site.call(api.put_document, name="fleet", id="long", body={"title": title})
    with pytest.raises(InvalidDocument, match="at most 131072 bytes, not 131073"):
        await site.call(api.put_document, name="fleet", id="long", body={"title": title + "x"})


async def test_all_documents_are_listed(cell: TestCell) -> None:
    site = await cell.site()
    await fleet(site)
    await site.call(api.put_document, name="fleet", id="raft", body={"title": "A raft"})
    await site.call(api.delete_document, name="fleet", id="raft")
    listed, cursor = [], None
    while True:
        page: Page[msgspec.Raw] = await site.call(
            api.list_documents, name="fleet", page=PageRequest(2, cursor)
        )
        listed += [msgspec.json.decode(one) for one in page.items]
        if (cursor := page.next) is None:
            break
    assert listed == sorted(BOATS, key=lambda boat: str(boat["id"]))
