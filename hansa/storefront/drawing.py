"""Drawing: which picture stands for a product that has none. Pure; the same one each time.

The pictures are symbols in `templates/drawings.html`, coloured by the sheet.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

from hansa.storefront.choices import KINDS

TINTS: Final = 8
_WORDS: Final = {
    "mug": "mug cup tumbler beaker",
    "kettle": "kettle teapot pot pan jug carafe",
    "bowl": "bowl plate dish plates kitchen tableware",
    "board": "board tray",
    "knife": "knife spoon fork ladle spatula cutlery utensil",
    "cloth": "towel blanket napkin cloth throw textile textiles linen",
    "candle": "candle candles lantern",
    "lamp": "lamp light lighting",
    "vase": "vase planter home decor",
    "book": "notebook book planner journal stationery desk",
    "pen": "pen pencil ruler office",
    "bag": "tote bag bags backpack pack satchel pouch wallet luggage",
    "shirt": "shirt jacket apron sweater clothes clothing coat vest",
    "cap": "cap hat beanie scarf gloves socks accessories",
    "jar": "honey jam salt jar spice food pantry",
    "bottle": "oil bottle flask vinegar syrup drinks",
    "leaf": "tea herb seed seeds plant garden coffee",
    "toy": "top toy rope kite game puzzle play ball blocks toys",
    "soap": "soap brush bath care balm",
    "screen": "laptop notebooks monitor tv tablet phone computer electronics display",
    "cable": "cable adapter charger cartridge toner printer",
}
_DRAWINGS: Final = {word: name for name, words in _WORDS.items() for word in words.split()}
_WORD: Final = re.compile(r"[^\W\d_]+")


def drawing_of(title: str, attributes: Mapping[str, Any]) -> str:
    """Return the name of the drawing for a product: by the last word of its title that is known, as
    in "oak cutting board", else by what it says that it is."""
    for text in (title, *(str(attributes.get(kind, "")) for kind in KINDS)):
        for word in reversed(_WORD.findall(text.lower())):
            name = _DRAWINGS.get(word) or _DRAWINGS.get(word.removesuffix("s"))
            if name:
                return name
    return "parcel"


def tint_of(id: str) -> int:
    """Return the number of the colour behind a product's drawing."""
    return crc32(id.encode()) % TINTS
