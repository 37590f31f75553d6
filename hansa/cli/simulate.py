"""Simulate: see `hansa.simulate`; it is loaded only when it is wanted."""

import argparse

NODES_MAX = 16
SEEDS_MAX = 10_000_000
MINUTES_MAX = 10_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `hansa simulate`."""
    from hansa.cli.values import whole

    parser.add_argument(
        "--seed", type=whole(0, 2**63 - 1), default=0, help="the run, or the first of --seeds"
    )
    parser.add_argument(
        "--seeds", type=whole(1, SEEDS_MAX), default=None, metavar="COUNT",
        help="how many runs, on all cores; the first that breaks a promise is told",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=whole(1, MINUTES_MAX), default=None,
        help="for how long, where --seeds is not reached before",
    )  # fmt: skip
    parser.add_argument(
        "--nodes", type=whole(1, NODES_MAX), default=3, help="machines, each with a cell"
    )
    parser.add_argument(
        "--plant",
        default="",
        choices=(
            "position-outside", "read-before-write", "no-fsync", "answers-forgotten",
            "duplicate-applied", "copies-outside", "pruned-copied-again", "epoch-unchecked",
            "token-ignored",
        ),
        help="plant a known bug, which must be found",
    )  # fmt: skip
    parser.add_argument(
        "--whole", action="store_true", help="print the whole history of a run that fails"
    )


def run(options: argparse.Namespace) -> int:
    """Run it; 0 when nothing was violated."""
    from hansa.simulate.report import run as simulate

    count = options.seeds or (1 if options.minutes is None else SEEDS_MAX)
    return simulate(
        options.seed, count, options.nodes, options.plant,
        minutes=options.minutes, whole=options.whole, tell=print,
    )  # fmt: skip
