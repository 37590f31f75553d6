"""Buckets and quantiles: right within a fifth."""

from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.observe.vitals import (
    BUCKETS,
    SLOW_LEAST_US,
    SLOW_UNKNOWN_US,
    Vital,
    begins_us,
    bucket,
    quantile_us,
)

TIMES = st.integers(0, 16 * 3_600 * 1_000_000)


@given(TIMES)
def test_a_time_is_within_its_bucket(took_us: int) -> None:
    number = bucket(took_us)
    assert 0 <= number < BUCKETS
    assert begins_us(number) <= took_us
    assert took_us < begins_us(number + 1) or number == BUCKETS - 1


def test_no_time_is_too_long_or_too_short() -> None:
    assert bucket(1 << 80) == BUCKETS - 1
    assert bucket(-5) == 0


def test_buckets_follow_each_other() -> None:
    begins = [begins_us(number) for number in range(BUCKETS + 1)]
    assert begins == sorted(set(begins))


@given(st.lists(st.integers(8, 10**9), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_right_within_a_fifth(times: list[int], quantile: float) -> None:
    vital = Vital()
    for one in times:
        vital.add(one, 0)
    exact = sorted(times)[max(0, -(-int(quantile * 1_000) * len(times) // 1_000) - 1)]
    assert exact < quantile_us(vital.counts, quantile) <= exact * 1.25 + 1


def test_nothing_has_no_quantile() -> None:
    assert quantile_us([0] * BUCKETS, 0.99) == 0
    assert Vital().mean_us == 0.0


def test_slow_is_what_is_slower_than_most() -> None:
    vital = Vital()
    assert vital.slow_us == SLOW_UNKNOWN_US
    for _ in range(256):
        vital.add(100, 1)
    assert vital.slow_us == SLOW_LEAST_US  # what takes so little is never called slow
    for _ in range(2_560):
        vital.add(100_000, 1)
    assert 100_000 < vital.slow_us <= 125_000
    assert (vital.count, vital.statements) == (2_816, 2_816)
