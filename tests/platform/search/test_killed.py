"""A process that indexes is killed at any point, and goes on as if nothing had been: the index that
it ends with finds the same as one that was built at once. `HANSA_SEARCH_KILLS=100` kills so often,
with more documents."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from hansa.platform.search.engine.index import Index
from hansa.platform.search.engine.layout import Change
from tests.platform.search.indexer import BATCH, EVERY, SCHEMAS, Answers, answers, log

ROOT: Final = Path(__file__).parents[3]
KILLS: Final = int(os.environ.get("HANSA_SEARCH_KILLS") or "5")
PRODUCTS: Final = 500 if KILLS <= 10 else 8_000
STEPS: Final = ("rebuild", "commit", "portion", "rest", "write")
LINES_MAX: Final = 400
"""After so many lines it is killed even if the step that was waited for did not come."""


def started(folder: Path, data: Path) -> "subprocess.Popen[str]":
    indexer = [sys.executable, "-m", "tests.platform.search.indexer"]
    command = [*indexer, str(folder), str(data), str(PRODUCTS)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def killed(folder: Path, data: Path, step: str, chance: random.Random) -> str:
    """Run it until it says a step, for the so-maniest time; then kill it a moment later, which may
    be before, in or after what the step does. Return what it said last."""
    times, last = chance.randrange(1, 4), ""
    with started(folder, data) as process:
        assert process.stdout is not None
        for _ in range(LINES_MAX):
            line = process.stdout.readline()
            if not line or line.startswith("answers"):
                break
            last = line.strip()
            times -= last == step
            if times == 0:
                break
        spin = chance.randrange(200_000)
        while spin:
            spin -= 1
        process.kill()
    return last


def built_at_once(folder: Path, data: Path) -> Answers:
    """What an index finds that was made of the documents as they are in the end."""
    changes = log(data, PRODUCTS)
    kept = {id: body for id, body in changes if body is not None}
    for id, body in dict(changes).items():
        if body is None:
            del kept[id]
    steps = (len(changes) - 1) // BATCH
    index = Index.open(folder, SCHEMAS[steps // EVERY % 2])
    index.write([Change(id, number, body) for number, (id, body) in enumerate(kept.items())], 1)
    index.compact()
    found = answers(index, data)
    index.close()
    return found


def test_killed_at_any_point_it_ends_as_if_nothing_had_been(
    electronics: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("HANSA_SEED") or random.randrange(2**31))
    chance = random.Random(seed)
    folder = tmp_path / "cell"
    folder.mkdir()
    done: list[str] = []
    for number in range(KILLS):
        step = STEPS[number % len(STEPS)]
        done.append(killed(folder, electronics, step, chance))
    at = int((folder / "done").read_text()) if (folder / "done").exists() else 0
    with started(folder, electronics) as process:
        said, _ = process.communicate(timeout=600)
    line = next((one for one in said.splitlines() if one.startswith("answers ")), "")
    assert line, f"seed {seed}: it did not come to its end: {said[-500:]}"
    ended = msgspec.json.decode(line.removeprefix("answers "), type=Answers)
    whole = built_at_once(tmp_path / "whole", electronics)
    record_property("told", f"{KILLS} kills at {json.dumps(done)}, {at} changes before the last"
                            f" start, seed {seed}")  # fmt: skip
    assert ended.documents == whole.documents
    assert ended.found == whole.found, f"seed {seed}"
