"""Moving: `hansa sites move SITE --to CELL`, by asking the processes of a league."""

import argparse
import os
from pathlib import Path
from typing import Final

import uvloop

from hansa.cli.serving import failed, told
from hansa.kernel.clock import MachineClock
from hansa.kernel.problems import Problem
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Placement, PlacementInvalid, read_placement
from hansa.kernel.sealing import MASTER_KEY_ENV, MasterKeyInvalid, load_sealer
from hansa.platform.sites.mover import OWN, Mover

_SAYING: Final = {
    "plan": "both cells answer",
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
    try:
        if not options.placement:
            raise PlacementInvalid("say with --placement which processes there are")
        if not os.environ.get(MASTER_KEY_ENV) and not (folder / "master.key").exists():
            raise MasterKeyInvalid(
                "What processes send each other is signed with the master key: set"
                f" {MASTER_KEY_ENV} or name a --folder that has it; {folder} has none."
            )
        placement = read_placement(Path(options.placement).read_text())
        return uvloop.run(_move(options, placement, folder))
    except (Problem, PlacementInvalid, MasterKeyInvalid, OSError) as error:
        return failed(f"{told(error)} Run it again to go on, or with --to the cell that it is in"
                      " to take it back.")  # fmt: skip


async def _move(options: argparse.Namespace, placement: Placement, folder: Path) -> int:
    sealer = load_sealer(folder / "master.key", os.environ.get(MASTER_KEY_ENV))
    seal = Seal(lambda: sealer.derived("hansa/link"))
    remote = Remote(placement, OWN, seal, MachineClock())
    before = ""

    def tell(step: str) -> None:
        nonlocal before
        if step != before and step in _SAYING:
            print(f"{step}: {_SAYING[step]}", flush=True)
        before = step

    try:
        moved = await Mover(placement, remote, tell).move(options.site, options.to)
    finally:
        remote.close()
    print(f"{options.site} is in {moved.cell}.")
    if moved.pause_s:
        print(f"{moved.rows} rows; who wrote for it waited {moved.pause_s * 1000:.0f} ms at most.")
    return 0
