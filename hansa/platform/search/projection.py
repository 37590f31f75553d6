"""Projection: a service says how an entity looks as a document, and finds it in search.

    products = Projection(commerce, "products", SCHEMA, entities=tables.products, open_filter="")

    @products.document(ProductCreated, ProductChanged)
    async def product_document(ctx: Context, id: ID) -> dict[str, Any] | None: ...

The function runs in the service's own transaction after each of these events, whose aggregate is
the entity; what it returns travels as an event of the service, and search keeps it. None takes the
document away. When the schema changes, or a site is new to search, all entities are gone through.
What must never happen here: an entity whose last change search does not hear of.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Table

from hansa.kernel.compiler import param, select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Overloaded
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, EventMeta
from hansa.platform.search import search
from hansa.platform.search.api.events import ProjectionWanted
from hansa.platform.search.api.projecting import Made, Projected, apply
from hansa.platform.search.schema import Schema

BATCH: Final = 100
"""Entities in one transaction while all of them are gone through."""

Document = Callable[[Context, ID], Awaitable[dict[str, Any] | None]]


class Projection:
    """The documents of a service's entities, as the collection `name` of each site."""

    def __init__(
        self,
        service: Service,
        name: str,
        schema: Schema,
        *,
        entities: Table,
        version: int = 1,
        open_filter: str | None = None,
    ) -> None:
        """Declare it. `entities` is the table whose ids are the documents'; `open_filter` lets
        visitors search what it lets through; `version` rises when the schema, or what the function
        makes of the same entity, changes."""
        self.service = service
        self.name = name
        self.version = version
        self.id = f"{service.name}.{name}"
        ids = entities.c.id
        self._next = select(ids).where(ids > param("after")).order_by(ids).limit(BATCH)
        self._next_upto = self._next.where(ids < param("upto"))
        self.event = _event(service, name)
        self._projected = Projected(self.id, name, version, schema, open_filter)

    def document(self, *events: type[Event]) -> Callable[[Document], Document]:
        """Declare the function that makes a document, and the events after which that is done:
        first the one that says that there is a new entity."""

        def declare(make: Document) -> Document:
            for event in events:
                self._follow(event, make, is_new=event is events[0])
            self._fill(make)
            self._keep()
            return make

        return declare

    def _follow(self, event: type[Event], make: Document, *, is_new: bool) -> None:
        async def on_event(ctx: Context, happened: Any) -> None:
            id = getattr(happened, event.event_aggregate)
            ctx.emit(self._made(id, await make(ctx, id), is_new=is_new))

        on_event.__name__ = f"search_{self.name}_after_{event.__name__.lower()}"
        self.service.on(event)(on_event)

    def _made(self, id: ID, document: dict[str, Any] | None, *, is_new: bool = False) -> Event:
        made: Event = self.event(id, self.version, is_new, document)
        return made

    def _fill(self, make: Document) -> None:
        """Have all entities gone through when search asks for it."""
        name = f"search:{self.id}"

        async def go_through(ctx: Context, after: str, upto: str) -> None:
            ids = await (
                ctx.db.all(self._next_upto, str, after=after, upto=upto)
                if upto
                else ctx.db.all(self._next, str, after=after)
            )
            for id in ids:
                ctx.emit(self._made(id, await make(ctx, id)))
            if len(ids) == BATCH:
                ctx.schedule(work, at=ctx.now, id=name, after=ids[-1], upto=upto)
            else:
                ctx.emit(self._made("", None))  # that was all

        async def on_wanted(ctx: Context, wanted: ProjectionWanted) -> None:
            if wanted.projection != self.id:
                return
            if wanted.version > self.version:
                raise Overloaded("This is for a process of a newer release.")
            at = ctx.now + timedelta(seconds=wanted.after_s)
            ctx.schedule(work, at=at, id=name, after="", upto=wanted.upto)

        on_wanted.__name__ = f"search_{self.name}_wanted"
        work = self.service.due(f"{self.service.name}.search_{self.name}")(go_through)
        self.service.on(ProjectionWanted)(on_wanted)

    def _keep(self) -> None:
        async def on_document(ctx: Context, made: Any) -> None:
            made = Made(made.id, made.version, made.is_new, made.document)
            await apply(ctx, self._projected, made)

        on_document.__name__ = f"keep_{self.service.name}_{self.name}"
        search.on(self.event, optional=True)(on_document)


def _event(service: Service, name: str) -> Any:
    """Return the event that documents of a projection travel as, ``commerce.products_document``."""
    body = {
        "__module__": service.package,
        "__doc__": f"What search keeps of one of {service.name}'s {name}; without a document it is"
        " not to be found any more.",
        "__annotations__": {
            "id": ID,
            "version": int,
            "is_new": bool,
            "document": dict[str, Any] | None,
        },
    }
    return EventMeta(f"{name.title().replace('_', '')}Document", (Event,), body, aggregate="id")
