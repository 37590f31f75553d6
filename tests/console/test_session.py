"""Cookies and form tokens: only what was signed for a purpose, until its end, by a key we have."""

from hypothesis import example, given
from hypothesis import strategies as st

from hansa.console import session as sessions
from hansa.console.session import LIVE_S

OLD, NEW, OTHER = b"1" * 32, b"2" * 32, b"3" * 32


def test_a_session_lasts_until_its_end_and_survives_a_rotated_key() -> None:
    session = sessions.begin("key_a", 1_000)
    cookie = sessions.cookie_of([OLD], session)
    assert sessions.read_cookie([OLD], cookie, 1_000 + LIVE_S - 1) == session
    assert sessions.read_cookie([OLD], cookie, 1_000 + LIVE_S) is None
    assert sessions.read_cookie([NEW, OLD], cookie, 1_000) == session
    assert sessions.read_cookie([NEW], cookie, 1_000) is None


@given(st.integers(0, 200), st.characters())
@example(3, "\ud800")
def test_a_changed_cookie_is_none(place: int, letter: str) -> None:
    session = sessions.begin("key_a", 0)
    cookie = sessions.cookie_of([OLD], session)
    place %= len(cookie)
    changed = cookie[:place] + letter + cookie[place + 1 :]
    assert (sessions.read_cookie([OLD], changed, 1) is not None) == (changed == cookie)


@given(st.text())
def test_what_nobody_signed_is_no_cookie_and_no_token(text: str) -> None:
    assert sessions.read_cookie([OLD, NEW], text, 0) is None
    assert not sessions.is_form_token([OLD], sessions.begin("key_a", 0), text)


def test_a_form_token_is_of_one_session() -> None:
    mine, yours = sessions.begin("key_a", 0), sessions.begin("key_a", 0)
    token = sessions.form_token([OLD], mine)
    assert sessions.is_form_token([NEW, OLD], mine, token)
    assert not sessions.is_form_token([OLD], yours, token)
    assert not sessions.is_form_token([OTHER], mine, token)
    assert sessions.read_cookie([OLD], f"1.key_a.{mine.nonce}.9.{token}", 0) is None
