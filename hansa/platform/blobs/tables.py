"""What is kept of blobs: what is there, and what is on its way in or out."""

from hansa.kernel.columns import enum, instant, integer, text
from hansa.platform.blobs import blobs as service

blobs = service.table(
    "blobs",
    text("name"),
    text("type"),
    integer("size"),
    text("sha256"),  # in hexadecimal
    instant("created_at"),
    prefix="blob",
)

# Bytes that may lie in the store without a row above: being written, or to be taken away.
loose = service.table(
    "loose",
    text("id", primary=True),
    enum("state", ("coming", "going")),
    text("name"),
    text("type"),
    instant("since"),
    index=[("state", "since")],
)
