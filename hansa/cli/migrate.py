"""Migrate: bring a cell's schema up to date."""

import argparse
import asyncio

from hansa.cli.serving import failed, told
from hansa.kernel import migrating
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Problem
from hansa.project import services


def run(options: argparse.Namespace) -> int:
    """Apply what is pending, or with --plan only show it."""
    from hansa.cli.main import place_of

    async def work() -> list[str]:
        storage = place_of(options).storage()
        await storage.open()
        try:
            if options.plan:
                steps = await migrating.plan(storage, services(), until=options.until)
            else:
                steps = await migrating.migrate(storage, services(), until=options.until)
        finally:
            await storage.close()
        return migrating.lines_of(steps, done=not options.plan)

    try:
        print("\n".join(asyncio.run(work())))
    except (Problem, MigrationRefused, MigrationFailed, OSError) as error:
        return failed(told(error))
    return 0
