"""What tests stand on: services in memory on either engine, with sites, clocks and fakes of others.

    async def test_a_point_is_earned(cell: TestCell) -> None:
        tea = await cell.site("tea", at=datetime(2026, 1, 1, tzinfo=UTC))
        await tea.emit(OrderPlaced(...))
        await cell.rest()
        assert await tea.visitor.call(get_balance, guest="ann") == 15

`pytest_plugins = ["hansa.testing.fixtures"]` in a `conftest.py` brings the fixtures `cell` and
`split_cell`. For Hansa's own tests there are also PostgreSQL servers, and a disk that fails on
order. What must never happen here: a stand-in for something that Hansa owns; only other teams'
services are faked.
"""

from hansa.testing.cell import TestCaller, TestCell, TestSite
from hansa.testing.split import SplitCell

__all__ = ["SplitCell", "TestCaller", "TestCell", "TestSite"]
