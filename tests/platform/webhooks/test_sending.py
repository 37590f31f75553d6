"""Events reach a real receiver: signed, in order per object, again until they are taken."""

import asyncio
import base64
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from hansa.assembly import Place
from hansa.kernel.problems import Conflict, NotFound, Unprocessable
from hansa.platform.webhooks import api, patience
from tests.platform.webhooks.office import Office, come, opened, turn
from tests.platform.webhooks.receiver import Received, answer, raw


def told(requests: list[Received]) -> list[Any]:
    return [msgspec.json.decode(one.body) for one in requests]


async def closed_port(office: Office) -> int:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


def test_an_event_comes_signed_and_complete(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            made = await office.endpoint("harbour.*")
            await office.run(come, ship="cog", times=2)
            await office.until_states(made.endpoint.id, "delivered", "delivered")
            first, second = office.receiver.received
            assert first.path == "/take?from=shop"
            assert first.headers["content-type"] == "application/json"
            body = Webhook(made.key).verify(first.body, dict(first.headers))
            assert body == {
                "type": "harbour.ship_came", "number": 1, "object": "harbour:cog", "sequence": 1,
                "version": 1, "data": {"ship": "cog", "times": 1}, "timestamp": body["timestamp"],
            }  # fmt: skip
            assert first.headers["webhook-id"].startswith("evt_")
            assert Webhook(made.key).verify(second.body, dict(second.headers))["sequence"] == 2

    asyncio.run(main())


def test_only_what_is_wanted_comes_and_only_from_then_on(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            await office.run(come, ship="cog", times=3)
            made = await office.endpoint("harbour.ship_came")
            await office.run(turn, at="noon")
            await office.run(come, ship="cog", times=1, first=4)
            elsewhere = Office(office.cell, office.clock, office.receiver)
            await elsewhere.make_site()
            await elsewhere.run(come, ship="other", times=1)
            await office.run(come, ship="cog", times=1, first=5)
            await office.until_states(made.endpoint.id, "delivered", "delivered")
            assert [one["data"]["times"] for one in told(office.receiver.received)] == [4, 5]
            assert [one["sequence"] for one in told(office.receiver.received)] == [4, 5]
            with pytest.raises(NotFound):
                await elsewhere.run(api.get_endpoint, id=made.endpoint.id)

    asyncio.run(main())


def test_what_fails_is_tried_again_in_order_with_the_same_id(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            office.receiver.plan = [answer(500, b"no \x00 room"), answer(302, location="http://x/")]
            made = await office.endpoint()
            await office.run(come, ship="cog", times=3)
            await office.until(lambda: _attempts(office, made.endpoint.id, 1))
            assert await office.states(made.endpoint.id) == ["waiting", "queued", "queued"]
            assert len(office.receiver.received) == 1
            waiting = (await office.deliveries(made.endpoint.id))[0]
            assert waiting.attempts == 1
            await office.later(5 * 1.2)
            await office.until(lambda: _attempts(office, made.endpoint.id, 2))
            await office.later(300 * 1.2)
            await office.until_states(made.endpoint.id, *["delivered"] * 3)
            assert [one["sequence"] for one in told(office.receiver.received)] == [1, 1, 1, 2, 3]
            ids = [one.headers["webhook-id"] for one in office.receiver.received]
            assert len(set(ids[:3])) == 1
            assert len({one.body for one in office.receiver.received[:3]}) == 1
            seen = await office.run(api.get_delivery, endpoint=made.endpoint.id, number=1)
            assert [one.status for one in seen.attempts] == [500, 302, 204]
            assert seen.attempts[0].excerpt == "no \N{REPLACEMENT CHARACTER} room"
            assert bytes(seen.body) == office.receiver.received[0].body
            assert (await office.run(api.get_endpoint, id=made.endpoint.id)).failing_since is None

    asyncio.run(main())


async def _tried(office: Office, endpoint: str, count: int) -> None:
    """Return when the first delivery has been tried so often."""
    await office.until(lambda: _attempts(office, endpoint, count))


async def _attempts(office: Office, endpoint: str, count: int) -> bool:
    found = await office.deliveries(endpoint)
    return bool(found) and found[0].attempts >= count and found[0].state != "sending"


def test_one_object_that_fails_does_not_hold_up_the_others(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            refuse, take = answer(503, retry_after="7200"), answer(204)

            async def by_ship(request: Received, writer: asyncio.StreamWriter) -> None:
                bad = msgspec.json.decode(request.body)["object"] == "harbour:hulk"
                await (refuse if bad else take)(request, writer)

            office.receiver.always = by_ship
            made = await office.endpoint()
            ships = ["hulk", *(f"ship{number}" for number in range(8))]
            for ship in ships:
                await office.run(come, ship=ship, times=2)
            await office.until_states(made.endpoint.id, "waiting", "queued", *["delivered"] * 16)
            head = (await office.deliveries(made.endpoint.id))[0]
            # Retry-After is honoured where it asks for more than the schedule would wait.
            assert (head.next_at - head.at).total_seconds() >= 7_200

    asyncio.run(main())


def test_a_receiver_that_hangs_or_dribbles_is_left_in_time_and_harms_nobody(place: Place) -> None:
    async def main() -> None:
        over = asyncio.Event()
        async with opened(place, timeout_s=0.3) as office:
            office.receiver.plan = [
                raw(b"", then=over),
                raw(b"HTTP/1.1 200 OK\r\nX: y\r\n", then=over),
                raw(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"y" * 40_000, then=over),
                raw(b"SSH-2.0-OpenSSH\r\n\r\n"),
                raw(b""),
            ]
            made = await office.endpoint()
            await office.run(come, ship="cog", times=1)
            for count, wait_s in enumerate((0, 6, 400, 2_400, 9_000), start=1):
                await office.later(wait_s)
                await _tried(office, made.endpoint.id, count)
            seen = await office.run(api.get_delivery, endpoint=made.endpoint.id, number=1)
            assert [one.status for one in seen.attempts] == [0] * 5
            assert [bool(one.error) for one in seen.attempts] == [True] * 5
            assert "no answer within 0.3 s" in seen.attempts[0].error
            over.set()
            await office.later(21_600)
            await office.until_states(made.endpoint.id, "delivered")

    asyncio.run(main())


def test_a_message_is_given_up_after_the_last_wait_and_the_next_goes_on(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            office.receiver.always = answer(500)
            made = await office.endpoint()
            await office.run(come, ship="cog", times=2)
            for count in range(1, len(patience.WAITS_S) + 2):
                await _tried(office, made.endpoint.id, count)
                if count <= len(patience.WAITS_S):
                    await office.later(patience.WAITS_S[count - 1] * 1.2)
            await office.until(lambda: _first_state(office, made.endpoint.id, "failed"))
            office.receiver.always = answer(204)
            await office.later(10)
            await office.until_states(made.endpoint.id, "failed", "delivered")
            again = await office.run(
                api.replay, endpoint=made.endpoint.id, body=api.Replay(1, 2, failed_only=True)
            )
            assert again == api.Replayed(1, None)
            await office.until_states(made.endpoint.id, "delivered", "delivered")

    asyncio.run(main())


async def _first_state(office: Office, endpoint: str, state: str) -> bool:
    return (await office.states(endpoint))[0] == state


def test_an_endpoint_that_takes_nothing_for_days_is_disabled_and_catches_up(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            office.receiver.always = answer(500)
            made = await office.endpoint("harbour.*")
            watcher = await office.endpoint("webhooks.endpoint_disabled")
            await office.run(come, ship="cog", times=1)
            await office.until(lambda: _attempts(office, made.endpoint.id, 1))
            await office.later(5 * 86_400)
            await office.until(lambda: _state(office, made.endpoint.id, "disabled"))
            disabled = await office.run(api.get_endpoint, id=made.endpoint.id)
            assert "has taken nothing since" in disabled.reason
            await office.until(lambda: _attempts(office, watcher.endpoint.id, 1))
            notice = told(office.receiver.received)[-1]
            assert notice["type"] == "webhooks.endpoint_disabled"
            sent = len(office.receiver.received)
            await office.run(come, ship="cog", times=2, first=2)
            await office.until_states(made.endpoint.id, "waiting", "queued", "queued")
            feed = await office.run(api.read_feed, endpoint=made.endpoint.id, after=0, limit=2)
            assert [one.sequence for one in feed.items] == [1, 2]
            rest = await office.run(api.read_feed, endpoint=made.endpoint.id, after=feed.last)
            assert [one.sequence for one in rest.items] == [3]
            assert rest.last == rest.items[-1].number
            end = await office.run(api.read_feed, endpoint=made.endpoint.id, after=rest.last)
            assert end == api.Feed([], rest.last)
            assert len(office.receiver.received) == sent
            office.receiver.always = answer(200)
            change = api.EndpointChange(state="active")
            active = await office.run(api.change_endpoint, id=made.endpoint.id, body=change)
            assert (active.state, active.reason) == ("active", "")
            await office.until_states(made.endpoint.id, *["delivered"] * 3)

    asyncio.run(main())


async def _state(office: Office, endpoint: str, state: str) -> bool:
    found: api.Endpoint = await office.run(api.get_endpoint, id=endpoint)
    return found.state == state


def test_gone_is_believed_at_once(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            office.receiver.always = answer(410)
            made = await office.endpoint()
            await office.run(come, ship="cog", times=1)
            await office.until(lambda: _state(office, made.endpoint.id, "disabled"))
            await office.later(86_400)
            await office.run(come, ship="cog", times=1)
            assert len(office.receiver.received) == 1

    asyncio.run(main())


def test_paused_keeps_and_skipping_goes_on(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            made = await office.endpoint("harbour.*")
            id = made.endpoint.id
            await office.run(api.change_endpoint, id=id, body=api.EndpointChange(state="paused"))
            await office.run(come, ship="cog", times=3)
            await office.until_states(id, "waiting", "queued", "queued")
            skipped = await office.run(api.skip, endpoint=id, number=1)
            assert skipped.state == "skipped"
            await office.until_states(id, "skipped", "waiting", "queued")
            assert not office.receiver.received
            await office.run(api.change_endpoint, id=id, body=api.EndpointChange(state="active"))
            await office.until_states(id, "skipped", "delivered", "delivered")
            again = await office.run(api.replay, endpoint=id, body=api.Replay(1, 3))
            assert again.count == 3
            await office.until_states(id, *["delivered"] * 3)
            assert [one["sequence"] for one in told(office.receiver.received)] == [2, 3, 1, 2, 3]
            with pytest.raises(NotFound):
                await office.run(api.skip, endpoint=id, number=99)

    asyncio.run(main())


def test_a_key_is_rotated_without_a_gap(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            made = await office.endpoint("harbour.*")
            new = await office.run(
                api.rotate_key, id=made.endpoint.id, body=api.Rotate(overlap_s=3_600)
            )
            assert new.key != made.key
            await office.run(come, ship="cog", times=1)
            await office.until_states(made.endpoint.id, "delivered")
            both = office.receiver.received[0]
            for key in (made.key, new.key):
                Webhook(key).verify(both.body, dict(both.headers))
            await office.later(3_601)
            await office.run(come, ship="cog", times=1, first=2)
            await office.until_states(made.endpoint.id, "delivered", "delivered")
            signatures = office.receiver.received[1].headers["webhook-signature"]
            assert len(signatures.split(" ")) == 1

    asyncio.run(main())


def test_an_asymmetric_signature_is_checked_with_the_public_key(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            made = await office.endpoint("harbour.*", scheme="v1a")
            assert made.key == made.endpoint.public_key
            await office.run(come, ship="cog", times=1)
            await office.until_states(made.endpoint.id, "delivered")
            got = office.receiver.received[0]
            version, _, text = got.headers["webhook-signature"].partition(",")
            assert version == "v1a"
            public = Ed25519PublicKey.from_public_bytes(
                base64.b64decode(made.key.removeprefix("whpk_"))
            )
            head = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}."
            public.verify(base64.b64decode(text), head.encode() + got.body)

    asyncio.run(main())


def test_keys_rest_sealed_and_are_shown_once(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            made = await office.endpoint("harbour.*")
            await office.run(come, ship="cog", times=1)
            await office.until_states(made.endpoint.id, "delivered")

            async def body(session: Any) -> bytes:
                rows = await session.fetch("SELECT keys FROM webhooks_endpoints")
                rows += await session.fetch("SELECT request FROM hansa_attempts")
                return b"".join(bytes(row[0]) for row in rows)

            deadline = asyncio.get_running_loop().time() + 30
            kept = await office.runtime.storage.read(
                body, site="platform", deadline=deadline, across=True
            )
            assert made.key.encode() not in kept
            shown = await office.run(api.list_endpoints)
            assert made.key not in str(msgspec.to_builtins(shown))

    asyncio.run(main())


def test_an_endpoint_is_removed_with_all_that_was_kept_for_it(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            made = await office.endpoint("harbour.*")
            await office.run(come, ship="cog", times=2)
            await office.until_states(made.endpoint.id, "delivered", "delivered")
            await office.run(api.remove_endpoint, id=made.endpoint.id)
            assert await office.run(api.list_endpoints) == []
            with pytest.raises(NotFound):
                await office.run(api.list_deliveries, endpoint=made.endpoint.id, page=None)

            async def gone() -> bool:
                async def body(session: Any) -> int:
                    rows = await session.fetch(
                        "SELECT (SELECT count(*) FROM webhooks_endpoints)"
                        " + (SELECT count(*) FROM webhooks_deliveries)"
                        " + (SELECT count(*) FROM webhooks_attempts)"
                    )
                    return int(rows[0][0])

                deadline = asyncio.get_running_loop().time() + 30
                return not await office.runtime.storage.read(
                    body, site="platform", deadline=deadline, across=True
                )

            await office.until(gone)

    asyncio.run(main())


def test_what_is_old_is_forgotten(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            made = await office.endpoint("harbour.*")
            await office.run(come, ship="cog", times=2)
            await office.until_states(made.endpoint.id, "delivered", "delivered")
            await office.runtime.ticker.tick()  # from here on the zone is known
            await office.later(31 * 86_400)
            await office.run(come, ship="cog", times=1, first=3)
            await office.until_states(made.endpoint.id, *["delivered"] * 3)
            await office.runtime.ticker.tick()
            await office.later(3_600)  # the sites are spread over an hour
            await office.until_states(made.endpoint.id, "delivered")
            assert (await office.deliveries(made.endpoint.id))[0].sequence == 3

    asyncio.run(main())


def test_bad_endpoints_are_refused_at_their_place(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            body = api.NewEndpoint("ftp://u:p@10.0.0.1/", ("Ship came",))
            with pytest.raises(Unprocessable) as refusal:
                await office.run(api.create_endpoint, body=body)
            assert [one.pointer for one in refusal.value.errors] == ["/url", "/events"]
            for _ in range(16):
                await office.endpoint("harbour.*")
            with pytest.raises(Conflict) as full:
                await office.endpoint()
            assert full.value.slug == "too-many-endpoints"

    asyncio.run(main())


def test_nothing_listening_is_an_attempt_like_another(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            url = f"https://hooks.example:{await closed_port(office)}/"
            made = await office.run(api.create_endpoint, body=api.NewEndpoint(url))
            await office.run(come, ship="cog", times=1)
            await office.until(lambda: _attempts(office, made.endpoint.id, 1))
            seen = await office.run(api.get_delivery, endpoint=made.endpoint.id, number=1)
            assert seen.attempts[0].status == 0
            assert "Connect" in seen.attempts[0].error

    asyncio.run(main())


def test_order_holds_under_failures_drawn_by_chance(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            office.receiver.plan = [answer(204 if number % 3 else 500) for number in range(1, 60)]
            made = await office.endpoint("harbour.*")
            for number in range(1, 6):
                for ship in ("cog", "hulk", "carvel", "kogge"):
                    await office.run(come, ship=ship, times=1, first=number)

            async def done() -> bool:
                await office.later(3_600)
                states = await office.states(made.endpoint.id)
                return len(states) == 20 and set(states) == {"delivered"}

            await office.until(done)
            last: dict[str, list[int]] = {}
            for one in told(office.receiver.received):
                last.setdefault(one["object"], []).append(one["sequence"])
            for sequences in last.values():
                assert set(sequences) == {1, 2, 3, 4, 5}
                assert all(after - before in (0, 1) for before, after in pairwise(sequences))

    asyncio.run(main())
