"""Fleet: what a process with very many services costs to start, and what a hello-world one takes.

    python -m benchmarks.fleet [--services 3000] [--profile]

Each of the 3,000 services is written out as a package with a table and the revision that makes it,
two types, an event, a subscriber and four operations (12,000 in all), as a team would write it, in
a temporary folder. `hansa up` makes the cell with all tables, its site and their keys; then `hansa
serve` is measured, which records what happens as it does by default. The CPU is of that process,
from Python's own start to the answer of a first request; the memory is its resident set then.
"""

import argparse
import compileall
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

SERVICES: Final = 3_000
CPU_S_MAX: Final = 5.0
RSS_MB_MAX: Final = 150.0
HELLO_MB_MAX: Final = 60.0
START_S_MAX: Final = 120.0

SERVICE: Final = '''"""Keeps the things of team {number}: none is lost."""

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import PUBLIC
from hansa.kernel.service import Service
from hansa.kernel.structs import Event, Page, PageRequest, Struct

{name} = Service("{name}", owner="team{number}")
things = {name}.table("things", text("title", unique="site"), integer("seen"), prefix="thing")
by_id = select(things).where(things.c.id == param("id"))
everything = select(things)
see = update(things).where(things.c.id == param("id")).values(seen=things.c.seen + 1)


class NewThing(Struct):
    title: str


class Thing(Struct):
    id: ID
    title: str
    seen: int


class ThingMade(Event, aggregate="id"):
    id: ID
    title: str


@{name}.command("POST /things", needs="{name}.things:write", status=201)
async def create_thing(ctx: Context, body: NewThing) -> Thing:
    """Make a thing."""
    thing: Thing = await ctx.db.insert(things, body, into=Thing, seen=0)
    ctx.emit(ThingMade(thing.id, thing.title))
    return thing


@{name}.query("GET /things/{{id}}", needs=PUBLIC)
async def get_thing(ctx: Context, id: ID) -> Thing:
    """Return a thing."""
    return await ctx.db.one(by_id, Thing, id=id)


@{name}.query("GET /things", needs=PUBLIC)
async def list_things(ctx: Context, page: PageRequest) -> Page[Thing]:
    """List the things."""
    found: Page[Thing] = await ctx.db.page(everything, Thing, page, order=(things.c.id,))
    return found


@{name}.query("GET /why", needs=PUBLIC)
async def get_why(ctx: Context) -> str:
    """Return why the service exists."""
    return {name}.why


@{name}.on(ThingMade)
async def look(ctx: Context, event: ThingMade) -> None:
    """See each new thing once."""
    await ctx.db.run(see, id=event.id)
'''

REVISION: Final = '''"""Things."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    """Things."""
    op.create_table(
        "{name}_things",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "id", name="{name}_things_key"),
        sa.UniqueConstraint("site", "title", name="{name}_things_title_unique"),
    )
'''

HELLO: Final = '''"""Says hello, and never anything else."""

from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.service import Service

hello = Service("hello", owner="greeters")


@hello.query("GET /", needs=PUBLIC)
async def greet(ctx: Context) -> str:
    """Say hello."""
    return "hello"
'''


def write_fleet(folder: Path, count: int) -> list[str]:
    """Write the packages of `count` services; return their names."""
    names = [f"fleet{number:05d}" for number in range(count)]
    for number, name in enumerate(names):
        revisions = folder / name / "migrations"
        revisions.mkdir(parents=True)
        (folder / name / "__init__.py").write_text(SERVICE.format(name=name, number=number))
        (revisions / "__init__.py").touch()
        (revisions / "0001_things.py").write_text(REVISION.format(name=name))
    return names


def write_project(folder: Path, modules: list[str]) -> None:
    """Name the services of a project."""
    (folder / "pyproject.toml").write_text(f"[tool.hansa]\nservices = {json.dumps(modules)}\n")
    compileall.compile_dir(folder, quiet=1)


def measure(folder: Path, path: str, profile: str = "", verb: str = "serve") -> tuple[float, float]:
    """Start a verb in a project; return its CPU seconds and megabytes after a first request."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    profiled = ["-m", "cProfile", "-o", profile] if profile else []
    command = [sys.executable, *profiled, "-m", "hansa.cli", verb, "--port", str(port)]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _await_answer(process, f"http://localhost:{port}{path}")
        return _taken(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _await_answer(process: "subprocess.Popen[bytes]", url: str) -> None:
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=START_S_MAX) as answer:
                answer.read()
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{url} never answered")


def _taken(pid: int) -> tuple[float, float]:
    """Return the CPU seconds and the resident megabytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return cpu_s, int(resident.split()[1]) / 1024


def main() -> int:
    """Measure both, and tell whether they are within their goals."""
    parser = argparse.ArgumentParser(description="what many services, and one, cost to start")
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--profile", default="", help="write cProfile's figures of the fleet here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hansa-fleet-") as name:
        hello, fleet = Path(name) / "hello", Path(name) / "fleet"
        hello.mkdir()
        fleet.mkdir()
        (hello / "hello.py").write_text(HELLO)
        write_project(hello, ["hello"])
        write_project(fleet, write_fleet(fleet, options.services))
        for folder, path in ((hello, "/hello"), (fleet, "/fleet00000/why")):
            measure(folder, path, verb="up")  # makes the cell
        rows = [
            ("hello, world", *measure(hello, "/hello"), 0.0, HELLO_MB_MAX),
            (f"{options.services} services", *measure(fleet, "/fleet00000/why", options.profile),
             CPU_S_MAX, RSS_MB_MAX),
        ]  # fmt: skip
    missed = False
    for what, cpu_s, mb, cpu_max, mb_max in rows:
        missed |= (bool(cpu_max) and cpu_s > cpu_max) or mb > mb_max
        goal = f"(goal {f'{cpu_max:.0f} s, ' if cpu_max else ''}{mb_max:.0f} MB)"
        print(f"{what:<16} {cpu_s:6.2f} s CPU  {mb:6.1f} MB  {goal}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
