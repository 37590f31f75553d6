"""Services work with each other in the same way wherever each is: calls, events, mail, files."""

import hashlib
import json
from typing import Any

import pytest

from hansa.platform.webhooks.signing import signature
from tests.platform.webhooks.receiver import Receiver
from tests.topology.person import Person, until
from tests.topology.shopping import Shop

DATA = bytes(range(256)) * 4_096  # 1 MiB


def test_a_service_asks_another_one(shop: Shop) -> None:
    assert shop.visitor.get(f"/steward/titles/{shop.handle}") == "A mug"
    missing = shop.visitor.ask("GET", "/steward/titles/none")
    assert (missing.status, missing.headers["content-type"]) == (404, "application/problem+json")


def test_every_order_is_heard_of_once_and_has_its_letter(
    shop: Shop, letters: dict[str, list[str]]
) -> None:
    orders = [shop.buy() for _ in range(4)]

    def heard() -> list[int]:
        replies = [shop.keeper.ask("GET", f"/steward/receipts/{one['id']}") for one in orders]
        return [int(one.value["times"]) for one in replies if one.status == 200]

    def sent() -> list[int]:
        every = [subject for subjects in list(letters.values()) for subject in subjects]
        return [count for one in orders if (count := every.count(one["id"]))]

    for told in (heard, sent):
        until(lambda told=told: len(told()) == len(orders))  # type: ignore[misc]
        assert told() == [1] * len(orders)


def test_mail_goes_with_its_command_or_not_at_all(
    shop: Shop, letters: dict[str, list[str]]
) -> None:
    to = f"{shop.handle}@a.example"
    failed = shop.keeper.ask("POST", "/steward/notes", {"to": to, "subject": "no", "fail": True})
    assert (failed.status, failed.slug) == (409, "after-all")
    form = {"to": to, "subject": "yes"}
    (id,) = {shop.keeper.post("/steward/notes", form, key="note" * 5) for _ in range(2)}
    until(lambda: letters.get(to))
    until(lambda: shop.keeper.get(f"/mail/messages/{id}")["message"]["state"] == "sent")
    assert letters[to] == ["yes"]
    assert [one["id"] for one in shop.keeper.get("/mail/messages")["items"]] == [id]


def test_who_wants_to_know_is_told_of_each_order_in_its_order(shop: Shop, hooks: Receiver) -> None:
    path = f"/{shop.site}"
    endpoint = {
        "url": f"http://127.0.0.1:{hooks.port}{path}",
        "events": ["commerce.order_placed", "commerce.order_cancelled"],
    }
    key = shop.keeper.post("/webhooks/endpoints", endpoint)["key"]
    orders = [shop.buy()["id"] for _ in range(3)]
    for order in orders:
        shop.keeper.post(f"/commerce/orders/{order}/cancel")

    def told() -> dict[str, Any]:
        """Return what has come, by the name of the message: one may come twice."""
        received = [one for one in list(hooks.received) if one.path == path]
        for one in received:
            id, at = one.headers["webhook-id"], int(one.headers["webhook-timestamp"])
            assert one.headers["webhook-signature"] == signature(key, id, at, one.body)
        return {one.headers["webhook-id"]: json.loads(one.body) for one in received}

    until(lambda: len(told()) >= 2 * len(orders))
    messages = list(told().values())
    assert len(messages) == 2 * len(orders)
    for order in orders:
        of = [one["type"] for one in messages if one["data"]["id"] == order]
        assert of == ["commerce.order_placed", "commerce.order_cancelled"]


def test_a_host_leads_a_visitor_to_the_site(shop: Shop) -> None:
    host = f"{shop.handle}.example"
    shop.operator.post(f"/sites/{shop.site}/hosts", {"host": host})
    stranger = Person(shop.operator.urls)
    for _ in shop.operator.urls:  # each process is asked once
        found = stranger.ask("GET", f"/commerce/products/{shop.handle}", Host=f"{host}:80")
        assert (found.status, found.value["product"]["handle"]) == (200, shop.handle)
    cart = stranger.ask("POST", "/commerce/carts", {"lines": []}, Host=host)
    assert cart.status == 201
    assert shop.visitor.get(f"/commerce/carts/{cart.value['id']}")["id"] == cart.value["id"]
    nowhere = stranger.ask("GET", f"/commerce/products/{shop.handle}", Host="nowhere.example")
    assert (nowhere.status, nowhere.slug) == (400, "site-missing")


@pytest.mark.parametrize("size", [0, 1_000, len(DATA)])
def test_a_file_goes_in_and_comes_out(shop: Shop, size: int) -> None:
    data = DATA[:size]
    put = shop.keeper.ask("PUT", "/files?name=a.bin", data, **{"Content-Type": "image/png"})
    assert put.status == 201, put.body
    blob = put.value
    assert (blob["size"], blob["sha256"]) == (size, hashlib.sha256(data).hexdigest())
    path = f"/files/{shop.site}/{blob['id']}"
    whole = shop.keeper.ask("GET", path)
    assert (whole.status, whole.body, whole.headers["etag"]) == (200, data, f'"{blob["sha256"]}"')
    same = shop.keeper.ask("GET", path, **{"If-None-Match": f'"{blob["sha256"]}"'})
    assert (same.status, same.body) == (304, b"")
    if size:
        part = shop.keeper.ask("GET", path, Range="bytes=5-9")
        assert (part.status, part.body) == (206, data[5:10])
    head = shop.keeper.ask("HEAD", path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(size))


def test_a_link_opens_one_file(shop: Shop) -> None:
    link = shop.keeper.get("/blobs/upload-link?name=b.txt&type=text/plain&bytes_max=100")
    up = shop.visitor.ask("PUT", link["path"], b"hello")
    assert up.status == 201, up.body
    down = shop.keeper.get(f"/blobs/{up.value['id']}/link")
    assert shop.visitor.ask("GET", down["path"]).body == b"hello"
    assert shop.visitor.ask("GET", f"/files/{shop.site}/{up.value['id']}").status == 401
    too_long = shop.visitor.ask("PUT", link["path"], b"x" * 101)
    assert (too_long.status, too_long.headers["content-type"]) == (413, "application/problem+json")
    other = shop.other()
    assert other.keeper.ask("GET", f"/files/{shop.site}/{up.value['id']}").status == 404
