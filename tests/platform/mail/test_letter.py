"""A letter is what it says: no text of it makes a header, a recipient or other bytes."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.problems import Unprocessable
from hansa.platform.mail.api.messages import check
from hansa.platform.mail.carrying import parse_server
from hansa.platform.mail.letter import (
    Letter,
    check_address,
    check_header,
    compose,
    recipients_of,
    reply_state,
)

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
ID = "mail_01j"
SENDER = "Shop <shop@shop.example>"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("ann@shop.example", "ann@shop.example"),
        (" Ann B. <Ann.B+x@Shop.Example> ", "Ann B. <Ann.B+x@shop.example>"),
        ('"Ann, B" <ann@shop.example>', "Ann, B <ann@shop.example>"),
        ("<ann@shop.example>", "ann@shop.example"),
        ("x@bücher.example", "x@xn--bcher-kva.example"),
        ("root@localhost", "root@localhost"),
    ],
)
def test_addresses(text: str, kept: str) -> None:
    assert check_address(text) == kept
    assert check_address(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "", "ann", "@shop.example", "ann@", "ann@shop", "a b@shop.example", "a@b@shop.example",
        "ann@shop.example, bob@shop.example", "Ann <ann@shop.example> x", "a..b@shop.example",
        "ann@shop.example\r\nBcc: x@x.example", "Ann\n <ann@shop.example>", ".a@shop.example",
        "ann@[127.0.0.1]", '"a b"@shop.example', "x" * 65 + "@shop.example", "ann@-.example",
        "Ann \x7f <ann@shop.example>", "Ann\u2028 <ann@shop.example>", "ö@shop.example",
        "N" * 101 + " <ann@shop.example>", "Ann \ud800 <ann@shop.example>",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        check_address(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Bcc", "x@x.example"), ("From", "x"), ("Subject", "x"), ("X-A", "a\r\nBcc: b"),
        ("X-A:", "x"), ("X A", "x"), ("Content-Type", "text/html"), ("X-A", "y" * 901),
        ("DKIM-Signature", "x"), ("Received", "x"), ("X-\r\nBcc", "x"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be_set(name: str, value: str) -> None:
    with pytest.raises(ValueError):
        check_header(name, value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    letter = Letter(("a@a.example", "b"), "x\ny", "", "", ("c",), (), "d", {"Bcc": "e", "X-A": "f"})
    with pytest.raises(Unprocessable) as refusal:
        check(letter)
    assert sorted(one.pointer for one in refusal.value.errors) == [
        "/cc/0", "/headers/Bcc", "/reply_to", "/subject", "/text", "/to/1",
    ]  # fmt: skip
    with pytest.raises(Unprocessable):
        check(Letter(("a@a.example",) * 51, "x", "y"))
    with pytest.raises(Unprocessable):
        check(Letter(("a@a.example",), "x", "y", headers={"X-A": "1", "x-a": "2"}))


texts = st.text(max_size=80)


@given(
    subject=texts, text=texts, html=texts, name=texts, reply=texts,
    headers=st.dictionaries(st.sampled_from(["X-A", "X-B", "List-Id", "References"]), texts),
)  # fmt: skip
def test_what_is_composed_has_the_headers_that_were_meant_and_no_others(
    subject: str, text: str, html: str, name: str, reply: str, headers: dict[str, str]
) -> None:
    letter = Letter(
        (f"{name} <ann@shop.example>",), subject, text, html, bcc=("bob@shop.example",),
        reply_to=f"{reply} <r@shop.example>", headers=headers,
    )  # fmt: skip
    try:
        letter = check(letter)
    except Unprocessable:
        return
    data = compose(letter, ID, SENDER, AT)
    assert data == compose(letter, ID, SENDER, AT)
    assert max(len(line) for line in data.split(b"\r\n")) <= 998
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert data.isascii()
    got: Any = message_from_bytes(data, policy=SMTP)
    extra = {key.lower() for key in headers}
    assert {key.lower() for key in got} - extra == {
        "from", "to", "reply-to", "subject", "date", "message-id", "mime-version", "content-type",
        *(() if got.is_multipart() else ("content-transfer-encoding",)),
    }  # fmt: skip
    assert [one.addr_spec for one in got["to"].addresses] == ["ann@shop.example"]
    assert b"bob@" not in data
    assert recipients_of(letter) == ["ann@shop.example", "bob@shop.example"]
    parts = list(got.iter_parts()) if got.is_multipart() else [got]
    wanted = [one for one in (letter.text, letter.html) if one]
    for part, meant in zip(parts, wanted, strict=True):
        assert part.get_content().split() == meant.split()


def test_replies() -> None:
    assert [reply_state(code) for code in (250, 251, 421, 450, 550, 554, 0, 600)] == [
        "sent", "sent", "waiting", "waiting", "bounced", "bounced", "waiting", "waiting",
    ]  # fmt: skip


def test_the_operators_server() -> None:
    assert parse_server("") is None
    found = parse_server("smtps://us%40er:p%3Aw@mail.example?from=shop@a.example")
    assert found is not None
    assert (found.port, found.security, found.user, found.password) == (
        465, "tls", "us@er", "p:w",
    )  # fmt: skip
    for bad in ("http://x", "smtps://x", "smtps:///?from=a@a.example", "smtps://x?from=a",
                "smtp+plain://u:p@x?from=a@a.example"):  # fmt: skip
        with pytest.raises(ValueError) as refusal:
            parse_server(bad)
        assert bad not in str(refusal.value)
