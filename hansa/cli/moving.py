"""Moving: `hansa sites move SITE --to CELL`, by asking the processes of a league."""

import argparse
import os
from pathlib import Path
from typing import Final

import uvloop

from hansa.cli.serving import failed, placement_in, told
from hansa.kernel.clock import MachineClock
from hansa.kernel.problems import Overloaded, Problem
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Placement, PlacementInvalid
from hansa.kernel.sealing import MASTER_KEY_ENV, MasterKeyInvalid, load_sealer
from hansa.platform.sites.mover import OWN, Mover

AGAIN: Final = "Run it again to go on, or with --to the cell that it is in to take it back."
_SAYING: Final = {
    "plan": "both cells are asked",
    "fence": "the site is fenced; who writes for it waits",
    "copy": "its rows are copied",
    "flip": "it is called in the other cell from now on",
    "leave": "the cell that it has left sends everybody on",
    "erase": "its rows are erased there",
    "clear": "it will not come; what was copied of it is erased",
    "keep": "it is written for again where it is",
}


def run(options: argparse.Namespace) -> int:
    """Move a site."""
    from hansa.cli.main import place_of

    folder = place_of(options).folder
    steps: list[str] = []
    try:
        if not options.placement:
            return failed("Say with --placement which processes there are.")
        if not os.environ.get(MASTER_KEY_ENV) and not (folder / "master.key").exists():
            raise MasterKeyInvalid(
                "What processes send each other is signed with the master key: set"
                f" {MASTER_KEY_ENV} or name a --folder that has it; {folder} has none."
            )
        placement = placement_in(options.placement)
        return uvloop.run(_move(options, placement, folder, steps))
    except Problem as problem:
        text = told(problem).removesuffix(".")
        return failed(
            f"{text}. {AGAIN}" if steps or isinstance(problem, Overloaded) else f"{text}."
        )
    except (PlacementInvalid, MasterKeyInvalid, OSError) as error:
        return failed(told(error))


async def _move(
    options: argparse.Namespace, placement: Placement, folder: Path, steps: list[str]
) -> int:
    """Move a site, and note each step in `steps` as it is begun."""
    sealer = load_sealer(folder / "master.key", os.environ.get(MASTER_KEY_ENV))
    seal = Seal(lambda: sealer.derived("hansa/link"))
    remote = Remote(placement, OWN, seal, MachineClock())

    def tell(step: str) -> None:
        if steps[-1:] != [step] and step in _SAYING:
            print(f"{step}: {_SAYING[step]}", flush=True)
        steps.append(step)

    try:
        moved = await Mover(placement, remote, tell).move(options.site, options.to)
    finally:
        remote.close()
    print(f"{options.site} is in {moved.cell}.")
    if moved.pause_s:
        print(f"{moved.rows} rows; who wrote for it waited {moved.pause_s * 1000:.0f} ms at most.")
    return 0
