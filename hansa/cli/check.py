"""Check: compare the project with its last release, and record a new one."""

import argparse
import sys
from collections.abc import Iterator

from hansa import project
from hansa.cli.drift import read_drift
from hansa.cli.migrate import NOT_MADE
from hansa.cli.serving import failed
from hansa.kernel import contracts
from hansa.kernel.contracts import Lock
from hansa.kernel.revisions import RevisionsInvalid


def run(options: argparse.Namespace) -> int:
    """Tell what this code would break of the last release; with --accept make it the last one."""
    here = project.current()
    file = here.lock_file()
    services = here.own()
    try:
        lock = contracts.forgotten(contracts.read_lock(file), options.forget)
        current = contracts.describe(services)
    except (ValueError, TypeError, RevisionsInvalid) as error:
        return failed(str(error))
    breaches = contracts.compare(lock, current, contracts.upcasters_of(services))
    if breaches:
        print("\n\n".join(str(one) for one in breaches), file=sys.stderr)
        return failed(f"{len(breaches)} breaking change{'s'[: len(breaches) - 1]}; see above.")
    if drift := read_drift(services):
        return failed("\n".join([NOT_MADE, *drift]))
    text = contracts.to_text(contracts.updated(lock, current))
    if options.accept:
        file.write_text(text, encoding="utf-8")
        print(f"{file.name} has this release: {_counts(current)}")
        return 0
    for line in _news(lock, current):
        print(line)
    if here.modules is None:
        print(
            "No pyproject.toml with [tool.hansa] here or above: this is about Hansa's own services."
        )
    if file.exists():
        print(f"Nothing is broken: {_counts(current)}.")
    else:
        print(f"There is no {file.name} to compare with: `hansa check --accept` makes it, with"
              f" {_counts(current)}.")  # fmt: skip
    return 0


def _counts(lock: Lock) -> str:
    return f"{len(lock.operations)} operations, {len(lock.contracts)} stored things"


def _news(lock: Lock, current: Lock) -> Iterator[str]:
    """Tell what is new since the last release."""
    pairs = (
        (lock.contracts, current.contracts, "stored"),
        (lock.operations, current.operations, "operation"),
    )
    for old, new, kind in pairs:
        for name in sorted(new):
            if name not in old:
                yield f"new {kind}: {name}"
            elif new[name] != old[name] and (kind == "operation" or _differs(lock, current, name)):
                yield f"changed {kind}: {name}"
    for name in sorted(current.revisions.keys() - lock.revisions.keys()):
        yield f"new revision: {name}"


def _differs(lock: Lock, current: Lock, name: str) -> bool:
    now = current.contracts[name]
    return bool(lock.contracts[name].shapes.get(now.version) != now.shapes[now.version])
