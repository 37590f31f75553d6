# pyright: reportPrivateUsage=false
"""What `hansa backup`, `restore` and `ship` take, and `hansa sites export`, `import` and `erase`.

Apart from what does it, so that every other command starts without importing that.
"""

import argparse
from collections.abc import Sequence

from hansa.cli.values import lazily, seconds


def arguments(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    where: argparse.ArgumentParser,
) -> None:
    """Add the commands that copy a cell."""
    one = commands.add_parser("backup", parents=[where], help="copy a running cell, consistent")
    one.add_argument("--to", required=True, metavar="FOLDER", help="a new folder for the copy")
    one.set_defaults(run=lazily("keeping", "back_up"))
    one = commands.add_parser("restore", parents=[where], help="put a copy in the place of a cell")
    one.add_argument(
        "--from",
        required=True,
        dest="source",
        metavar="FOLDER",
        help="a copy that `hansa backup` made, or where `hansa ship` ships to",
    )
    one.add_argument(
        "--at",
        default="",
        metavar="INSTANT",
        help="of what was shipped: as of the last moment up to 2027-01-01T12:00:00Z",
    )
    one.add_argument(
        "--force", action="store_true", help="replace the cell that is there; it must be stopped"
    )
    one.add_argument(
        "--without-key", action="store_true",
        help="restore although the master key is not here: what is sealed then stays closed",
    )  # fmt: skip
    one.set_defaults(run=lazily("keeping", "restore"))
    one = commands.add_parser(
        "ship", parents=[where], help="bring what changes in a SQLite cell elsewhere, as it runs"
    )
    one.add_argument(
        "--to",
        required=True,
        metavar="DEPOT",
        help="a folder, or s3://bucket/prefix?region=...&endpoint=...; of this cell alone",
    )
    one.add_argument(
        "--every",
        type=seconds,
        default=1.0,
        metavar="S",
        help="how often, in seconds: what may be lost at most (default: 1)",
    )
    one.add_argument(
        "--keep-days",
        type=seconds,
        default=7.0,
        metavar="DAYS",
        help="how long every instant can be restored (default: 7)",
    )
    one.set_defaults(run=lazily("keeping", "ship"))


def site_arguments(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    parents: Sequence[argparse.ArgumentParser],
) -> None:
    """Add the verbs of `hansa sites` that carry one or erase it."""
    one = verbs.add_parser("export", parents=parents, help="write all of a site into a file")
    one.add_argument("site", help="the site's id")
    one.add_argument("--to", required=True, metavar="FILE", help="a new file; packed if .gz")
    one.set_defaults(run=lazily("site_files"))
    one = verbs.add_parser(
        "import", parents=parents, help="bring a site from a file into this cell"
    )
    one.add_argument("file", help="what `hansa sites export` wrote")
    one.set_defaults(run=lazily("site_files"))
    one = verbs.add_parser(
        "move", parents=parents, help="bring a site into another cell of a league, while it serves"
    )
    one.add_argument("site", help="the site's id")
    one.add_argument("--to", required=True, metavar="CELL", help="a cell of the placement")
    one.add_argument(
        "--placement", default="", metavar="FILE", help="which process serves which service"
    )
    one.set_defaults(run=lazily("moving"))
    one = verbs.add_parser("erase", parents=parents, help="erase a site for good, with its log")
    one.add_argument("site", help="the site's id")
    one.add_argument("--yes", action="store_true", help="do not ask")
    one.add_argument(
        "--rest", action="store_true",
        help="what is kept here of a site that has moved to another cell and is erased there",
    )  # fmt: skip
    one.add_argument(
        "--settle-s", type=float, default=None,
        help="how long to wait for other processes (default: 32 with PostgreSQL, 0 with SQLite)",
    )  # fmt: skip
    one.set_defaults(run=lazily("site_files"))
