"""Shrinking: what is left fails, and nothing of it can be left out."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hansa.simulate.plan import Plan, plan_of
from hansa.simulate.shrinking import shrunk


@given(seed=st.integers(0, 1000), data=st.data())
def test_only_the_cause_is_left(seed: int, data: st.DataObject) -> None:
    plan = plan_of(seed, 3)
    wishes = data.draw(st.sets(st.sampled_from(plan.wishes), min_size=1, max_size=3))
    passages = {*plan.passages[-1:]}
    mishaps = data.draw(st.sets(st.sampled_from(plan.mishaps), max_size=2)) if plan.mishaps else ()

    def fails(candidate: Plan) -> bool:
        return (
            wishes <= {*candidate.wishes}
            and {*mishaps} <= {*candidate.mishaps}
            and passages <= {*candidate.passages}
        )

    least = shrunk(plan, fails, tries=10_000)
    assert {*least.wishes} == wishes
    assert {*least.mishaps} == {*mishaps}
    assert {*least.passages} == passages
    assert list(least.wishes) == [one for one in plan.wishes if one in wishes]  # in their order


def test_it_stops_after_its_tries() -> None:
    tried: list[Plan] = []

    def fails(candidate: Plan) -> bool:
        tried.append(candidate)
        return False

    shrunk(plan_of(1, 3), fails, tries=3)
    assert len(tried) == 3


def test_a_plan_comes_from_its_seed_alone() -> None:
    assert plan_of(5, 3) == plan_of(5, 3)
    assert plan_of(5, 3) != plan_of(6, 3)
    assert replace(plan_of(5, 3), seed=6) != plan_of(6, 3)
