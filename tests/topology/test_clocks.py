"""A test clock moves all services of a site together, wherever each of them is."""

from datetime import datetime, timedelta
from typing import Final

from tests.topology.person import until
from tests.topology.shopping import Shop

START: Final = datetime.fromisoformat("2031-03-01T05:00:00+00:00")
DAYS: Final = 3


def clocked(shop: Shop) -> Shop:
    """Return another site, on a clock that stands at START."""
    return shop.other(clock={"now": START.isoformat()})


def advance(shop: Shop, to: datetime) -> None:
    """Move a site's clock, and return when it has arrived."""
    path = f"/sites/{shop.site}/clock"
    shop.operator.post(f"{path}/advance", {"to": to.isoformat()})
    until(lambda: datetime.fromisoformat(shop.operator.get(path)["now"]) == to)


def happenings(shop: Shop) -> list[tuple[str, datetime]]:
    """Return what the steward has written down, and when."""
    diary = shop.keeper.get("/steward/diary")
    return [(one["what"], datetime.fromisoformat(one["at"])) for one in diary]


def test_all_services_go_by_the_clock_of_the_site(
    shop: Shop, letters: dict[str, list[str]]
) -> None:
    other = clocked(shop)
    assert datetime.fromisoformat(other.buy()["created_at"]) == START
    other.keeper.ask("POST", "/steward/reminders", {"what": other.handle, "days": 2})
    assert happenings(other) == []
    end = START + timedelta(days=DAYS)
    advance(other, end)
    mornings = [START + timedelta(days=day, hours=1) for day in range(DAYS)]
    wanted = [("morning", at) for at in mornings] + [(other.handle, START + timedelta(days=2))]
    assert happenings(other) == sorted(wanted, key=lambda one: one[1])
    assert letters[f"{other.handle}@a.example"] == ["Remember"]  # it was sent on the way
    order = other.buy()
    assert datetime.fromisoformat(order["created_at"]) == end
    other.keeper.post(f"/commerce/orders/{order['id']}/cancel")
    until(lambda: ("cancelled", end) in happenings(other))


def test_one_step_is_as_many_steps(shop: Shop) -> None:
    once, often = clocked(shop), clocked(shop)
    for one in (once, often):
        one.keeper.ask("POST", "/steward/reminders", {"what": "tea", "days": 1})
        one.keeper.ask("POST", "/steward/reminders", {"what": "cake", "days": DAYS})
    advance(once, START + timedelta(days=DAYS))
    for day in range(1, DAYS + 1):
        advance(often, START + timedelta(days=day))
    assert happenings(once) == happenings(often)
    assert len(happenings(once)) == DAYS + 2
