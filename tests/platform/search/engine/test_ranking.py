"""Which documents a plan finds, and in which order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hansa.platform.search import vocabulary
from hansa.platform.search.curation import Curation, Synonym
from hansa.platform.search.engine.index import Index
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.schema import Field, Schema
from tests.platform.search.relevance import indexed, search_of

SCHEMA = Schema(
    (Field("title", "text", weight=2), Field("text", "text"), Field("more", "json", weight=1)),
    title="title",
)
DOCUMENTS: dict[str, dict[str, Any]] = {
    "laptop": {"title": "Laptop 15 inch", "text": "A light laptop.", "more": {"memory": "16GB"}},
    "notebook": {"title": "Notebook", "text": "It is as light as a laptop."},
    "case": {"title": "Laptop case", "text": "For every laptop."},
    "screen": {"title": "Flatscreen TV", "text": "Bright."},
    "flat": {"title": "Flat screen", "text": "For a desk.", "more": {"bluetooth": True}},
    "screen first": {"title": "Screen protector", "text": "Keeps every screen flat."},
    "mouse": {"title": "Mouse", "text": "Optical.", "more": {"colour": "red"}},
    "red": {"title": "Red mouse", "text": "Optical."},
    "hub": {"title": "USB hub", "text": "Four ports."},
    "café": {"title": "Cafetière", "text": "Pour le café."},
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("ranking") / "index"
    made = indexed(folder, SCHEMA, ({"id": id, **one} for id, one in DOCUMENTS.items()))
    yield made
    made.close()


def found(index: Index, q: str, curation: Curation | None = None, **options: Any) -> list[str]:
    return list(search_of(index, curation or Curation(), **options)(q, 20))


def test_what_has_all_words_comes_before_what_has_any(index: Index) -> None:
    assert found(index, "laptop case")[0] == "case"
    assert set(found(index, "laptop case")) == {"case", "laptop", "notebook"}


def test_the_title_counts_more_than_the_text_and_both_more_than_traits(index: Index) -> None:
    assert found(index, "red") == ["red", "mouse"]
    assert found(index, "notebook laptop")[0] == "notebook"
    assert found(index, "light laptop")[0] == "laptop"


def test_traits_are_found(index: Index) -> None:
    assert found(index, "bluetooth") == ["flat"]
    assert found(index, "laptop 16 gb")[0] == "laptop"
    assert found(index, "laptop 16gb")[0] == "laptop"


def test_one_word_finds_two_and_two_find_one(index: Index) -> None:
    assert set(found(index, "flat screen")) == {"flat", "screen", "screen first"}
    assert found(index, "flatscreen")[0] == "screen"
    # A word that is not known may be two, next to each other.
    assert found(index, "usbhub") == ["hub"]


def test_a_phrase_is_found_word_by_word(index: Index) -> None:
    assert found(index, '"flat screen"') == ["flat"]
    assert found(index, '"screen flat"') == ["screen first"]
    assert found(index, '"laptop" light') == ["laptop", "notebook", "case"]
    assert found(index, '"light red"') == []


def test_what_is_excluded_is_not_found(index: Index) -> None:
    assert found(index, "laptop -case") == ["laptop", "notebook"]
    assert found(index, 'screen -"flat screen"') == ["screen first"]
    assert "case" not in found(index, "-case")
    assert len(found(index, "-case")) == len(DOCUMENTS) - 1


def test_synonyms_of_one_word_and_of_two(index: Index) -> None:
    curation = Curation(synonyms=(Synonym("1", ("notebook", "portable computer")),))
    assert found(index, "portable computer") == []
    assert found(index, "portable computer", curation) == ["notebook"]
    curation = Curation(synonyms=(Synonym("1", ("flat screen", "monitor")),))
    assert set(found(index, "monitor", curation)) == {"flat", "screen first"}


def test_typos_and_accents_and_beginnings(index: Index) -> None:
    assert found(index, "notebok") == ["notebook"]
    assert found(index, "notebok", typo=False) == []
    assert found(index, "cafetiere") == ["café"]
    assert found(index, "note", prefix=True) == ["notebook"]
    assert found(index, "note") == []


def test_a_word_that_is_new_is_guessed_as_soon_as_the_words_have_been_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "REST", 0)
    index = indexed(tmp_path / "index", SCHEMA, [{"id": "1", "title": "Desk"}])
    search = search_of(index)
    assert search("dexk", 10) == ["1"]
    index.write([Change("2", 2, msgspec.json.encode({"id": "2", "title": "Laptop"}))], 2)
    index.commit()
    # This one may still be compared with the words of before. What it finds is not kept.
    search("labtop", 10)
    index._snapshot.words.lexicons.settle()
    assert search("labtop", 10) == ["2"]
    index.close()
