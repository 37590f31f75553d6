"""Migrate: bring a cell's schema up to date, and keep the lock of what is stored."""

import argparse
import asyncio
import sys
from pathlib import Path

import hansa
from hansa.assembly import SERVICES
from hansa.cli.serving import failed, told
from hansa.kernel import contracts as kernel_contracts
from hansa.kernel import migrating
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Problem


def run(options: argparse.Namespace) -> int:
    """Apply what is pending, or with --plan only show it."""
    from hansa.cli.main import place_of

    async def work() -> list[str]:
        storage = place_of(options).storage()
        await storage.open()
        try:
            if options.plan:
                steps = await migrating.plan(storage, SERVICES, until=options.until)
            else:
                steps = await migrating.migrate(storage, SERVICES, until=options.until)
        finally:
            await storage.close()
        return migrating.lines_of(steps, done=not options.plan)

    try:
        print("\n".join(asyncio.run(work())))
    except (Problem, MigrationRefused, MigrationFailed, OSError) as error:
        return failed(told(error))
    return 0


def lock_file() -> Path:
    """Return where the lock of this distribution is."""
    return Path(hansa.__file__).parent / kernel_contracts.LOCK_NAME


def contracts(options: argparse.Namespace) -> int:
    """Compare what services store with the lock; with --update write what may be written."""
    lock = kernel_contracts.read_lock(lock_file())
    current = kernel_contracts.describe(SERVICES)
    breaches = kernel_contracts.compare(lock, current, kernel_contracts.upcasters_of(SERVICES))
    for breach in breaches:
        print(breach, file=sys.stderr)
    if breaches:
        return 1
    updated = kernel_contracts.updated(lock, current)
    if options.update:
        lock_file().write_text(kernel_contracts.to_text(updated), encoding="utf-8")
        print(f"{lock_file().name} is up to date")
    elif kernel_contracts.to_text(updated) != kernel_contracts.to_text(lock):
        print("contracts.lock lacks something new: run `hansa contracts --update`", file=sys.stderr)
        return 1
    return 0
