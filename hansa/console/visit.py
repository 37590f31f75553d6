"""Visit: one request of somebody who is logged in, with what a view needs to answer it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeVar

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hansa.console import places, wording
from hansa.console.cursors import PAGE
from hansa.console.door import MOUNT
from hansa.console.files import VERSION
from hansa.console.finder import Finder
from hansa.console.records import Records
from hansa.kernel import codec, interventions
from hansa.kernel.caller import Caller, Principal
from hansa.kernel.commands import deadline_in
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.faults import fault_of
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Conflict, Denied, Invalid, NotFound, Problem
from hansa.kernel.relations import sql
from hansa.kernel.runtime import Runtime
from hansa.kernel.storage import PLATFORM, Row, Session
from hansa.platform.sites.api import Directory

T = TypeVar("T")

READ: Final = "platform.sites:across"
"""What it takes to see these pages: they show rows of all sites."""
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
    {
        name: getattr(wording, name)
        for name in ("span", "count", "upto", "size", "pretty", "pretty_text", "json", "last_line")
    }
)
_SHARED: Final[dict[str, Any]] = {
    "groups": places.groups,
    "plural": wording.plural,
    "mount": MOUNT,
    "trace_of": wording.trace_of,
    "version": VERSION,
}


@dataclass(frozen=True)
class Visit:
    """A request, who makes it, and what it is about."""

    request: Request
    runtime: Runtime
    app: HttpApp
    directory: Directory
    records: Records
    principal: Principal
    token: str
    """What the forms of this session carry."""
    form: Mapping[str, str]
    """What a form has sent; empty for GET."""
    finder: Callable[[], Awaitable[Finder]]
    """Gives what finds things by name in the catalog of the process."""

    @cached_property
    def now_us(self) -> int:
        """The machine's time."""
        return self.runtime.clock.now_us()

    @property
    def may_write(self) -> bool:
        """Whether who is logged in may change things by hand."""
        return self.principal.allows(interventions.WRITE)

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

    def place_number(self, name: str) -> int:
        """Return a part of the path that is a whole number. Raises NotFound for another."""
        value = self.place(name)
        if not (value.isascii() and value.isdecimal() and len(value) <= 18):
            raise NotFound(f"{value[:40]} is no number.")
        return int(value)

    def sent(self, name: str) -> str:
        """Return a field of the form. Raises Invalid where it is missing."""
        value = self.form.get(name)
        if value is None:
            raise Invalid(f"The form has no {name}.")
        return value

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

    async def do(self, operation: Operation[..., T], site: str, /, **arguments: Any) -> T:
        """Run an operation as who is logged in, with their permissions. Raises Problem."""
        return await self.runtime.do(operation, Caller(site, self.principal), arguments)

    async def ask(self, name: str, site: str, /, **arguments: Any) -> Any:
        """Run an operation by its name, as `do`: of a service that may not be there. A body is
        given as plain values. Raises NotFound where it is not, and Problem."""
        operation = self.runtime.by_id.get(name)
        if operation is None:
            raise NotFound(f"The service {name.partition('.')[0]} does not run here.")
        for one in operation.parameters:
            if one.source == "body":
                arguments["body"] = _read(arguments["body"], one.type)
        return await self.do(operation, site, **arguments)

    async def intervene(
        self, operation: Operation[..., None], site: str, /, **arguments: str
    ) -> None:
        """Carry out what is done by hand, with the permissions of who is logged in. Raises
        Problem."""
        caller = Caller(site, self.principal)
        await interventions.carry_out(self.runtime, operation, caller, **arguments)

    async def intervene_each(self, operation: Operation[..., None], *names: str) -> None:
        """Carry out by hand, one after the other, what the field `shown` of a form has, in JSON: of
        each a site and the `names`. What somebody else has done meanwhile is passed over, and what
        is refused keeps no other. Raises Invalid, and Conflict with the first reason once all were
        tried."""
        try:
            shown = msgspec.json.decode(self.sent("shown"), type=list[list[str]])
        except msgspec.MsgspecError:
            shown = [[]]
        if len(shown) > PAGE or any(len(one) != 1 + len(names) for one in shown):
            raise Invalid("The form has not what the page has shown. Load the page again.")
        refused: list[str] = []
        for site, *values in shown:
            try:
                await self.intervene(operation, site, **dict(zip(names, values, strict=True)))
            except NotFound:
                continue
            except Denied:
                raise
            except Problem as problem:
                refused.append(problem.detail or problem.title)
        if refused:
            raise Conflict(f"{len(refused)} of {len(shown)} were refused. {refused[0]}")

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


def _read(value: Any, wanted: Any) -> Any:
    """Return plain values as a type. Raises Invalid, with a pointer to what does not fit."""
    decoder, data = codec.decoder(wanted), codec.encode(value)
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        fault = fault_of(error, data, decoder)
        place = fault.pointer or "The form"
        raise Invalid(f"{place}: {fault.detail}", errors=(fault,)) from None


def render(template: str, status: int = 200, **values: Any) -> Response:
    """Return a page from a template."""
    text = templates.get_template(template).render(**_SHARED, **values)
    return HTMLResponse(text, status)


View = Callable[[Visit], Awaitable[Response]]
