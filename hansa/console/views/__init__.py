"""Views: what each page shows. A view reads, makes plain values of it, and names a template.

What must never happen here: a read without an end to its rows, text that is marked as safe to show,
or a change of something in a view that answers GET.
"""

from typing import Final

from hansa.console.views import overview, services
from hansa.console.visit import View

ROUTES: Final[tuple[tuple[str, View, str], ...]] = (
    ("/", overview.show, "GET"),
    ("/services", services.every, "GET"),
    ("/services/{name}", services.one, "GET"),
)
"""The path of each view below the mount, and its method."""
