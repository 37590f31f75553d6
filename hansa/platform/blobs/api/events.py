"""What happens to blobs. The aggregate is the blob."""

from hansa.kernel.ids import ID
from hansa.kernel.structs import Event


class BlobStored(Event, aggregate="id"):
    """A blob is there, all of it."""

    id: ID
    name: str
    type: str
    size: int
    sha256: str


class BlobRemoved(Event, aggregate="id"):
    """A blob is gone; its bytes follow."""

    id: ID
