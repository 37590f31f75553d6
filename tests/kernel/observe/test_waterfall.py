"""A trace is shown whole, whatever it says of itself."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.observe.archive import Detail, KeptSpan
from hansa.kernel.observe.reading import Kept, Row
from hansa.kernel.observe.waterfall import Bar, bars

NAMES = st.sampled_from(["", "a", "b", "c", "d"])
SPANS = st.lists(
    st.builds(
        KeptSpan, st.integers(-1, 6), st.sampled_from(["sql", "call", "remote"]), NAMES,
        st.integers(0, 100), st.integers(0, 100), st.one_of(NAMES, st.integers(0, 9)), st.just(""),
    ),
    max_size=5,
)  # fmt: skip


def kept(
    span: str, above: str = "", start_us: int = 0, spans: list[KeptSpan] | None = None, **more: Any
) -> Kept:
    row = Row(
        1, "t", span, above, "request", f"shop.{span}", "shop", "site_1", start_us, 10, 200,
        False, "sample", 1, "p",
    )  # fmt: skip
    return Kept(row, Detail(spans or [], **more))


@given(st.lists(st.builds(kept, NAMES, NAMES, st.integers(0, 1000), SPANS), max_size=8))
def test_everything_is_shown_once(segments: list[Kept]) -> None:
    found = bars(segments)
    assert sorted(one.segment for one in found if one.is_segment) == list(range(len(segments)))
    assert len(found) == len(segments) + sum(len(one.detail.spans) for one in segments)
    assert all(one.begin_us >= 0 for one in found)
    for before, after in pairwise(found):
        assert after.depth <= before.depth + 1
    assert not found or found[0].depth == 0


def test_what_was_asked_for_is_under_who_asked() -> None:
    call = KeptSpan(0, "remote", "sites.get", 5, 50, "far", "")
    transaction = KeptSpan(0, "transaction", "", 60, 20, "", "")
    statement = KeptSpan(2, "sql", "SELECT 1", 61, 3, 7, "")
    segments = [
        kept("root", start_us=1_000, spans=[call, transaction, statement]),
        kept("there", "far", 1_010, [KeptSpan(0, "sql", "SELECT 2", 1, 2, 0, "Busy: no")]),
        kept("later", "root", 2_000, error="Traceback\n  here\nValueError: no\n"),
        kept("lost", "nobody", 3_000),
    ]
    shown = [(one.depth, one.kind, one.name, one.begin_us, one.rows) for one in bars(segments)]
    assert shown == [
        (0, "request", "shop.root", 0, None),
        (1, "remote", "sites.get", 5, None),
        (2, "request", "shop.there", 10, None),
        (3, "sql", "SELECT 2", 11, 0),
        (1, "transaction", "", 60, None),
        (2, "sql", "SELECT 1", 61, 7),
        (1, "request", "shop.later", 1_000, None),
        (0, "request", "shop.lost", 2_000, None),
    ]
    errors = [one.error for one in bars(segments) if one.error]
    assert errors == ["Busy: no", "ValueError: no"]


def test_nothing_has_no_bars() -> None:
    assert bars([]) == list[Bar]()
