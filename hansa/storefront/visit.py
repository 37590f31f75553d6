"""Visit: one request of a visitor, with what a view needs to answer it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import unescape
from typing import Any, Final
from zlib import crc32

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hansa.kernel.http.origin import is_secure
from hansa.kernel.problems import Invalid
from hansa.kernel.site import SiteInfo
from hansa.storefront import choices, cookies, drawing, money
from hansa.storefront.asking import Asking
from hansa.storefront.cookies import Basket
from hansa.storefront.door import MOUNT
from hansa.storefront.files import VERSION

templates: Final = Environment(
    loader=PackageLoader("hansa.storefront"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def picture(address: str) -> str:
    """Return the address of an image of this very host, "" for one elsewhere: no visitor's browser
    is sent to strangers."""
    is_here = address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_here else ""


def marked(title: str, highlighted: str) -> Markup:
    """Return a title with the words marked that search has marked; the plain title where that is
    not the whole of it. All else is escaped here, too."""
    texts = [unescape(part) for part in highlighted.replace("</mark>", "<mark>").split("<mark>")]
    if "".join(texts) != title or len(texts) % 2 == 0:
        return escape(title)
    return Markup("").join(
        Markup("<mark>%s</mark>") % text if place % 2 else escape(text)
        for place, text in enumerate(texts)
    )


def mark(text: str) -> str:
    """Return a short name for a text, as the id of what stands for it on the page."""
    return f"{crc32(text.encode('utf-8', 'replace')):08x}"


templates.filters["mark"] = mark
_SHARED: Final[dict[str, Any]] = {
    "mount": MOUNT,
    "version": VERSION,
    "price": money.told,
    "drawing_of": drawing.drawing_of,
    "tint_of": drawing.tint_of,
    "picture": picture,
    "marked": marked,
    "named": choices.named,
    "shown": choices.shown,
}


@dataclass(frozen=True)
class Visit:
    """A request, the site that it is made to, and the API as who makes it sees it."""

    request: Request
    site: SiteInfo
    asking: Asking
    name: str
    """What tells this visitor from others for a day, and says nothing of who it is."""
    form: Mapping[str, str]
    """What a form has sent; empty for GET."""

    @cached_property
    def basket(self) -> Basket:
        """The cart that the browser keeps."""
        return cookies.read_basket(self.request.cookies.get(cookies.CART, ""))

    def asked(self, name: str) -> str:
        """Return a parameter of the address, "" where it is not there."""
        return str(self.request.query_params.get(name, ""))

    def place(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    def sent(self, name: str, letters_max: int = 200) -> str:
        """Return a field of the form. Raises Invalid where it is missing, or too long."""
        value = self.form.get(name)
        if value is None or len(value) > letters_max:
            raise Invalid(f"The form has no {name}, or one that is too long. Load the page again.")
        return value

    def sent_number(self, name: str, most: int) -> int:
        """Return a field of the form that is a whole number up to `most`. Raises Invalid."""
        value = self.sent(name)
        if not (value.isascii() and value.isdecimal() and len(value) < 16 and int(value) <= most):
            raise Invalid(f"{name} is a whole number, {most} at most.")
        return int(value)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page."""
        return render(template, status, site=self.site, pieces=self.basket.pieces, **values)

    def keep(self, response: Response, name: str, value: str, age_s: int) -> None:
        """Have the browser keep a cookie that no script reads; "" takes it away."""
        secure = is_secure(self.request.url.scheme, self.request.headers)
        response.set_cookie(
            name, value, max_age=age_s if value else 0, path=MOUNT, secure=secure, httponly=True,
            samesite="lax",
        )  # fmt: skip

    def keep_basket(self, response: Response, basket: Basket) -> None:
        """Have the browser keep another cart, or none."""
        self.keep(response, cookies.CART, basket.text if basket.cart else "", cookies.KEPT_S)


def back(path: str) -> Response:
    """Return the way to a page after a form was taken, so that reloading it sends nothing."""
    return RedirectResponse(MOUNT + path, 303)


def render(template: str, status: int = 200, **values: Any) -> Response:
    """Return a page from a template."""
    text = templates.get_template(template).render(**_SHARED, **values)
    return HTMLResponse(text, status)


View = Callable[[Visit], Awaitable[Response]]
