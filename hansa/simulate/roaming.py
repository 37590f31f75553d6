"""Roaming: who moves the site of a run from cell to cell, dies over it, and begins again."""

import asyncio
from random import Random
from typing import Final

from hansa.kernel.problems import Problem
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.passport import Seal
from hansa.platform.sites.mover import OWN, Mover
from hansa.simulate.history import WORLD, History
from hansa.simulate.league import SITE, League
from hansa.simulate.loop import Process, VirtualLoop
from hansa.simulate.machinery import SkewedClock
from hansa.simulate.node import LINK_KEY

NAME: Final = "mover"
AGAIN_S: Final = 0.5


class Roaming:
    """Moves the site of a league."""

    def __init__(self, loop: VirtualLoop, history: History, league: League, chance: Random) -> None:
        self._loop = loop
        self._history = history
        self._league = league
        self._chance = chance
        loop.network.far.add(NAME)

    async def go(self, to: int, for_s: float) -> None:
        """Have somebody bring the site to a node, who dies after so long."""
        process = Process(NAME)
        task = self._loop.spawn(process, self._until_there(to))
        await asyncio.wait([task], timeout=for_s)
        if task.done():
            task.result()
        else:
            self._history.note(WORLD, f"who brings the site to n{to} dies", SITE.id)
            process.die()
            self._loop.network.lose(process)

    async def _until_there(self, to: int) -> None:
        placement = self._league.placement
        remote = Remote(placement, OWN, Seal([LINK_KEY]), SkewedClock(self._loop, self._chance))
        mover = Mover(placement, remote, self._note)
        while True:
            try:
                moved = await mover.move(SITE.id, f"n{to}")
            except Problem as problem:
                self._history.note(NAME, f"is refused: {problem.slug}", SITE.id)
                await asyncio.sleep(AGAIN_S)
            else:
                self._history.note(NAME, f"has the site in n{to}, epoch {moved.epoch}", SITE.id)
                remote.close()
                return

    def _note(self, step: str) -> None:
        self._history.note(NAME, f"takes the step {step}", SITE.id)
