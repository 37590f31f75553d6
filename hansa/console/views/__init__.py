"""Views: what each page shows. A view reads, makes plain values of it, and names a template.

What must never happen here: a read without an end to its rows, text that is marked as safe to show,
or a change of something in a view that answers GET.
"""

from typing import Final

from hansa.console.views import (
    api,
    cells,
    curation,
    deliveries,
    due,
    find,
    log,
    mail,
    overview,
    search,
    services,
    sites,
    statements,
    traces,
    webhooks,
)
from hansa.console.visit import View

_SENT = "/webhooks/{site}/{endpoint}/{number}"
_COLLECTION = "/search/{site}/{collection}"

ROUTES: Final[tuple[tuple[str, View, str], ...]] = (
    ("/", overview.show, "GET"),
    ("/find", find.show, "GET"),
    ("/problems", find.problems, "GET"),
    ("/services", services.every, "GET"),
    ("/services/{name}", services.one, "GET"),
    ("/api", api.every, "GET"),
    ("/api/{operation}", api.one, "GET"),
    ("/api/{operation}", api.attempt, "POST"),
    ("/traces", traces.every, "GET"),
    ("/traces/{trace}", traces.one, "GET"),
    ("/statements", statements.show, "GET"),
    ("/log", log.every, "GET"),
    ("/log/{position}", log.one, "GET"),
    ("/deliveries", deliveries.every, "GET"),
    ("/deliveries/one", deliveries.one, "GET"),
    ("/deliveries/replay", deliveries.replay, "POST"),
    ("/deliveries/replay-shown", deliveries.replay_shown, "POST"),
    ("/deliveries/skip", deliveries.skip, "POST"),
    ("/due", due.every, "GET"),
    ("/due/one", due.one, "GET"),
    ("/due/retry", due.retry, "POST"),
    ("/due/retry-shown", due.retry_shown, "POST"),
    ("/due/cancel", due.cancel, "POST"),
    ("/sites", sites.every, "GET"),
    ("/sites/{site}", sites.one, "GET"),
    ("/sites/{site}/clock", sites.advance, "POST"),
    ("/webhooks", webhooks.every, "GET"),
    ("/webhooks/{site}/{endpoint}", webhooks.endpoint, "GET"),
    (_SENT, webhooks.delivery, "GET"),
    (_SENT + "/replay", webhooks.replay, "POST"),
    (_SENT + "/skip", webhooks.skip, "POST"),
    ("/mail", mail.every, "GET"),
    ("/mail/{site}/{id}", mail.one, "GET"),
    ("/mail/{site}/{id}/html", mail.html, "GET"),
    ("/mail/{site}/{id}/retry", mail.retry, "POST"),
    ("/search", search.every, "GET"),
    (_COLLECTION, search.one, "GET"),
    (_COLLECTION + "/place", curation.place, "POST"),
    (_COLLECTION + "/words", curation.words, "GET"),
    (_COLLECTION + "/words/synonym", curation.put_synonym, "POST"),
    (_COLLECTION + "/words/remove", curation.remove_synonym, "POST"),
    (_COLLECTION + "/words/stop", curation.put_stop_words, "POST"),
    (_COLLECTION + "/rules", curation.rules, "GET"),
    (_COLLECTION + "/rules/put", curation.put_rule, "POST"),
    (_COLLECTION + "/rules/remove", curation.remove_rule, "POST"),
    (_COLLECTION + "/json", curation.whole, "GET"),
    (_COLLECTION + "/json/put", curation.put_whole, "POST"),
    (_COLLECTION + "/analytics", search.analytics, "GET"),
    (_COLLECTION + "/rebuild", search.rebuild, "POST"),
    ("/cells", cells.show, "GET"),
)
"""The path of each view below the mount, and its method."""
