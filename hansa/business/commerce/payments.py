"""Payments: the port to whoever moves the money. Five methods; a provider is an adapter to them.

What must never happen behind this port: money moved twice under one key.
"""

from typing import Literal, Protocol

from hansa.kernel.ids import ID
from hansa.kernel.problems import Overloaded
from hansa.kernel.structs import RawBody, Secret, Struct


class Charge(Struct):
    """A demand for money: an amount in minor units and the token of the means of payment."""

    site: ID
    amount_minor: int
    currency: str
    token: Secret


class Outcome(Struct):
    """What a provider says of a demand: approved or declined, its own reference, and why."""

    approved: bool
    reference: str = ""
    reason: str = ""


class Notice(Struct):
    """What a provider's webhook says: its own event id, the key that was asked under, the purpose
    of that, and the outcome."""

    id: str
    key: ID
    purpose: Literal["charge", "refund"]
    outcome: Outcome


class WebhookInvalid(Exception):
    """The webhook is not from the provider: its signature or time is wrong, or it is no JSON."""


class PaymentProvider(Protocol):
    """Moves money. Each call carries a key; the same key has effect once. Every method but the
    last may raise anything when the outcome is unknown, and is then asked again with its key."""

    async def authorise(self, key: ID, charge: Charge) -> Outcome:
        """Take the money of a charge: authorised and captured in one step."""
        ...

    async def capture(self, key: ID, site: ID, reference: str, amount_minor: int) -> Outcome:
        """Capture what an earlier authorisation holds."""
        ...

    async def void(self, key: ID, site: ID, reference: str) -> Outcome:
        """Let go of an authorisation, or give all of a capture back."""
        ...

    async def refund(self, key: ID, site: ID, reference: str, amount_minor: int) -> Outcome:
        """Give back a part of what was captured."""
        ...

    def parse_webhook(self, raw: RawBody) -> Notice:
        """Return what a webhook says; no network. Raises WebhookInvalid."""
        ...


class Payments:
    """The resource under which a process has its provider: `ctx.get(Payments).provider`."""

    def __init__(self, provider: PaymentProvider | None) -> None:
        self._provider = provider

    @property
    def provider(self) -> PaymentProvider:
        """The provider. Raises Overloaded (`no-payment-provider`) where there is none."""
        if self._provider is None:
            raise Overloaded(
                "This shop takes no payments: no provider is set up.", slug="no-payment-provider"
            )
        return self._provider

    def check(self) -> None:
        """Raise what `provider` raises, before anything is promised."""
        _ = self.provider
