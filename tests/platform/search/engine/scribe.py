"""Writes the real products into an index, some of them twice, and says how far it is.

    python -m tests.platform.search.engine.scribe FOLDER DATA

It goes on from the index's checkpoint, so that it may be killed at any point and started again.
"""

import sys
from pathlib import Path
from typing import Final

from hansa.platform.search.engine.index import Index
from hansa.platform.search.engine.layout import Change
from tests.platform.search.engine.shelf import PRODUCTS, products

BATCH: Final = 40


def log(data: Path) -> list[Change]:
    """What happened: products come, every third comes again and every seventh goes."""
    changes: list[Change] = []
    for one in products(data, 0, 900):
        changes.append(one)
        if one.change % 3 == 0:
            changes.append(Change(changes[-2].id, 0, changes[-2].body, popularity=0.5))
        if one.change % 7 == 0:
            changes.append(Change(changes[-3].id, 0, None))
    return [
        Change(one.id, number, one.body, one.popularity)
        for number, one in enumerate(changes, start=1)
    ]


def write(index: Index, changes: list[Change]) -> None:
    """Write what the index does not have, committing now and then."""
    for batch, begin in enumerate(range(index.checkpoint, len(changes), BATCH)):
        index.write(changes[begin : begin + BATCH], min(begin + BATCH, len(changes)))
        print("written", flush=True)
        if batch % 2:
            index.commit()
            print("committed", flush=True)
    index.rest()


if __name__ == "__main__":
    write(Index.open(Path(sys.argv[1]), PRODUCTS), log(Path(sys.argv[2])))
