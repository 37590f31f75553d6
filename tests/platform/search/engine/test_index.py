import gc
import random
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansa.platform.search import filters
from hansa.platform.search.engine.index import Index, IndexUnusable
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.engine.retrieval import LEVELS
from hansa.platform.search.schema import Field, Schema
from tests.platform.search.engine.shelf import (
    MUGS,
    PRODUCTS,
    change,
    documents,
    filled,
    ids,
    products,
    search,
)


@pytest.fixture(scope="module")
def shop(electronics: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    index = filled(tmp_path_factory.mktemp("shop"), PRODUCTS, list(products(electronics)))
    yield index
    index.close()


# ---- lifecycle


def test_an_index_is_made_where_there_is_none_and_keeps_what_was_committed(tmp_path: Path) -> None:
    index = Index.open(tmp_path / "a" / "b", MUGS)
    assert (index.checkpoint, index.documents) == (0, 0)
    assert search(index, "mug").found == 0
    index.write([change(1, "a", title="Red mug"), change(2, "b", title="Blue mug")], 2)
    assert (index.checkpoint, search(index, "mug").found) == (0, 0)
    index.commit()
    assert (index.checkpoint, index.documents, search(index, "mug").found) == (2, 2, 2)
    index.write([change(3, "c", title="Green mug")], 3)
    index.close()
    index = Index.open(tmp_path / "a" / "b", MUGS)
    assert (index.checkpoint, index.documents) == (2, 2)
    index.write([Change("b", 4, None)], 4)
    index.rest()
    assert ids(search(index)) == ["a"]
    index.close()


def test_a_change_replaces_and_repeating_changes_is_harmless(tmp_path: Path) -> None:
    changes = [
        change(1, "a", title="Red mug"),
        change(2, "a", title="Blue mug"),
        Change("x", 3, None),
    ]
    index = filled(tmp_path, MUGS, changes)
    for _ in range(3):
        index.write(changes, 3)
    index.commit()
    assert (index.documents, index.checkpoint) == (1, 3)
    assert (search(index, "red").found, search(index, "blue").found) == (0, 1)
    index.close()


def test_a_commit_without_changes_moves_the_checkpoint(tmp_path: Path) -> None:
    index = filled(tmp_path, MUGS, [change(1, "a", title="Red mug")])
    index.write([], 9)
    index.commit()
    index.close()
    index = Index.open(tmp_path, MUGS)
    assert index.checkpoint == 9
    index.close()


def test_an_index_of_another_schema_is_unusable(tmp_path: Path) -> None:
    filled(tmp_path, MUGS, [change(1, "a", title="Red mug")]).close()
    with pytest.raises(IndexUnusable, match="another schema"):
        Index.open(tmp_path, Schema((Field("title", "text", weight=2),), title="title"))


# ---- what is found


def test_documents_with_all_words_come_first_and_few_are_filled_up(tmp_path: Path) -> None:
    mugs = [change(n, f"m{n}", title="Red mug") for n in range(1, 4)]
    cups = [change(n, f"c{n}", title="Red cup red red") for n in range(4, 30)]
    index = filled(tmp_path, MUGS, mugs + cups)
    found = search(index, "red mugs")
    assert found.found == 29
    assert set(ids(found)[:3]) == {"m1", "m2", "m3"}
    assert search(index, "red cups").found == 26
    index.close()


def test_pages_follow_each_other_without_a_gap_or_a_repetition(shop: Index) -> None:
    for q in ("", "hp", "notebook", "black cable", "laptop bag 15"):
        whole = [
            id for page in range(1, 11) for id in ids(search(shop, q, page=page, per_page=100))
        ]
        assert len(set(whole)) == len(whole) == min(search(shop, q).found, 1000)
        small = [id for page in range(1, 15) for id in ids(search(shop, q, page=page, per_page=7))]
        assert small == whole[: len(small)]
        scores = [int(hit.score * LEVELS) for hit in search(shop, q, per_page=100).hits]
        assert scores == sorted(scores, reverse=True) or q == "laptop bag 15"


def test_documents_of_one_score_come_by_popularity_however_they_were_written(
    tmp_path: Path,
) -> None:
    changes = [change(n + 1, f"m{n}", title="Red mug", popularity=n % 7 * 0.25) for n in range(200)]
    answers: list[list[str]] = []
    for number, size in enumerate((200, 13, 50)):
        random.Random(number).shuffle(changes)
        index = Index.open(tmp_path / str(number), MUGS)
        for begin in range(0, 200, size):
            index.write(changes[begin : begin + size], begin)
            index.commit()
        answers.append(ids(search(index, "mug", per_page=30)))
        assert ids(search(index, "", per_page=30)) == answers[-1]
        index.close()
    assert answers[0] == answers[1] == answers[2]
    assert [int(id[1:]) % 7 for id in answers[0]] == sorted(
        (int(id[1:]) % 7 for id in answers[0]), reverse=True
    )


def test_a_filter_and_one_that_is_always_there_both_hold(shop: Index) -> None:
    found = search(shop, "notebook", filter='supplier = "HP" AND price > 5000', per_page=100)
    assert found.found > 5
    assert all(one["supplier"] == "HP" and one["price"] > 5000 for one in documents(found))
    mine = filters.parse("price < 9000")
    both = search(shop, "notebook", filter='supplier = "HP"', always=mine, per_page=100)
    assert 0 < both.found < search(shop, "notebook", filter='supplier = "HP"').found
    assert all(one["supplier"] == "HP" and one["price"] < 9000 for one in documents(both))
    assert search(shop, filter="supplier = Nobody").found == 0


def test_a_body_comes_back_as_it_was_given(tmp_path: Path) -> None:
    body = b'{"id":"a",  "title": "M\\u00fcg \xc3\xa9", "more": {"a.b": [1, 2.50]}}'
    index = filled(tmp_path, MUGS, [Change("a", 1, body)])
    assert bytes(search(index, "mug").hits[0].document) == body
    index.close()


def test_what_is_closed_is_gone_at_once(tmp_path: Path) -> None:
    """Without waiting for Python to look for circles: files, threads and words are held by it."""
    index = Index.open(tmp_path / "mugs", MUGS)
    index.write([change(number, f"m{number}", title="red mug") for number in range(20)], 20)
    index.commit()
    gc.disable()
    try:
        assert ids(search(index, "rde mug"))  # with a typo, so that the words are read
        first = weakref.ref(index._snapshot)
        index.write([change(21, "m21", title="blue mug")], 21)
        index.commit()
        assert ids(search(index, "bule mug"))
        assert first() is None, "that of the commit before"
        second = weakref.ref(index._snapshot)
        index.close()
        del index
        assert second() is None
    finally:
        gc.enable()
