"""Mint: the world outside, in the simulation. It never forgets a key, and often does not say so."""

import asyncio
from random import Random

from hansa.kernel.actions import Unknown


class Mint:
    """Gives coins once per key. It answers late, not at all, or twice; it may refuse."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.given: dict[str, int] = {}
        """How many coins were given, by key; 0 where they were refused."""

    async def take(self, key: str, amount: int) -> bool:
        """Give coins under a key; tell whether there were any. Raises Unknown when it does not
        tell."""
        chance = self._chance
        await asyncio.sleep(chance.uniform(0.001, 0.05))
        if chance.random() < 0.1:
            raise Unknown("the mint did not listen")
        if key not in self.given:
            self.given[key] = amount if chance.random() < 0.9 else 0
        await asyncio.sleep(chance.choice((0.001, 0.01, 0.3, 5.0)) * chance.random())
        if chance.random() < 0.1:
            raise Unknown("the mint did not say")
        return self.given[key] > 0
