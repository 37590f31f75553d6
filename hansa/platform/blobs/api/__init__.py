"""What others may use of blobs: the operations, their types, the events, and where bytes go."""

from hansa.platform.blobs.api.blobs import (
    BYTES_MAX,
    MOUNT,
    Arrived,
    Blob,
    Coming,
    Link,
    begin_upload,
    break_off,
    erase,
    finish_upload,
    get_blob,
    get_link,
    get_upload_link,
    list_blobs,
    remove_blob,
    take_away_abandoned,
)
from hansa.platform.blobs.api.events import BlobRemoved, BlobStored
from hansa.platform.blobs.stores import BlobStore, BucketStore, Bytes, FolderStore, parse_store

__all__ = [
    "BYTES_MAX",
    "MOUNT",
    "Arrived",
    "Blob",
    "BlobRemoved",
    "BlobStore",
    "BlobStored",
    "BucketStore",
    "Bytes",
    "Coming",
    "FolderStore",
    "Link",
    "begin_upload",
    "break_off",
    "erase",
    "finish_upload",
    "get_blob",
    "get_link",
    "get_upload_link",
    "list_blobs",
    "parse_store",
    "remove_blob",
    "take_away_abandoned",
]
