"""The generic cell rate algorithm grants what it says, to each name, in bounded memory."""

from copy import deepcopy
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel import codec
from hansa.kernel.rate import Meter, Rate
from hansa.kernel.site_limits import DEFAULT_LIMITS, SiteLimits

# Powers of two, so that floats are exact and a limit is met to the request.
rates = st.builds(
    Rate,
    per_s=st.integers(-3, 6).map(lambda power: float(2**power)),
    burst=st.integers(1, 40),
)
gaps = st.lists(st.integers(0, 640), min_size=1, max_size=120)


def instants(steps: list[int]) -> list[float]:
    """Return instants a multiple of 1/64 s apart."""
    now, found = 1_000.0, list[float]()
    for step in steps:
        now += step / 64
        found.append(now)
    return found


@given(rates, gaps)
def test_it_is_a_token_bucket(rate: Rate, steps: list[int]) -> None:
    """The model: a bucket of `burst` tokens that gets `per_s` of them each second."""
    meter = Meter()
    tokens, last = Fraction(rate.burst), Fraction(0)
    for now in instants(steps):
        tokens = min(Fraction(rate.burst), tokens + (Fraction(now) - last) * Fraction(rate.per_s))
        last = Fraction(now)
        room = meter.take("site", rate, now)
        assert (room >= 0) == (tokens >= 1)
        if room >= 0:
            tokens -= 1
        assert room * rate.per_s == (tokens if room >= 0 else tokens - 1)


@given(rates, gaps)
def test_any_window_holds_a_burst_and_the_rate(rate: Rate, steps: list[int]) -> None:
    meter = Meter()
    admitted = [now for now in instants(steps) if meter.take("site", rate, now) >= 0]
    for place, first in enumerate(admitted):
        for count, last in enumerate(admitted[place:], start=1):
            assert count <= rate.burst + (last - first) * rate.per_s


@given(rates, gaps)
def test_who_waits_as_told_gets_in(rate: Rate, steps: list[int]) -> None:
    meter = Meter()
    for now in instants(steps):
        room = meter.take("site", rate, now)
        if room < 0:
            assert meter.take("site", rate, now - room - 1 / 1024) < 0
            assert deepcopy(meter).take("site", rate, now - room) == 0


@given(rates, gaps, st.sampled_from([1, 2, 100]))
def test_what_is_given_back_was_not_taken(rate: Rate, steps: list[int], names_max: int) -> None:
    meter, other = Meter(names_max), Meter(names_max)
    for now in instants(steps):
        room = meter.take("site", rate, now)
        if room >= 0:
            meter.give_back("site", rate)
            assert meter.take("site", rate, now) == room
        assert other.take("site", rate, now) == room


@given(rates, gaps, st.integers(0, 30))
def test_names_do_not_share(rate: Rate, steps: list[int], others: int) -> None:
    alone, crowded = Meter(), Meter()
    for now in instants(steps):
        for other in range(others):
            crowded.take(f"other {other}", rate, now)
        assert alone.take("site", rate, now) == crowded.take("site", rate, now)


def test_memory_is_bounded_and_ten_thousand_sites_are_all_remembered() -> None:
    rate = Rate(0.01, 1)
    meter = Meter()
    sites = [f"site_{number}" for number in range(10_000)]
    for site in sites:
        assert meter.take(site, rate, 1.0) >= 0
    for site in sites:
        assert meter.take(site, rate, 2.0) < 0
    for stranger in range(200_000):
        meter.take(f"address {stranger}", rate, 3.0)
        assert len(meter) <= 65_536


def test_who_keeps_coming_is_not_forgotten_for_strangers() -> None:
    rate, meter = Rate(1, 50), Meter(100)
    rooms: list[float] = []
    for number in range(40):
        rooms.append(meter.take("regular", rate, 1.0))
        for stranger in range(40):
            meter.take(f"{number} {stranger}", rate, 1.0)
    assert rooms == [49.0 - number for number in range(40)]


@pytest.mark.parametrize(
    "value",
    [
        {"site": {"per_s": 0, "burst": 1}},
        {"site": {"per_s": 1, "burst": 0}},
        {"site": {"per_s": -1, "burst": 10}},
        {"key": {"per_s": 1}},
        {"at_once": 0},
        {"sites": {"per_s": 1, "burst": 1}},
    ],
)
def test_limits_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"Expected|missing|unknown"):
        codec.convert(value, SiteLimits)


def test_what_is_left_out_is_the_default() -> None:
    limits = codec.convert({"key": {"per_s": 2.5, "burst": 4}}, SiteLimits)
    assert limits.site == DEFAULT_LIMITS.site
    assert limits.policy_of_key == '"key";q=4;w=2, "site";q=10000;w=10'
