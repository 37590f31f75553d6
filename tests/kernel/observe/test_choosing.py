"""What is kept: errors and slowness before samples, and never more than the budget."""

from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.observe.choosing import RESERVE, Budget, Reason, reason


@given(st.booleans(), st.integers(0, 10**9), st.integers(0, 10**9), st.booleans())
def test_the_reason(failed: bool, took_us: int, slow_us: int, sampled: bool) -> None:
    why = reason(failed, took_us, slow_us, sampled)
    assert (why == "error") == failed
    assert (why == "slow") == (not failed and took_us >= slow_us)
    assert (why is None) == (not failed and took_us < slow_us and not sampled)


PASSED = st.lists(
    st.tuples(st.sampled_from(["error", "slow", "sample", "related"]), st.floats(-0.5, 2.0)),
    max_size=200,
)


@given(PASSED, st.floats(0.1, 50), st.floats(2, 30))
def test_the_budget_holds(passed: list[tuple[Reason, float]], per_s: float, burst: float) -> None:
    """Over any stretch at most the burst and what has come in since; a clock that goes back gives
    nothing."""
    budget = Budget(per_s, burst)
    now_s = latest_s = 1_000.0
    assert budget.take("error", now_s)  # from here on its time is known
    taken = 1
    for why, step_s in passed:
        now_s += step_s
        latest_s = max(latest_s, now_s)
        taken += budget.take(why, now_s)
        assert taken <= burst + (latest_s - 1_000.0) * per_s + 1e-6


def test_samples_leave_room_for_errors() -> None:
    budget = Budget(per_s=0.0, burst=100.0)
    samples = sum(budget.take("sample", 1.0) for _ in range(1_000))
    errors = sum(budget.take("error", 1.0) for _ in range(1_000))
    assert samples == 100 * (1 - RESERVE)
    assert errors == 100 * RESERVE
