"""Mail: what a site has sent, or would have; messages as their readers see them."""

from typing import Any, Final

from starlette.responses import HTMLResponse, Response

from hansa.console.having import sites_having
from hansa.console.visit import Visit
from hansa.kernel.problems import NotFound
from hansa.kernel.structs import PageRequest

SANDBOX: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
"""The policy of a message's own HTML: no script, no form, no request to anywhere."""


async def every(visit: Visit) -> Response:
    """Show the mailbox of a site, the newest message first; of the first that has one."""
    chosen, known = await sites_having(visit, "mail_messages")
    messages: Any = None
    if chosen:
        page = PageRequest(50, visit.asked("cursor", letters_max=1000) or None)
        messages = await visit.ask("mail.list_messages", chosen, page=page)
    return visit.page("mail.html", site=chosen, sites=known, messages=messages)


async def one(visit: Visit) -> Response:
    """Show a message, to whom it went, and what their servers said. Raises NotFound."""
    seen = await _message(visit)
    return visit.page("message.html", seen=seen, site=visit.place("site"))


async def html(visit: Visit) -> Response:
    """Return a message's own HTML, for a frame from which nothing gets out. Raises NotFound."""
    seen = await _message(visit)
    if not seen.letter.html:
        raise NotFound("The message has no HTML.")
    return HTMLResponse(seen.letter.html, headers={"content-security-policy": SANDBOX})


async def retry(visit: Visit) -> Response:
    """Send a message again to those who have not got it."""
    site, id = visit.place("site"), visit.place("id")
    await visit.ask("mail.retry_mail", site, id=id)
    return visit.back(f"/mail/{site}/{id}")


async def _message(visit: Visit) -> Any:
    return await visit.ask("mail.get_message", visit.place("site"), id=visit.place("id"))
