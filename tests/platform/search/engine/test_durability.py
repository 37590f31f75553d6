import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hansa.platform.search.engine import index as engine
from hansa.platform.search.engine.index import Index, IndexUnusable, NotWritten
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.request import Facet, Found
from tests.platform.search.engine.scribe import log, write
from tests.platform.search.engine.shelf import MUGS, PRODUCTS, change, filled, ids, search

ROOT = Path(__file__).parents[4]


def queries(data: Path) -> list[str]:
    with (data / "judgements.csv").open() as rows:
        return sorted({row["query"] for row in csv.DictReader(rows)})


def answers(index: Index, data: Path) -> list[tuple[list[str], list[float], int]]:
    """The top 10 of all judged queries."""
    found: list[Found] = [search(index, q) for q in queries(data)]
    return [(ids(one), [hit.score for hit in one.hits], one.found) for one in found]


def test_killed_again_and_again_it_ends_as_if_nothing_had_been(
    electronics: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.platform.search.engine.scribe"]
    checkpoints = [0]
    for lines in (2, 9, 16, 3):
        with subprocess.Popen(
            [*command, str(tmp_path / "killed"), str(electronics)], cwd=ROOT, stdout=subprocess.PIPE
        ) as scribe:
            assert scribe.stdout is not None
            # It goes on while we read: what it is at when it is killed differs from time to time.
            for _ in range(lines):
                scribe.stdout.readline()
            scribe.kill()
        index = Index.open(tmp_path / "killed", PRODUCTS)
        checkpoints.append(index.checkpoint)
        index.close()
    assert checkpoints == sorted(checkpoints)
    assert checkpoints[-1] > 0
    changes = log(electronics)
    killed = Index.open(tmp_path / "killed", PRODUCTS)
    write(killed, changes)
    smooth = filled(tmp_path / "smooth", PRODUCTS, changes)
    assert killed.documents == smooth.documents == len({one.id for one in changes}) - 128
    for index in (killed, smooth):
        index.compact()
    assert answers(killed, electronics) == answers(smooth, electronics)
    killed.close()
    smooth.close()


def test_which_checkpoint_holds_is_decided_by_the_commit(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    index = filled(folder, MUGS, [change(1, "a", title="Red mug")])
    before = shutil.copytree(folder, tmp_path / "before")
    index.write([change(2, "b", title="Blue mug")], 2)
    index.commit()
    index.close()
    # Killed after state.json was written and before the commit was.
    shutil.copytree(before, tmp_path / "not committed")
    shutil.copy(folder / "state.json", tmp_path / "not committed")
    assert checkpoint_and_documents(tmp_path / "not committed") == (1, 1)
    # The power failed: the commit was on disk and its state.json was not.
    shutil.copytree(folder, tmp_path / "old state")
    shutil.copy(before / "state.json", tmp_path / "old state")
    assert checkpoint_and_documents(tmp_path / "old state") == (1, 2)
    # And the commit before the last, with the newest state.json.
    index = Index.open(folder, MUGS)
    index.write([change(3, "c", title="Green mug")], 3)
    index.commit()
    index.close()
    shutil.copy(folder / "state.json", before)
    with pytest.raises(IndexUnusable, match="its last commit is lost"):
        Index.open(before, MUGS)


def checkpoint_and_documents(folder: Path) -> tuple[int, int]:
    index = Index.open(folder, MUGS)
    found = index.checkpoint, index.documents
    index.close()
    return found


def test_what_is_damaged_is_unusable_and_never_answers(tmp_path: Path) -> None:
    index = filled(
        tmp_path / "whole", MUGS, [change(n, f"m{n}", title="Red mug") for n in range(9)]
    )
    index.write([change(10, "m1", title="Blue mug")], 10)
    index.commit()
    index.close()
    files = [
        file.name
        for file in (tmp_path / "whole").iterdir()
        if not file.name.startswith(".") and file.stat().st_size
    ]
    assert len(files) > 8
    for place, name in enumerate(files):
        for damage in ("gone", "shorter", "other"):
            folder = shutil.copytree(tmp_path / "whole", tmp_path / f"{place}{damage}")
            content = (folder / name).read_bytes()
            (folder / name).unlink()
            if damage == "shorter":
                (folder / name).write_bytes(content[: len(content) // 2])
            elif damage == "other":
                (folder / name).write_bytes(bytes(byte ^ 0x5A for byte in content))
            with pytest.raises(IndexUnusable):
                search(Index.open(folder, MUGS), '"red mug"', facets=(Facet("brand"),))


def test_a_folder_that_something_else_is_in_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(IndexUnusable):
        Index.open(tmp_path, MUGS)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_what_could_not_be_written_is_written_again(tmp_path: Path) -> None:
    index = filled(tmp_path, MUGS, [change(1, "a", title="Red mug")])
    index.rest()
    other = Index.open(tmp_path, MUGS)
    other.write([], 1)
    # One folder has one writer.
    with pytest.raises(NotWritten):
        index.write([change(2, "b", title="Blue mug")], 2)
    index.commit()
    assert (index.checkpoint, search(index, "mug").found) == (1, 1)
    other.close()
    index.write([change(2, "b", title="Blue mug")], 2)
    index.commit()
    assert (index.checkpoint, search(index, "mug").found) == (2, 2)
    index.close()


def test_a_document_that_was_replaced_does_not_come_back_by_a_merge(tmp_path: Path) -> None:
    """tantivy 0.27 gives a commit and the next writer's first deletion one number."""
    for part in range(9):
        # A writer for each segment: when it is closed there is nothing to merge yet.
        index = Index.open(tmp_path, MUGS)
        index.write([change(n, f"{part}.{n}", title="Red mug") for n in range(5)], part)
        # So the last commit deletes from its own segment, too.
        index.write([change(9, f"{part}.1", title="Red mug")], part)
        index.commit()
        index.close()
    index = Index.open(tmp_path, MUGS)
    index.write([change(10, "8.0", title="Blue mug")], 10)
    index.rest()
    assert (index.documents, search(index, "mug").found) == (45, 45)
    index.close()


def test_scores_at_rest_depend_on_the_documents_alone(tmp_path: Path) -> None:
    """Deleted documents count in the engine's statistics until they are compacted away."""
    mugs = [change(n, f"m{n}", title=f"Red mug number{n} " * (n % 4 + 1)) for n in range(60)]
    cups = [change(n, f"c{n}", title="Red cup") for n in range(60, 300)]
    plain = filled(tmp_path / "plain", MUGS, mugs)
    index = filled(tmp_path / "worn", MUGS, [*mugs[30:], *cups])
    index.write([change(n, one.id) for n, one in enumerate(cups, start=300)], 600)
    index.commit()
    index.write([*(type(one)(one.id, 700, None) for one in cups), *mugs[:45]], 800)
    index.commit()
    assert search(index, "red mug").hits[0].score != search(plain, "red mug").hits[0].score
    for one in (index, plain):
        one.rest()
    assert index.checkpoint == 800
    for q in ("red", "red mug", "mug number7", ""):
        found, wanted = search(index, q, per_page=60), search(plain, q, per_page=60)
        assert found.hits == wanted.hits
        assert found.found == wanted.found
    index.close()
    plain.close()


def test_a_large_index_that_comes_to_rest_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However worn it is: it is compacted when nobody waits."""
    mugs = [change(n, f"m{n}", title="Red mug") for n in range(1, 21)]
    index = filled(tmp_path, MUGS, mugs)
    index.write([Change(one.id, 20 + one.change, None) for one in mugs[:10]], 30)
    monkeypatch.setattr(engine, "SMALL", 9)
    index.rest()
    assert (index.documents, index.is_loose) == (10, True)
    monkeypatch.setattr(engine, "SMALL", 10)
    index.rest()
    assert (index.documents, index.is_loose) == (10, False)
    index.close()
