"""``python -m benchmarks.search [parts…] [--quick] [--rounds N] [--seconds S]``."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.search import corpus, density, freshness, million, over_http, peers, typos
from benchmarks.search.corpus import folder_of_runs

Options = argparse.Namespace
Part = Callable[[Options, Path], None]


def say(line: str) -> None:
    """Print a line of the report at once: a run takes minutes."""
    print(line, flush=True)


def _peers(options: Options, folder: Path) -> None:
    for make in (corpus.electronics, corpus.cranfield):
        collection = make()
        peers.run(say, folder / collection.name, collection, options.rounds, options.seconds)


def _typos(options: Options, folder: Path) -> None:
    say("### Typos and beginnings, electronics\n")
    typos.run(say, folder, corpus.electronics())


def _million(options: Options, folder: Path) -> None:
    count = 100_000 if options.quick else 1_000_000
    say("### Many documents\n")
    million.run(say, folder, corpus.electronics(), count)


def _http(options: Options, folder: Path) -> None:
    say("### Over HTTP, electronics\n")
    over_http.run(say, folder, corpus.electronics(), 1_000 if options.quick else 6_000)


def _freshness(options: Options, folder: Path) -> None:
    sites, seconds = (100, 5.0) if options.quick else (1_000, 20.0)
    say("### From a put to a search that finds it\n")
    freshness.run(say, folder, corpus.electronics(), sites, seconds)


def _density(options: Options, folder: Path) -> None:
    say("### Many sites in a process\n")
    density.run(say, folder, corpus.electronics(), 1_000 if options.quick else 10_000)


PARTS: Final[dict[str, Part]] = {
    "peers": _peers, "typos": _typos, "million": _million, "http": _http, "freshness": _freshness,
    "density": _density,
}  # fmt: skip


def main() -> int:
    """Run the parts that are asked for; 0 when all was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description="Search beside its peers, and at scale."
    )
    parser.add_argument("parts", nargs="*", help=" ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a tenth of everything that is many")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of processor time for each turn"
    )
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        print(f"no part {unknown}: {' '.join(PARTS)}", file=sys.stderr)
        return 2
    if options.quick:
        options.rounds, options.seconds = min(options.rounds, 2), min(options.seconds, 1.0)
    say(f"{report.machine()}; load {_load()}\n")
    for name in options.parts or PARTS:
        folder = Path(tempfile.mkdtemp(dir=folder_of_runs()))
        try:
            PARTS[name](options, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        say(f"load after {name}: {_load()}\n")
    return 0


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
