"""Cron in the zones of sites: daylight saving by vectors, the newest instant by brute force.

Source of the rules: cron(8) of Debian, "Daylight Saving Time and other time changes", which cronsim
follows: jobs at a time that the clocks skip run right after the gap, those at one that is shown
twice run once, and `*` in hours or minutes follows real time.
"""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.schedule import Cron, from_us, spread_us, to_us

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"
ZONES = (BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu")
CRONS = ("30 2 * * *", "0 * * * *", "*/15 * * * *", "0 0 1 * *", "0 9 * * 1", "15 1,2,3 * * *")


def fires(expression: str, zone: str, after: str, until: str) -> list[str]:
    """Return the instants, as UTC, in an interval given in UTC."""
    times = [to_us(datetime.fromisoformat(text).replace(tzinfo=UTC)) for text in (after, until)]
    found = Cron(expression).between(times[0], times[1], zone)
    return [from_us(at_us).strftime("%m-%dT%H:%M") for at_us in found]


# In 2026 Europe/Berlin goes from 02:00 to 03:00 on 29 March and from 03:00 to 02:00 on 25 October;
# America/New_York from 02:00 to 03:00 on 8 March and from 02:00 to 01:00 on 1 November (tzdata).


@pytest.mark.parametrize(
    ("zone", "after", "until", "wanted"),
    [
        (BERLIN, "2026-03-27T12:00", "2026-03-30T12:00",
         ["03-28T01:30", "03-29T01:00", "03-30T00:30"]),
        (NEW_YORK, "2026-03-06T12:00", "2026-03-09T12:00",
         ["03-07T07:30", "03-08T07:00", "03-09T06:30"]),
    ],
)  # fmt: skip
def test_a_skipped_time_fires_right_after_the_gap(
    zone: str, after: str, until: str, wanted: list[str]
) -> None:
    assert fires("30 2 * * *", zone, after, until) == wanted


@pytest.mark.parametrize(
    ("zone", "expression", "after", "until", "wanted"),
    [
        (BERLIN, "30 2 * * *", "2026-10-23T12:00", "2026-10-26T12:00",
         ["10-24T00:30", "10-25T00:30", "10-26T01:30"]),
        (NEW_YORK, "30 1 * * *", "2026-10-30T12:00", "2026-11-02T12:00",
         ["10-31T05:30", "11-01T05:30", "11-02T06:30"]),
    ],
)  # fmt: skip
def test_a_doubled_time_fires_once(
    zone: str, expression: str, after: str, until: str, wanted: list[str]
) -> None:
    assert fires(expression, zone, after, until) == wanted


@pytest.mark.parametrize(
    ("zone", "day"),
    [(BERLIN, "2026-03-29"), (BERLIN, "2026-10-25"), (NEW_YORK, "2026-03-08"),
     (NEW_YORK, "2026-11-01")],
)  # fmt: skip
def test_hourly_follows_real_time(zone: str, day: str) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    found = list(Cron("0 * * * *").between(to_us(start), to_us(start + timedelta(days=1)), zone))
    assert found == [to_us(start + timedelta(hours=n)) for n in range(1, 25)]


def test_daily_fires_once_for_each_local_day_of_a_year() -> None:
    for zone in (BERLIN, NEW_YORK):
        start = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
        end = datetime(2027, 1, 1, tzinfo=ZoneInfo(zone))
        found = list(Cron("30 2 * * *").between(to_us(start), to_us(end), zone))
        days = [from_us(at_us).astimezone(ZoneInfo(zone)).date() for at_us in found]
        assert len(days) == len(set(days)) == 365


@pytest.mark.parametrize("text", ["", "* * * *", "* * * * * *", "61 * * * *", "x * * * *"])
def test_what_cron_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Cron(text)


starts = st.integers(
    to_us(datetime(2025, 1, 1, tzinfo=UTC)), to_us(datetime(2027, 12, 31, tzinfo=UTC))
)


@given(st.sampled_from(CRONS), st.sampled_from(ZONES), starts, st.integers(0, 40 * 86_400))
def test_the_newest_is_the_last_of_all(
    expression: str, zone: str, after_us: int, seconds: int
) -> None:
    cron = Cron(expression)
    until_us = after_us + seconds * 1_000_000
    everything = list(cron.between(after_us, until_us, zone))
    assert everything == sorted(set(everything))
    assert all(after_us < at_us <= until_us for at_us in everything)
    newest = cron.newest_us(after_us, until_us, zone)
    assert newest == (everything[-1] if everything else None)


@given(st.sampled_from(CRONS), st.sampled_from(ZONES), starts, st.integers(1, 9))
def test_stepping_finds_the_same_instants_as_one_walk(
    expression: str, zone: str, start_us: int, steps: int
) -> None:
    """Asked from any instant on, a schedule fires at the same instants."""
    cron = Cron(expression)
    end_us = start_us + 12 * 86_400_000_000
    whole = list(cron.between(start_us, end_us, zone))
    cuts = [start_us + (end_us - start_us) * n // steps for n in range(steps + 1)]
    parts = [
        at_us
        for left, right in itertools.pairwise(cuts)
        for at_us in cron.between(left, right, zone)
    ]
    assert parts == whole


@given(st.text(max_size=20), st.integers(0, 86_400))
def test_the_spread_is_within_its_seconds_and_stays(site: str, spread_s: int) -> None:
    delay_us = spread_us(site, "x.daily", spread_s)
    assert 0 <= delay_us < max(1, spread_s * 1_000_000)
    assert delay_us == spread_us(site, "x.daily", spread_s)


@given(starts)
def test_instants_survive_both_ways(at_us: int) -> None:
    assert to_us(from_us(at_us)) == at_us
