"""Torture: see `hansa.torture`; it is loaded only when it is wanted."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `hansa torture`."""
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    from hansa.cli.main import KILLS_MAX, PROCESSES_MAX
    from hansa.cli.values import whole

    parser.add_argument(
        "--kills", type=whole(1, KILLS_MAX), default=20, help="how often the process is killed"
    )
    parser.add_argument(
        "--seed", type=whole(0, 2**64 - 1), default=None, help="repeat a run; printed otherwise"
    )
    parser.add_argument("--faults", action="store_true", help="let the storage fail as well")
    parser.add_argument(
        "--plant",
        default="",
        choices=("position-outside", "serial-positions", "read-before-write", "no-fsync"),
        help="plant a known bug, which must be found",
    )
    parser.add_argument(
        "--processes", type=whole(1, PROCESSES_MAX), default=1, help="on PostgreSQL: how many serve"
    )


def run(options: argparse.Namespace) -> int:
    """Run it; 0 when nothing was violated."""
    if options.processes > 1 and options.engine == "sqlite":
        from hansa.cli.serving import failed

        return failed("One process owns a SQLite file: --processes is for --engine postgres.")
    from hansa.torture.run import run as torture

    return torture(options)
