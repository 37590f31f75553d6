"""Workload: the data every target begins with, the requests it gets, and what is a right answer."""

import random
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from hansa.kernel.ids import ALPHABET, typeid

SITES: Final = 4
PRODUCTS: Final = 1_000
"""Products of each site at the beginning; their handles are the same on all sites."""
SEED: Final = 20_261_120
_BEGIN_US: Final = 1_767_225_600_000_000  # 2026-01-01
_WORDS: Final = (
    "amber", "anchor", "barrel", "bridge", "candle", "canvas", "cedar", "cotton", "copper",
    "drift", "ember", "felt", "garnet", "harbour", "indigo", "iron", "juniper", "kettle",
    "lantern", "linen", "maple", "marble", "nettle", "oak", "olive", "pearl", "pewter", "quill",
    "raven", "saddle", "sail", "salt", "slate", "spruce", "tallow", "timber", "velvet", "walnut",
    "willow", "wool",
)  # fmt: skip
_KINDS: Final = ("side", "body", "trim", "case") * 2


class Price(msgspec.Struct, frozen=True):
    """An amount in minor units of an ISO 4217 currency."""

    minor: int
    currency: str


class Site(msgspec.Struct, frozen=True):
    """A tenant and its one key, as text and as the SHA-256 that a server keeps."""

    id: str
    key_id: str
    key: str
    key_hash: str


class Product(msgspec.Struct, frozen=True):
    """A product as it is answered: about 900 bytes of JSON."""

    id: str
    handle: str
    title: str
    description: str
    price: Price
    stock: int
    tags: tuple[str, ...]
    attributes: dict[str, str]
    created_at: str


class Seed(msgspec.Struct, frozen=True):
    """What is in every target's database before the first round; `products` by site."""

    sites: list[Site]
    products: dict[str, list[Product]]


def make_seed() -> Seed:
    """Return the same sites and products each time it is called."""
    chance = random.Random(SEED)
    sites = [_site(chance, at) for at in range(SITES)]
    return Seed(sites, {s.id: [_product(chance, at) for at in range(PRODUCTS)] for s in sites})


def _site(chance: random.Random, at: int) -> Site:
    key_id = typeid("key", _BEGIN_US + at, chance.getrandbits(74))
    secret = "".join(chance.choices(ALPHABET, k=52))
    # The text is in Hansa's form, so that Hansa can check it as it checks any other.
    return Site(
        id=typeid("site", _BEGIN_US + at, chance.getrandbits(74)),
        key_id=key_id,
        key=f"hansa_{key_id[-26:]}_{secret}",
        key_hash=sha256(secret.encode()).hexdigest(),
    )


def _product(chance: random.Random, at: int) -> Product:
    first, second = chance.sample(_WORDS, 2)
    return Product(
        id=typeid("prod", _BEGIN_US + at, chance.getrandbits(74)),
        handle=f"{first}-{second}-{at:04}",
        title=f"{first.title()} {second} no. {at}",
        description=" ".join(chance.choices(_WORDS, k=52))[:330],
        price=Price(chance.randrange(100, 99_999), "EUR"),
        stock=chance.randrange(1, 500),
        tags=tuple(chance.sample(_WORDS, 3)),
        attributes={
            f"{kind}_{word}": chance.choice(_WORDS)
            for kind, word in zip(_KINDS, chance.sample(_WORDS, 8), strict=True)
        },
        created_at="2026-01-01T00:00:00Z",
    )


def write_seed(seed: Seed, path: Path) -> None:
    """Write the seed as JSON, for servers of any language."""
    path.write_bytes(msgspec.json.encode(seed))


def read_seed(path: Path) -> Seed:
    """Return a seed that was written."""
    return msgspec.json.decode(path.read_bytes(), type=Seed)


# ---- requests


def head(site: Site, method: str, path: str, extra: str = "") -> str:
    """Return a request's head but for its last empty line."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Authorization: Bearer {site.key}\r\n{extra}"
    )


def read_requests(seed: Seed) -> list[tuple[bytes, Product]]:
    """Return a request for each product with what it must answer, in a scattered order."""
    found = [
        (f"{head(site, 'GET', f'/bench/products/{product.handle}')}\r\n".encode(), product)
        for site in seed.sites
        for product in seed.products[site.id]
    ]
    random.Random(SEED).shuffle(found)
    return found


HANDLE_LETTERS: Final = 24


def new_product(handle: str) -> dict[str, Any]:
    """Return what is sent to create a product: about 500 bytes of JSON."""
    return {
        "handle": handle,
        "title": "Copper lantern, large",
        "description": " ".join(_WORDS[:28]),
        "price": {"minor": 4_990, "currency": "EUR"},
        "stock": 25,
        "tags": ["copper", "lantern", "harbour"],
        "attributes": {
            "body_copper": "polished", "trim_iron": "black", "case_glass": "clear",
            "side_hook": "forged", "body_height": "42 cm", "trim_width": "18 cm",
        },
    }  # fmt: skip


class Creations:
    """Requests that each create another product, with a key of their own."""

    def __init__(self, seed: Seed, salt: str) -> None:
        """`salt` (up to 10 letters of a-z and 0-9) keeps two runs on one database apart."""
        self._salt = salt
        self._next = 0
        marker = "~" * HANDLE_LETTERS
        body = msgspec.json.encode(new_product(marker))
        extra = (
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nIdempotency-Key: {marker}\r\n"
        )
        self._parts: list[list[bytes]] = [
            (head(site, "POST", "/bench/products", extra).encode() + b"\r\n" + body).split(
                marker.encode()
            )
            for site in seed.sites
        ]

    def next(self) -> tuple[bytes, str]:
        """Return a request and the handle it creates."""
        at = self._next
        self._next = at + 1
        handle = f"new-{self._salt:x>10}-{at:09}"
        name = handle.encode()
        before, between, after = self._parts[at % len(self._parts)]
        return b"".join((before, name, between, name, after)), handle


# ---- answers


def is_right_read(body: bytes, wanted: Product) -> bool:
    """Tell whether an answer is the wanted product, whole and typed."""
    try:
        return _plain(msgspec.json.decode(body, type=Product)) == _plain(wanted)
    except msgspec.MsgspecError:
        return False


def _plain(product: Product) -> Product:
    # An instant may end in Z or in +00:00 and have a fraction; the rest must be the same.
    return msgspec.structs.replace(product, created_at=product.created_at[:19])


def is_right_creation(body: bytes, handle: str) -> bool:
    """Tell whether an answer is the product that was to be created."""
    try:
        made = msgspec.json.decode(body, type=Product)
    except msgspec.MsgspecError:
        return False
    wanted = new_product(handle)
    return (
        made.handle == handle
        and made.title == wanted["title"]
        and made.description == wanted["description"]
        and made.attributes == wanted["attributes"]
        and made.price == Price(4_990, "EUR")
        and made.stock == wanted["stock"]
        and list(made.tags) == wanted["tags"]
        and len(made.id) > 20
        and len(made.created_at) >= 19
    )


def percentile(sorted_values: Sequence[float], part: float) -> float:
    """Return the value below which `part` (0 to 1) of the sorted values lie; 0 for none."""
    if not sorted_values:
        return 0.0
    return sorted_values[min(len(sorted_values) - 1, int(part * len(sorted_values)))]
