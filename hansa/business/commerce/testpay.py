"""Testpay: a payment provider to try things out with, and to break things with.

It is the world, not a part of the shop: its ledger is a file of its own, committed by itself, which
several processes may open. It is idempotent by key, and the token says how it behaves:

    tok_ok         approves
    tok_declined   declines, and so does every token that is not known
    tok_twice      approves, and sends its webhook twice
    tok_timeout    takes the money but does not answer; the webhook tells, or asking again
    tok_lost       does nothing and does not answer; asking again approves
    tok_late       answers nothing yet; the webhook tells later
    tok_disorder   approves; its webhooks come out of order, refund before charge
    tok_chance_7   one of the above, drawn by the number and the key: the same ones every time

Webhooks are signed as Standard Webhooks 1.0 has it: HMAC-SHA256 over id, timestamp and body.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from hansa.business.commerce.payments import Charge, Notice, Outcome, WebhookInvalid
from hansa.kernel.ids import ID
from hansa.kernel.structs import RawBody

TOLERANCE_S: Final = 300
LATE_S: Final = 1.0
APPROVED: Final = frozenset({"tok_ok", "tok_twice", "tok_timeout", "tok_late", "tok_disorder"})

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS moves (
  key TEXT PRIMARY KEY, site TEXT NOT NULL, purpose TEXT NOT NULL, amount INTEGER NOT NULL,
  currency TEXT NOT NULL, token TEXT NOT NULL, reference TEXT NOT NULL UNIQUE,
  parent TEXT NOT NULL, state TEXT NOT NULL, asked INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS webhooks (
  id TEXT PRIMARY KEY, site TEXT NOT NULL, body TEXT NOT NULL, copies INTEGER NOT NULL,
  due_at REAL NOT NULL, tries INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""

BEHAVIOURS: Final = (
    "tok_ok", "tok_declined", "tok_twice", "tok_timeout", "tok_lost", "tok_late", "tok_disorder",
)  # fmt: skip
CHANCE: Final = "tok_chance_"

Deliver = Callable[[ID, bytes, dict[str, str]], Awaitable[bool]]


class NoAnswer(Exception):
    """The provider does not answer; what it did is not told."""


class Testpay:
    """The provider behind `payments.PaymentProvider`, on a SQLite file of its own."""

    __test__ = False

    def __init__(self, path: str, *, late_s: float = LATE_S) -> None:
        self._path = path
        self._late_s = late_s
        self._local = threading.local()
        with self._transaction() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(
                "INSERT OR IGNORE INTO secrets VALUES ('webhooks', ?)",
                (secrets.token_bytes(32),),
            )
            self._secret: bytes = db.execute("SELECT value FROM secrets").fetchone()[0]

    # ---- the port

    async def authorise(self, key: ID, charge: Charge) -> Outcome:
        """Take the money, or not, as the token says."""
        return await asyncio.to_thread(self._authorise, key, charge)

    async def capture(self, key: ID, site: ID, reference: str, amount_minor: int) -> Outcome:
        """Approve: authorising has captured."""
        return Outcome(True, reference)

    async def void(self, key: ID, site: ID, reference: str) -> Outcome:
        """Give everything back that was not given back yet."""
        return await asyncio.to_thread(self._refund, key, site, reference, None)

    async def refund(self, key: ID, site: ID, reference: str, amount_minor: int) -> Outcome:
        """Give a part back; declined when it is more than there is."""
        return await asyncio.to_thread(self._refund, key, site, reference, amount_minor)

    def parse_webhook(self, raw: RawBody) -> Notice:
        """Return what a webhook says. Raises WebhookInvalid."""
        headers = raw.headers
        identity, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        signature = self._sign(identity, sent_at, raw.body).encode()
        given = headers.get("webhook-signature", "").encode(errors="replace").split(b" ")
        if not any(hmac.compare_digest(signature, one) for one in given):
            raise WebhookInvalid("the signature is wrong")
        if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > TOLERANCE_S:
            raise WebhookInvalid("the timestamp is too old or too new")
        try:
            return msgspec.json.decode(raw.body, type=Notice)
        except msgspec.MsgspecError as error:
            raise WebhookInvalid(str(error)) from error

    # ---- its books

    def ledger(self) -> list[dict[str, Any]]:
        """Return every move of money that was approved, for tests: key, purpose, amount, parent."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT key, site, purpose, amount, reference, parent FROM moves"
                " WHERE state = 'approved' ORDER BY at, key"
            )
            names = ("key", "site", "purpose", "amount", "reference", "parent")
            return [dict(zip(names, row, strict=True)) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _authorise(self, key: ID, charge: Charge) -> Outcome:
        with self._transaction() as db:
            known = db.execute("SELECT state, reference, asked FROM moves WHERE key = ?", (key,))
            row = known.fetchone()
            if row is None:
                outcome, silent = self._first(db, key, charge)
            else:
                outcome, silent = self._again(db, key, charge, *row)
        if silent or outcome is None:
            raise NoAnswer(f"no answer to {key}")
        return outcome

    def _first(
        self, db: sqlite3.Connection, key: ID, charge: Charge
    ) -> tuple[Outcome | None, bool]:
        token = drawn(charge.token, key)
        # A misspelt token is declined: nobody may buy by mistake.
        state = "approved" if token in APPROVED else "lost" if token == "tok_lost" else "declined"
        reference = f"ch_{key}"
        db.execute(
            "INSERT INTO moves VALUES (?, ?, 'charge', ?, ?, ?, ?, '', ?, 1, ?)",
            (key, charge.site, charge.amount_minor, charge.currency, token, reference, state,
             time.time()),
        )  # fmt: skip
        if state == "lost":
            return None, True
        outcome = _outcome(state, reference)
        delay = self._late_s if token in ("tok_late", "tok_disorder") else 0.0
        self._announce(
            db, charge.site, key, "charge", outcome, 2 if token == "tok_twice" else 1, delay
        )
        return outcome, token in ("tok_timeout", "tok_late")

    def _again(
        self,
        db: sqlite3.Connection,
        key: ID,
        charge: Charge,
        state: str,
        reference: str,
        asked: int,
    ) -> tuple[Outcome | None, bool]:
        db.execute("UPDATE moves SET asked = asked + 1 WHERE key = ?", (key,))
        if state == "lost":
            state = "approved"
            db.execute("UPDATE moves SET state = 'approved' WHERE key = ?", (key,))
            outcome = _outcome(state, reference)
            self._announce(db, charge.site, key, "charge", outcome, 1, 0.0)
        return _outcome(state, reference), False

    def _refund(self, key: ID, site: ID, parent: str, amount: int | None) -> Outcome:
        with self._transaction() as db:
            row = db.execute("SELECT state, reference FROM moves WHERE key = ?", (key,)).fetchone()
            if row is not None:
                return _outcome(row[0], row[1])
            paid = db.execute(
                "SELECT amount, currency, token FROM moves"
                " WHERE reference = ? AND state = 'approved'",
                (parent,),
            ).fetchone()
            given = db.execute(
                "SELECT coalesce(sum(amount), 0) FROM moves"
                " WHERE parent = ? AND state = 'approved'",
                (parent,),
            ).fetchone()[0]
            left = (paid[0] if paid else 0) - given
            wanted = left if amount is None else amount
            state = "approved" if paid and 0 < wanted <= left else "declined"
            db.execute(
                "INSERT INTO moves VALUES (?, ?, 'refund', ?, ?, ?, ?, ?, ?, 1, ?)",
                (key, site, wanted, paid[1] if paid else "", paid[2] if paid else "",
                 f"re_{key}", parent, state, time.time()),
            )  # fmt: skip
            outcome = _outcome(state, f"re_{key}")
            self._announce(db, site, key, "refund", outcome, 1, 0.0)
            return outcome

    # ---- its webhooks

    def _announce(
        self,
        db: sqlite3.Connection,
        site: ID,
        key: ID,
        purpose: Any,
        outcome: Outcome,
        copies: int,
        delay_s: float,
    ) -> None:
        notice = Notice(f"{purpose}:{key}", key, purpose, outcome)
        db.execute(
            "INSERT OR IGNORE INTO webhooks VALUES (?, ?, ?, ?, ?, 0)",
            (notice.id, site, msgspec.json.encode(notice).decode(), copies, time.time() + delay_s),
        )

    def _sign(self, identity: str, sent_at: str, body: bytes) -> str:
        signed = f"{identity}.{sent_at}.".encode(errors="replace") + body
        digest = hmac.new(self._secret, signed, hashlib.sha256).digest()
        return "v1," + base64.b64encode(digest).decode()

    def headers_for(self, identity: str, body: bytes) -> dict[str, str]:
        """Return the headers of a webhook sent now."""
        sent_at = str(int(time.time()))
        return {
            "webhook-id": identity,
            "webhook-timestamp": sent_at,
            "webhook-signature": self._sign(identity, sent_at, body),
        }

    def due_webhooks(self, limit: int = 100) -> list[tuple[str, ID, bytes, int]]:
        """Return webhooks to be sent now: id, site, body and how many copies."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT id, site, body, copies FROM webhooks WHERE due_at <= ?"
                " ORDER BY due_at DESC LIMIT ?",
                (time.time(), limit),
            ).fetchall()
            return [(row[0], row[1], row[2].encode(), row[3]) for row in rows]

    def delivered(self, identity: str, *, done: bool) -> None:
        """Note that a webhook was taken, or is to be sent again later."""
        with self._transaction() as db:
            if done:
                db.execute("DELETE FROM webhooks WHERE id = ?", (identity,))
            else:
                db.execute(
                    "UPDATE webhooks SET tries = tries + 1, due_at = ? WHERE id = ?",
                    (time.time() + self._late_s, identity),
                )

    async def pump(self, deliver: Deliver, every_s: float = 0.5) -> None:
        """Send webhooks for ever, through `deliver(site, body, headers)`."""
        while True:
            for identity, site, body, copies in await asyncio.to_thread(self.due_webhooks):
                done = True
                for _ in range(copies):
                    done = await deliver(site, body, self.headers_for(identity, body)) and done
                await asyncio.to_thread(self.delivered, identity, done=done)
            await asyncio.sleep(every_s)


def drawn(token: str, key: ID) -> str:
    """Return the token that decides: of a token of chance the one that its seed and the key draw,
    so that a run can be repeated."""
    if not token.startswith(CHANCE):
        return token
    digest = hashlib.sha256(f"{token}:{key}".encode()).digest()
    return BEHAVIOURS[int.from_bytes(digest[:4]) % len(BEHAVIOURS)]


def _outcome(state: str, reference: str) -> Outcome:
    if state == "approved":
        return Outcome(True, reference)
    return Outcome(False, reference, "card_declined")
