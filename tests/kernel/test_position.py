"""Positions: what a read may not be older than."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.calling import is_behind
from hansa.kernel.position import Position, read_position
from hansa.kernel.problems import Invalid

_numbers = st.integers(0, 2**62)


@given(st.from_regex(r"[a-z0-9-]{0,20}", fullmatch=True), _numbers, _numbers)
def test_what_was_written_is_read(cell: str, epoch: int, number: int) -> None:
    position = Position(cell, epoch, number)
    assert read_position(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cell",
        "cell:1",
        "cell:1:",
        "cell::1",
        "cell:1:2:3",
        "cell:-1:2",
        "a:1:²",
        "a:1:" + "9" * 20,
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_position(text)
    assert refused.value.slug == "invalid-position"


@pytest.mark.parametrize(
    ("here", "read", "at_home", "behind"),
    [
        (1, 0, True, False),  # nobody wrote
        (1, 0, False, False),
        (1, 1, True, False),
        (1, 2, True, True),  # the site has moved, and this cell does not know
        (2, 2, False, True),  # it knows, and the rows are elsewhere
        (3, 2, True, False),
    ],
)
def test_a_cell_that_the_site_has_left_is_behind(
    here: int, read: int, at_home: bool, behind: bool
) -> None:
    assert is_behind(here, read, at_home=at_home) == behind
