"""Services work with each other in the same way wherever each is: calls, events, mail, files."""

import hashlib

import pytest

from tests.topology.person import until
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
