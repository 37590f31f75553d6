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
    "cap": "cap hat beanie scarf accessories",
    "sock": "sock stocking",
    "glove": "glove mitten",
    "jar": "honey jam salt jar spice food pantry",
    "bottle": "oil bottle flask vinegar syrup drinks",
    "leaf": "tea herb seed seeds plant garden coffee",
    "toy": "top toy rope kite game puzzle play ball blocks toys",
    "soap": "soap brush bath care balm",
    "screen": "laptop notebooks monitor tv tablet phone computer electronics display",
    "cable": "cable adapter charger cartridge toner printer",
}
_COLOURS_IN: Final = ("colour", "color", "main_colour", "product_colour")
_COLOURS: Final = {
    word: tint
    for tint, words in enumerate((
        "brown natural beige oak tan copper", "green olive mint", "blue navy", "red pink coral",
        "yellow gold golden orange brass", "purple violet lilac", "turquoise teal cyan",
        "grey gray black anthracite",
    ))
    for word in words.split()
}  # fmt: skip
"""The colours of the sheet, and what people call them."""
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


def tint_of(id: str, title: str, attributes: Mapping[str, Any]) -> int:
    """Return the number of the colour of a product's drawing: its own as far as it is told, else
    one by chance, always the same; without attributes, as in a cart, that of paper."""
    told = [str(attributes[name]) for name in _COLOURS_IN if name in attributes]
    for text in (*told, title):
        for word in _WORD.findall(text.lower()):
            if word in _COLOURS:
                return _COLOURS[word]
    return crc32(id.encode()) % TINTS if attributes else 0
