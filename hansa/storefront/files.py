"""Files: the sheet, the script and the icon, which are part of the package."""

from dataclasses import dataclass
from hashlib import blake2b
from importlib import resources
from typing import Final


@dataclass(frozen=True)
class File:
    """A file and its media type."""

    body: bytes
    kind: str


_KINDS: Final = {
    "shop.css": "text/css; charset=utf-8",
    "shop.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FOLDER: Final = resources.files("hansa.storefront") / "static"

FILES: Final = {name: File((_FOLDER / name).read_bytes(), kind) for name, kind in _KINDS.items()}
VERSION: Final = blake2b(b"".join(one.body for one in FILES.values()), digest_size=6).hexdigest()
"""Stands in the files' addresses, so that a browser may keep them for good."""
