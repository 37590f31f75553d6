"""Visit: one request of somebody who is logged in, with what a view needs to answer it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hansa.console import wording
from hansa.console.files import VERSION
from hansa.kernel.caller import Caller, Principal
from hansa.kernel.commands import deadline_in
from hansa.kernel.http.app import HttpApp
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Denied, Invalid
from hansa.kernel.relations import sql
from hansa.kernel.runtime import Runtime
from hansa.kernel.storage import PLATFORM, Row, Session

T = TypeVar("T")

MOUNT: Final = "/hansa"
READ: Final = "platform.sites:across"
"""What it takes to see these pages: they show rows of all sites."""
WRITE: Final = "platform.log:write"
"""What it takes to skip, replay and edit by hand."""
READ_S: Final = 5.0

templates: Final = Environment(
    loader=PackageLoader("hansa.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
templates.filters.update(
    {name: getattr(wording, name) for name in ("span", "count", "size", "pretty", "last_line")}
)
_SHARED: Final[dict[str, Any]] = {"plural": wording.plural, "mount": MOUNT, "version": VERSION}


@dataclass(frozen=True)
class Visit:
    """A request, who makes it, and what it is about."""

    request: Request
    runtime: Runtime
    app: HttpApp
    principal: Principal
    token: str
    """What the forms of this session carry."""
    form: Mapping[str, str]
    """What a form has sent; empty for GET."""

    @cached_property
    def now_us(self) -> int:
        """The machine's time."""
        return self.runtime.clock.now_us()

    @property
    def may_write(self) -> bool:
        """Whether who is logged in may change things by hand."""
        return self.principal.allows(WRITE)

    def must_write(self) -> None:
        """Raise Denied for who may look but not change."""
        if not self.may_write:
            raise Denied(f"To change things by hand the key needs the permission {WRITE}.")

    def asked(self, name: str, default: str = "", *, letters_max: int = 200) -> str:
        """Return a value of the query. Raises Invalid for one that is too long."""
        value = self.request.query_params.get(name, default)
        if len(value) > letters_max:
            raise Invalid(f"{name} may have {letters_max} letters.")
        return str(value)

    def asked_number(self, name: str) -> int:
        """Return a whole number of the query, 0 without one. Raises Invalid."""
        value = self.asked(name, "0", letters_max=19)
        if not (value.isascii() and value.isdecimal()):
            raise Invalid(f"{name} is a whole number.")
        return int(value)

    def place(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    async def rows(self, statement: str, *arguments: Any) -> Sequence[Row]:
        """Return the rows of a statement over all sites; places are ``?1``."""

        async def body(session: Session) -> Sequence[Row]:
            return await session.fetch(sql(session, statement), arguments)

        return await self.reading(body)

    async def reading(self, body: Callable[[Session], Awaitable[T]]) -> T:
        """Run a read over all sites on one snapshot."""
        return await self.runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(READ_S), across=True
        )

    async def do(self, operation: Operation[..., T], site: str, **arguments: Any) -> T:
        """Run an operation as who is logged in, with their permissions. Raises Problem."""
        return await self.runtime.do(operation, Caller(site, self.principal), arguments)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page."""

        def when(at_us: int | None) -> Markup:
            return wording.when(at_us, self.now_us)

        def moment(at: datetime) -> Markup:
            return wording.moment(at, self.now_us)

        return render(
            template,
            status,
            visit=self,
            here=self.request.url.path,
            when=when,
            moment=moment,
            **values,
        )

    def back(self, path: str) -> Response:
        """Return the way to a page after a form was taken, so that reloading it sends nothing."""
        return RedirectResponse(MOUNT + path, 303)


def render(template: str, status: int = 200, **values: Any) -> Response:
    """Return a page from a template."""
    text = templates.get_template(template).render(**_SHARED, **values)
    return HTMLResponse(text, status)


View = Callable[[Visit], Awaitable[Response]]
