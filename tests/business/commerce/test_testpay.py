"""The test provider does what its tokens say: once per key, with webhooks that can be trusted."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hansa.business.commerce import testpay
from hansa.business.commerce.payments import Charge, Notice, WebhookInvalid
from hansa.business.commerce.testpay import NoAnswer, Testpay
from hansa.kernel.structs import RawBody, Secret

T = TypeVar("T")


def pay(tmp_path: Path) -> Testpay:
    return Testpay(str(tmp_path / "testpay.db"), late_s=-1.0)


def said(call: Awaitable[T]) -> T | str:
    async def answer() -> T | str:
        try:
            return await call
        except NoAnswer:
            return "silent"

    return asyncio.run(answer())


def asked(provider: Testpay, token: str, key: str = "k") -> Any:
    return said(provider.authorise(key, Charge("site_1", 1500, "EUR", Secret(token))))


@pytest.mark.parametrize(
    ("token", "first", "again", "webhooks"),
    [
        ("tok_ok", True, True, 1),
        ("tok_declined", False, False, 1),
        ("tok_twice", True, True, 2),
        ("tok_timeout", "silent", True, 1),
        ("tok_lost", "silent", True, 1),
        ("tok_late", "silent", True, 1),
        ("tok_disorder", True, True, 1),
        ("tok_anything_else", False, False, 1),
    ],
)
def test_a_token_says_how_it_behaves(
    tmp_path: Path, token: str, first: Any, again: Any, webhooks: int
) -> None:
    provider = pay(tmp_path)
    for expected in (first, again, again):
        answer = asked(provider, token)
        assert (answer if answer == "silent" else answer.approved) == expected
    approved = again is True
    assert [move["amount"] for move in provider.ledger()] == [1500] * approved
    found = provider.due_webhooks()
    assert sum(copies for _, _, _, copies in found) == webhooks
    for identity, site, body, _ in found:
        notice = provider.parse_webhook(RawBody(body, provider.headers_for(identity, body)))
        assert (site, notice.key, notice.purpose) == ("site_1", "k", "charge")
        assert notice.outcome.approved == approved
        provider.delivered(identity, done=True)
    assert provider.due_webhooks() == []


def test_one_key_takes_money_once_however_many_ask_at_once(tmp_path: Path) -> None:
    first, second = pay(tmp_path), pay(tmp_path)  # two processes, so to speak

    async def race() -> Any:
        charge = Charge("site_1", 100, "EUR", Secret("tok_ok"))
        return await asyncio.gather(*(p.authorise("k", charge) for p in [first, second] * 10))

    assert len({outcome.reference for outcome in asyncio.run(race())}) == 1
    assert len(first.ledger()) == 1


def test_refunds_are_bounded_and_once_per_key(tmp_path: Path) -> None:
    provider = pay(tmp_path)
    reference = asked(provider, "tok_ok").reference
    for key, amount, approved in (
        ("r1", 1000, True), ("r1", 1000, True), ("r2", 501, False), ("r3", 500, True),
        ("r4", 1, False),
    ):  # fmt: skip
        assert said(provider.refund(key, "site_1", reference, amount)).approved == approved  # type: ignore[union-attr]
    assert sum(move["amount"] for move in provider.ledger() if move["parent"]) == 1500
    assert not said(provider.refund("r5", "site_1", "ch_unknown", 1)).approved  # type: ignore[union-attr]


def test_a_void_gives_all_that_is_left_back(tmp_path: Path) -> None:
    provider = pay(tmp_path)
    reference = asked(provider, "tok_ok").reference
    said(provider.refund("r1", "site_1", reference, 500))
    assert said(provider.void("v1", "site_1", reference)).approved  # type: ignore[union-attr]
    assert [move["amount"] for move in provider.ledger()] == [1500, 500, 1000]


def test_a_webhook_that_is_not_signed_or_stale_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = pay(tmp_path)
    asked(provider, "tok_ok")
    ((identity, _, body, _),) = provider.due_webhooks()
    good = provider.headers_for(identity, body)
    assert isinstance(provider.parse_webhook(RawBody(body, good)), Notice)
    two = good | {"webhook-signature": f"v1,old {good['webhook-signature']}"}
    assert isinstance(provider.parse_webhook(RawBody(body, two)), Notice)
    for headers in (
        {},
        good | {"webhook-id": "another"},
        good | {"webhook-timestamp": "1"},
        good | {"webhook-signature": "v1,ä"},
        good | {"webhook-signature": ""},
    ):
        with pytest.raises(WebhookInvalid, match="signature"):
            provider.parse_webhook(RawBody(body, headers))
    with pytest.raises(WebhookInvalid, match="signature"):
        provider.parse_webhook(RawBody(body + b" ", good))
    junk = provider.headers_for(identity, b"junk")
    with pytest.raises(WebhookInvalid, match="malformed"):
        provider.parse_webhook(RawBody(b"junk", junk))
    later = int(good["webhook-timestamp"]) + testpay.TOLERANCE_S + 1
    monkeypatch.setattr("hansa.business.commerce.testpay.time.time", lambda: later)
    with pytest.raises(WebhookInvalid, match="too old"):
        provider.parse_webhook(RawBody(body, good))


def test_a_webhook_that_was_not_taken_is_sent_again(tmp_path: Path) -> None:
    provider = pay(tmp_path)
    asked(provider, "tok_ok")
    ((identity, *_),) = provider.due_webhooks()
    provider.delivered(identity, done=False)
    ((again, *_),) = provider.due_webhooks()
    assert again == identity


def test_it_remembers_what_it_did(tmp_path: Path) -> None:
    before = pay(tmp_path)
    asked(before, "tok_ok")
    identity, _, body, _ = before.due_webhooks()[0]
    after = pay(tmp_path)
    assert after.ledger() == before.ledger()
    after.parse_webhook(RawBody(body, before.headers_for(identity, body)))
