"""Traceparent as W3C Trace Context has it (level 1, section 3.2; level 2, section 3.2.2.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.observe.traceparent import SAMPLED, SPACE, Tracer, new_span

DIGITS = "0123456789abcdef"


def hexadecimal(length: int) -> st.SearchStrategy[str]:
    return st.text(DIGITS, min_size=length, max_size=length).filter(lambda text: text.strip("0"))


@given(hexadecimal(32), hexadecimal(16), st.integers(0, 255))
def test_a_trace_goes_on(trace: str, span: str, flags: int) -> None:
    found = Tracer(0.0).trace(f"00-{trace}-{span}-{flags:02x}")
    assert (found.id, found.above) == (trace, span)
    assert found.span not in (span, "0" * 16)
    assert (found.flags in SAMPLED) == bool(flags & 1)
    assert found.flags == f"{flags & 3:02x}"  # what is reserved is not passed on
    assert found.parent == f"00-{trace}-{found.span}-{found.flags}"


@given(hexadecimal(32), hexadecimal(16), st.integers(0, 255), st.floats(0, 1))
def test_who_is_not_believed_decides_nothing(
    trace: str, span: str, flags: int, rate: float
) -> None:
    found = Tracer(rate).trace(f"00-{trace}-{span}-{flags:02x}", believed=False)
    assert (found.id, found.above) == (trace, span)
    assert (found.flags in SAMPLED) == (int(trace, 16) % SPACE >= round((1 - rate) * SPACE))


@given(
    st.integers(1, 254), hexadecimal(32), hexadecimal(16), st.sampled_from(["", "-", "-maybe"])
)  # fmt: skip
def test_a_later_version_is_read_as_far_as_it_is_known(
    version: int, trace: str, span: str, more: str
) -> None:
    found = Tracer(0.0).trace(f"{version:02x}-{trace}-{span}-01{more}")
    assert (found.id, found.above, found.flags) == (trace, span, "01")
    assert found.parent.startswith("00-")  # we speak the version that we know


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # the standard's example


@pytest.mark.parametrize(
    "wrong",
    [
        f"ff-{TRACE}-{SPAN}-01",  # section 3.2.2.1: version ff is forbidden
        f"00-{'0' * 32}-{SPAN}-01",  # 3.2.2.3
        f"00-{TRACE}-{'0' * 16}-01",  # 3.2.2.4
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}",
        f"0-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE[:-1]}é-{SPAN}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        "-" * 100_000,
    ],
)
def test_what_is_malformed_begins_a_new_trace(wrong: str) -> None:
    found = Tracer(0.0).trace(wrong)
    assert found.id != TRACE
    assert found.above == ""
    assert len(found.id) == 32 and len(found.span) == 16


@given(st.text(max_size=80))
def test_nothing_that_is_sent_fails(sent: str) -> None:
    found = Tracer(0.5).trace(sent)
    assert Tracer(0.5).trace(found.parent).id == found.id


@given(st.floats(0, 1))
def test_all_processes_agree_on_what_is_sampled(rate: float) -> None:
    """Level 2, section 5.1: a trace is sampled by the lower 56 bits of its name."""
    for _ in range(20):
        found = Tracer(rate).trace("")
        assert (found.flags in SAMPLED) == (int(found.id[-14:], 16) >= round((1 - rate) * SPACE))


def test_none_and_all() -> None:
    assert not any(Tracer(0.0).trace("").flags in SAMPLED for _ in range(1_000))
    assert all(Tracer(1.0).trace("").flags in SAMPLED for _ in range(1_000))


def test_names_are_new() -> None:
    assert len({Tracer().trace("").id for _ in range(1_000)}) == 1_000
    assert len({new_span() for _ in range(1_000)}) == 1_000
