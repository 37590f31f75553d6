"""What search publishes."""

from hansa.kernel.ids import ID
from hansa.kernel.structs import Event


class CollectionChanged(Event, aggregate="id"):
    """A collection was made, changed or removed; `revision` counts these."""

    id: ID
    name: str
    revision: int


class DocumentsChanged(Event, aggregate="id"):
    """Documents of a collection were put or deleted; `change` is the number of the last of them."""

    id: ID
    change: int


class ProjectionWanted(Event, aggregate="id"):
    """A collection needs all documents of a projection, ``commerce.products``, anew, as this
    version of it makes them: of entities whose ids are before `upto`, or of all, and not before so
    many seconds have passed."""

    id: ID
    projection: str
    version: int
    upto: str
    after_s: int
