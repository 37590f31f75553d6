"""`hansa.testing.SplitCell`: what holds in one process holds for the same services in several."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from hansa.kernel.ids import ID
from hansa.kernel.problems import Conflict, Denied, NotFound
from hansa.kernel.service import Service
from hansa.testing import SplitCell, TestCell
from hansa.testing.schema import make_tables
from tests.testing.bakery import Baked, bake, bakery, get_price
from tests.testing.diary import Noted, count, diary, worth


@pytest.fixture
def services() -> Sequence[Service]:
    return (diary, bakery)


async def make(cell: TestCell) -> None:
    """The tables of these services have no revisions."""
    for part in cell.every:
        for one in (bakery, diary):
            await make_tables(part.storage, one)


async def use(cell: TestCell) -> None:
    """What holds in one process and in several."""
    await make(cell)
    inn = await cell.site("inn")
    assert await inn.under("k" * 22).call(bake, "rye") == "rye"
    assert await inn.under("k" * 22).call(bake, "rye") == "rye"
    with pytest.raises(Conflict):
        await inn.call(bake, "rye")
    with pytest.raises(Denied):
        await inn.key("bakery.breads:read").call(bake, "oat")
    await cell.rest()
    assert await inn.visitor.call(count, "rye") == 1
    assert await inn.visitor.call(worth, "rye") == 3
    assert await inn.events(Baked) == [Baked(ID("bread_rye"), "rye")]
    assert await inn.events(Noted) == [Noted(ID("bread_rye"))]
    assert await inn.visitor.call(count, "noted") == 1
    assert await cell.at("bakery").rows("SELECT name FROM bakery_breads") == [("rye",)]
    with pytest.raises(NotFound, match="There is no oat") as missing:
        await inn.visitor.call(worth, "oat")
    assert missing.value.slug == "no-such-bread"
    with cell.fake(get_price, 5) as asked:
        assert await inn.visitor.call(worth, "rye") == 5
        assert asked == [{"name": "rye"}]
    await inn.emit(Baked(ID("bread_2"), "rye"))
    await cell.rest()
    assert await inn.visitor.call(count, "rye") == 2
    other = await cell.site("other")
    assert await other.visitor.call(count, "rye") == 0


async def test_in_one_process(cell: TestCell) -> None:
    await use(cell)


async def test_in_several(split_cell: SplitCell) -> None:
    await use(split_cell)
    assert {"diary", "bakery", "sites"} <= split_cell.parts.keys()
    stored = [await part.rows("SELECT name FROM bakery_breads") for part in split_cell.every]
    assert len([rows for rows in stored if rows]) == 1


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
async def test_a_test_clock_moves_the_services_together(split_cell: SplitCell) -> None:
    await make(split_cell)
    inn = await split_cell.site("inn", at=datetime(2026, 1, 1, tzinfo=UTC))
    await inn.call(bake, "rye")
    assert await inn.advance(timedelta(days=1)) == datetime(2026, 1, 2, tzinfo=UTC)
    assert await inn.visitor.call(count, "rye") == 1
