"""Migrate: bring a cell's schema up to date."""

import argparse
import asyncio
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hansa.assembly import Place
from hansa.cli.drift import read_drift
from hansa.cli.serving import failed, told
from hansa.kernel import migrating
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Problem
from hansa.kernel.revisions import RevisionsInvalid
from hansa.project import current, services

NOT_MADE: Final = "The revisions do not make what is declared:"


def run(options: argparse.Namespace) -> int:
    """Apply what is pending, or with --plan only show it."""
    from hansa.cli.main import place_of

    async def work(place: Place) -> list[str]:
        storage = place.storage()
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
        with TemporaryDirectory(prefix="hansa-plan-") as nowhere:
            place = place_of(options)
            if options.plan and (place.database or not (place.folder / "hansa.db").exists()):
                place = replace(place, folder=Path(nowhere))  # who only looks makes no folder
            print("\n".join(asyncio.run(work(place))))
            drift = read_drift(current().own())
    except (Problem, MigrationRefused, MigrationFailed, RevisionsInvalid, OSError) as error:
        return failed(told(error))
    return failed("\n".join([NOT_MADE, *drift])) if drift else 0
