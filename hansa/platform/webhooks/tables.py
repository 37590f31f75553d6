"""What is kept of webhooks: endpoints, messages, their deliveries and each attempt at one."""

from hansa.kernel.columns import binary, enum, instant, integer, json, position, text
from hansa.platform.webhooks import webhooks as service
from hansa.platform.webhooks.process import SEAL_PURPOSE

endpoints = service.table(
    "endpoints",
    text("url"),
    text("description"),
    json("events"),  # patterns; none means all
    enum("scheme", ("v1", "v1a")),
    enum("state", ("active", "paused", "disabled", "removed")),
    text("reason"),  # why it is disabled
    text("public_key"),
    binary("keys"),  # sealed: the signing keys, the newest first
    position("since"),  # the position in the log that it begins after; 0 until that is known
    instant("failing_since", nullable=True),  # of the first failure since the last success
    instant("created_at"),
    instant("changed_at"),
    prefix="whe",
)

service.seals(endpoints, "keys", SEAL_PURPOSE)

counters = service.table("counters", text("name", primary=True), integer("value"))

messages = service.table(
    "messages",
    integer("number", primary=True),  # in the order of the log, gapless per site
    text("id", unique="site"),  # the event's, and the webhook-id of every try
    text("type"),
    text("object"),
    integer("sequence"),
    instant("at"),
    binary("body"),
    index=[("at", "number")],
)

deliveries = service.table(
    "deliveries",
    text("endpoint_id", primary=True),
    integer("number", primary=True),
    text("object"),
    integer("lane"),
    # Of an object one is waiting or being sent, later ones are queued behind it.
    enum("state", ("queued", "waiting", "sending", "delivered", "failed", "skipped")),
    integer("tries"),  # since it was made or replayed
    integer("attempts"),  # ever
    instant("next_at"),
    index=[
        ("endpoint_id", "object", "state", "number"),
        ("endpoint_id", "lane", "state", "next_at"),
        ("number", "endpoint_id"),
    ],
    foreign=[("endpoint_id", endpoints), ("number", messages)],
)

attempts = service.table(
    "attempts",
    text("endpoint_id", primary=True),
    integer("number", primary=True),
    integer("attempt", primary=True),
    integer("status"),  # 0: no answer
    integer("ms"),
    text("excerpt"),  # the first bytes of the answer
    text("error"),
    instant("at"),
)
