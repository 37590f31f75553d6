"""Mail reaches a real SMTP server once each, again where it was not taken, or the mailbox."""

import asyncio
from typing import Any

import pytest

from hansa.assembly import Place
from hansa.kernel.problems import Conflict, NotFound, Unprocessable
from hansa.kernel.structs import PageRequest
from hansa.platform.mail import api
from hansa.platform.mail.letter import WAITS_S
from tests.platform.mail.post_office import PASSWORD, PostOffice, opened, order


def states(found: api.MessageSeen) -> dict[str, tuple[str, int]]:
    return {one.address: (one.state, one.code) for one in found.recipients}


def test_a_letter_arrives_whole_over_an_encrypted_line(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            await office.open_site()
            id = await office.send(
                "Jörg Müller <jorg@bücher.example>", cc=("b@b.example",), bcc=("c@c.example",),
                subject="Größe 42 ✓", text="Grüße\n.\n..x\n" + "lang " * 300, html="<p>Grüße</p>",
                reply_to="Ann <ann@shop.example>", headers={"X-Order": "7", "List-Id": "<n.shop>"},
            )  # fmt: skip
            found = await office.until_state(id, "sent")
            (envelope, got), *more = office.sorter.taken
            assert not more
            assert office.sorter.logins
            assert envelope.mail_from == "shop@hooks.example"
            assert sorted(envelope.rcpt_tos) == [
                "b@b.example", "c@c.example", "jorg@xn--bcher-kva.example",
            ]  # fmt: skip
            assert got["from"] == "Täste Shop <shop@hooks.example>"
            assert got["to"] == "Jörg Müller <jorg@xn--bcher-kva.example>"
            assert (got["cc"], got["bcc"], got["subject"]) == ("b@b.example", None, "Größe 42 ✓")
            assert (got["x-order"], got["list-id"]) == ("7", "<n.shop>")
            assert got["message-id"] == f"<{id}@hooks.example>"
            assert got["reply-to"] == "Ann <ann@shop.example>"
            text, html = (part.get_content() for part in got.iter_parts())
            assert text.replace("\r\n", "\n").startswith("Grüße\n.\n..x\nlang lang")
            assert html.strip() == "<p>Grüße</p>"
            assert set(states(found).values()) == {("sent", 250)}

    asyncio.run(main())


def test_what_another_service_queues_goes_with_its_command(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            await office.open_site()
            with pytest.raises(Conflict):
                await office.run(order, to="a@a.example", fail=True)
            with pytest.raises(Unprocessable):
                await office.run(order, to="nobody")
            id = await office.run(order, to="a@a.example")

            async def there() -> bool:
                page = await office.run(api.list_messages, page=PageRequest())
                return [one.id for one in page.items] == [id]

            await office.until(there)
            await office.until_state(id, "sent")
            assert len(office.sorter.taken) == 1

    asyncio.run(main())


def test_only_who_has_not_got_it_is_tried_again_with_the_same_id(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            await office.open_site()
            office.sorter.plan = {
                "full@a.example": ["452 4.2.2 mailbox full"],
                "gone@a.example": ["550 5.1.1 no such user"],
            }
            id = await office.send("full@a.example", "gone@a.example", "fine@a.example")
            found = await office.until_state(id, "waiting")
            assert states(found) == {
                "full@a.example": ("waiting", 452), "gone@a.example": ("bounced", 550),
                "fine@a.example": ("sent", 250),
            }  # fmt: skip
            assert "no such user" in found.recipients[2].reply
            await office.later(60)
            await office.until_state(id, "bounced", tries=2)
            first, second = office.sorter.taken
            assert first[0].rcpt_tos == ["fine@a.example"]
            assert second[0].rcpt_tos == ["full@a.example"]
            assert first[0].content == second[0].content
            with pytest.raises(NotFound):
                await office.run(api.get_message, id="mail_none")
            await office.run(api.retry_mail, id=id)
            await office.until_state(id, "sent")
            with pytest.raises(Conflict) as sent:
                await office.run(api.retry_mail, id=id)
            assert sent.value.slug == "mail-sent"

    asyncio.run(main())


def test_a_refused_content_bounces_and_one_put_off_waits(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            await office.open_site()
            office.sorter.plan = {"data": ["554 5.7.1 spam", "451 4.7.1 greylisted"]}
            spam = await office.send("a@a.example")
            await office.until_state(spam, "bounced")
            grey = await office.send("a@a.example")
            await office.until_state(grey, "waiting")
            await office.later(60)
            await office.until_state(grey, "sent", tries=2)

    asyncio.run(main())


def test_a_server_that_cannot_be_reached_is_asked_for_two_days(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            await office.open_site(port=1)
            id = await office.send("a@a.example")
            for tries, wait_s in enumerate(WAITS_S, start=1):
                found = await office.until_state(id, "waiting", tries)
                assert found.recipients[0].code == 0
                assert found.recipients[0].reply
                await office.later(wait_s)
            await office.until_state(id, "bounced", len(WAITS_S) + 1)

    asyncio.run(main())


@pytest.mark.parametrize("trouble", ["password", "certificate", "plain"])
def test_nothing_is_sent_over_a_line_that_is_not_as_it_should_be(
    place: Place, trouble: str
) -> None:
    async def main() -> None:
        async with opened(place) as office:
            values: dict[str, Any] = {
                "password": {"password": "wrong"},
                "certificate": {"host": "localhost"},
                "plain": {"security": "none", "user": "", "password": ""},
            }[trouble]
            await office.open_site(**values)
            id = await office.send("a@a.example")
            found = await office.until_state(id, "waiting")
            assert not office.sorter.taken
            assert PASSWORD not in str(found)
            await office.use_server()
            await office.runtime.directory.by_id(office.site)
            await office.later(60)
            await office.until_state(id, "sent", tries=2)

    asyncio.run(main())


def test_tls_from_the_first_byte(place: Place) -> None:
    async def main() -> None:
        async with opened(place, tls_first=True) as office:
            await office.open_site(security="tls", user="", password="")
            await office.until_state(await office.send("a@a.example"), "sent")

    asyncio.run(main())


def test_a_password_needs_encryption(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            with pytest.raises(Unprocessable) as refusal:
                await office.open_site(security="none")
            assert PASSWORD not in str(refusal.value.document())

    asyncio.run(main())


def test_without_a_server_it_stays_in_the_mailbox_until_there_is_one(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            await office.open_site(server=False)
            first, second = await office.send("a@a.example"), await office.send("b@b.example")
            await office.until_state(first, "kept")
            found = await office.until_state(second, "kept")
            assert found.letter.text == "Here it is."
            page = await office.run(api.list_messages, page=PageRequest(1), state="kept")
            assert [one.id for one in page.items] == [second]
            rest = await office.run(api.list_messages, page=PageRequest(5, page.next))
            assert [one.id for one in rest.items] == [first]
            elsewhere = PostOffice(office.cell, office.clock, office.sorter, office.port)
            await elsewhere.open_site(server=False)
            assert not (await elsewhere.run(api.list_messages, page=PageRequest())).items
            with pytest.raises(NotFound):
                await elsewhere.seen(first)
            await office.use_server()
            await office.run(api.retry_mail, id=first)
            await office.until_state(first, "sent")
            assert len(office.sorter.taken) == 1

    asyncio.run(main())


def test_old_mail_is_forgotten_and_what_waits_is_not(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as office:
            await office.open_site()
            office.sorter.plan = {"b@b.example": ["450 later"] * 20}
            old = await office.send("a@a.example")
            await office.until_state(old, "sent")
            await office.runtime.ticker.tick()  # from here on the zone is known
            await office.later(31 * 86_400)
            new = await office.send("b@b.example")
            await office.until_state(new, "waiting")
            await office.runtime.ticker.tick()
            await office.later(3_600)  # the sites are spread over an hour

            async def forgotten() -> bool:
                page = await office.run(api.list_messages, page=PageRequest())
                return [one.id for one in page.items] == [new]

            await office.until(forgotten)

    asyncio.run(main())
