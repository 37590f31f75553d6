"""Secrets: the master key rotated and what rests sealed sealed anew, or a lost key given up."""

import argparse
import asyncio
import base64
import os
from pathlib import Path
from typing import Final

import apsw
import uvloop

from hansa.assembly import SERVICES, Place
from hansa.cli.serving import check_exists, failed, sure_of, told
from hansa.kernel import proof
from hansa.kernel.problems import Problem
from hansa.kernel.resealing import Done, reseal
from hansa.kernel.sealing import (
    MASTER_KEY_ENV,
    REREAD_S,
    MasterKeyInvalid,
    Sealer,
    key_name_of,
    new_master_key,
    parse_master_keys,
    read_master_keys,
    replace_master_keys,
)

SETTLE_S: Final = 30.0 + 2 * REREAD_S
"""The longest that a value sealed with the old key in another process may take to be committed: its
command's deadline, after the process has seen the new key."""
ROUNDS_MAX: Final = 10


def run(options: argparse.Namespace) -> int:
    """Do what the verb says."""
    from hansa.cli.main import place_of

    if options.verb == "new-key":
        print(new_master_key())
        return 0
    try:
        place = place_of(options)
        check_exists(place)
        if options.verb == "abandon":
            return uvloop.run(abandon(place, sure=options.yes))
        settle_s = options.settle_s
        if settle_s is None:  # nobody else has SQLite's file open
            settle_s = SETTLE_S if place.database else 0.0
        return uvloop.run(rotate(place, os.environ.get(MASTER_KEY_ENV), settle_s))
    except (Problem, apsw.Error, MasterKeyInvalid, OSError) as error:
        return failed(told(error))


async def rotate(place: Place, environment: str | None, settle_s: float) -> int:
    """Put a new master key in front, seal everything with it, and put the older ones away. What was
    stopped in the middle goes on where it was."""
    file = place.master_key
    storage = place.storage()
    await storage.open()
    try:
        await place.sealer(storage)  # which refuses a key that is not the cell's
        if environment:
            masters = parse_master_keys(environment, MASTER_KEY_ENV)
            if len(masters) == 1:
                return failed(
                    f"{MASTER_KEY_ENV} has one key. Put a new one (`hansa secrets new-key`) in"
                    " front of it, with a comma, for every process; then run this again."
                )
        else:
            masters = _front(file)
        if settle_s:
            print(f"waiting {settle_s:g} s for other processes to take the new key up", flush=True)
            await asyncio.sleep(settle_s)
        sealer = Sealer(masters)
        columns = [one for service in SERVICES for one in service.sealed]
        done = Done(0, 0)
        for _ in range(ROUNDS_MAX):
            found = await reseal(storage, sealer, columns)
            done = Done(done.resealed + found.resealed, found.broken)
            if not found.resealed:
                break
        else:
            return failed(
                "Other processes still seal with the old key; restart them, run it again."
            )
    finally:
        await storage.close()
    print(f"{done.resealed} values are sealed with the new key")
    if done.broken:
        return failed(
            f"{done.broken} values open with none of the known keys; the older keys stay. Put the"
            " key that they were sealed with behind the others, and run this again."
        )
    if environment:
        print(f"Every key but the first can leave {MASTER_KEY_ENV} now.")
    else:
        _put_away(file, masters)
    return 0


async def abandon(place: Place, *, sure: bool) -> int:
    """Give a lost key up: the cell goes on with the one that is there, or with a new one."""
    storage = place.storage()
    await storage.open()
    try:
        known = await proof.find(storage)
        try:
            await place.sealer(storage)
        except MasterKeyInvalid as missing:
            if known is None:
                raise
            name = key_name_of(known)
            if not sure and not await sure_of(
                f"{missing}\nWhat it sealed stays closed for good. To go on without, type the name"
                " of the key: ",
                name,
            ):
                return failed("that is not its name; nothing was changed")
        else:
            return failed("The master key of this cell is here: there is nothing to abandon.")
        await proof.forget(storage)
        columns = [one for service in SERVICES for one in service.sealed]
        done = await reseal(storage, await place.sealer(storage), columns)
    finally:
        await storage.close()
    print(f"The cell goes on without the master key {name}. {done.broken} values stay closed: give")
    print("the settings and webhooks their secrets again. Keep a copy of the key that it has now.")
    return 0


def _front(file: Path) -> list[bytes]:
    """Put a new key in front of that in the file; of several, a rotation has begun already."""
    masters = read_master_keys(file)
    if len(masters) == 1:
        masters = [base64.b64decode(new_master_key()), *masters]
        replace_master_keys(file, masters)
    return masters


def _put_away(file: Path, masters: list[bytes]) -> None:
    """Keep only the current key in the file, and the older ones in one that no process reads."""
    kept = file.with_name(f"{file.name}.old")
    before = read_master_keys(kept) if kept.exists() else []
    older = [one for one in masters[1:] if one not in before]
    replace_master_keys(kept, [*older, *before])
    replace_master_keys(file, masters[:1])
    print(f"The older key is in {kept}: keep it with the backups from before, or delete it.")
