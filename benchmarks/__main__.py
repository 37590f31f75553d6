"""``python -m benchmarks [names…] [--rounds N] [--seconds S] [--engine sqlite|postgres]``."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import msgspec

from benchmarks import inside, meter, report
from benchmarks.installing import HERE, PeerMissing
from benchmarks.race import Plan, race
from benchmarks.target import NAMES, Engine, Target, TargetFailed, make_target
from benchmarks.workload import make_seed, write_seed
from hansa.testing.postgres import Cluster, PostgresMissing

WITHOUT_DISK = ("tmpfs", "ramfs")


def main() -> int:
    """Run what the arguments ask for; 0 when all was measured, 1 when something was wrong."""
    options = _options()
    names: list[str] = options.names
    if names and names[0] == "inside":
        return inside.main(names[1:], options.json)
    engine = cast(Engine, options.engine)
    unknown = [name for name in names if name not in NAMES[engine]]
    if unknown:
        print(f"no target {unknown} on {engine}: {', '.join(NAMES[engine])}", file=sys.stderr)
        return 2
    server_cpu, client_cpu = _cores()
    plan = Plan(options.rounds, options.seconds, options.connections, server_cpu, client_cpu)
    with ExitStack() as stack:
        folder = _folder(stack, options.folder)
        try:
            found = _run(stack, folder, engine, names or list(NAMES[engine]), plan)
        except (TargetFailed, PostgresMissing) as error:
            print(f"failed: {error}", file=sys.stderr)
            return 1
    print(report.table(found))
    if options.json:
        Path(options.json).write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Hansa beside its peers, in one run."
    )
    parser.add_argument(
        "names", nargs="*", help="hansa tuned usual fastify; or 'inside' and what of it"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each burst")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--json", help="where to write all figures")
    parser.add_argument("--folder", help="for the databases; must be on a real disk")
    return parser.parse_args()


def _cores() -> tuple[int, int]:
    """Return the server's and the client's core; with a single one they share it."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("one core only: the client takes time from the server", file=sys.stderr)
    return cores[0], cores[-1]


def _folder(stack: ExitStack, wanted: str | None) -> Path:
    parent = Path(wanted) if wanted else HERE / ".run"
    parent.mkdir(parents=True, exist_ok=True)
    kind = _file_system(parent)
    if kind in WITHOUT_DISK:
        print(f"{parent} is on {kind}: nothing there is durable, use --folder", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(dir=parent))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file_system(path: Path) -> str:
    """Return the kind of file system a path is on, as in proc(5) mounts; the longest mount wins."""
    found = ("", "unknown")
    resolved = path.resolve()
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind = line.split()[:3]
        if resolved.is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    return found[1]


def _run(
    stack: ExitStack, folder: Path, engine: Engine, names: list[str], plan: Plan
) -> report.Results:
    seed = make_seed()
    write_seed(seed, folder / "seed.json")
    cluster = None
    if engine == "postgres":
        cluster = stack.enter_context(Cluster(durable=True))
        meter.pin(meter.tree(cluster.pid), plan.server_cpu)
    targets: list[Target] = []
    missing: dict[str, str] = {}
    for name in names:
        dsns = asyncio.run(cluster.database(f"bench_{name}")) if cluster else None
        try:
            targets.append(make_target(name, engine, seed, folder, dsns))
        except PeerMissing as error:
            missing[name] = str(error)
            print(f"not run: {name}: {error}", file=sys.stderr)
    before = os.getloadavg()
    samples = race(targets, plan, cluster.pid if cluster else None)
    return report.results(engine, plan, samples, missing, before)


if __name__ == "__main__":
    sys.exit(main())
