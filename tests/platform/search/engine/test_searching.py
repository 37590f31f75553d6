import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.kernel.problems import Unprocessable
from hansa.platform.search.curation import Boost, Curation, Pin, Rule, Synonym
from hansa.platform.search.engine.index import Index
from hansa.platform.search.plan import plan
from hansa.platform.search.request import Facet, Range
from tests.platform.search.engine.shelf import MUGS, change, documents, filled, ids, search


def rows() -> list[dict[str, Any]]:
    """Mugs with many ties, some without a price, a brand or a date."""
    return [
        {
            "title": f"{['Red', 'blue', 'Green'][n % 3]} mug",
            "text": "A mug to drink from, out of stoneware" if n % 2 else "Cup",
            "brand": f"b{n % 4}" if n % 5 else None,
            "price": n % 6 * 10 if n % 7 else None,
            "weight": n % 3 / 2,
            "since": f"2024-01-0{n % 4 + 1}T00:00:00Z" if n % 9 else None,
            "more": {"shape": f"s{n % 3}", "box": {"depth": n % 2}},
        }
        for n in range(90)
    ]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    index = Index.open(tmp_path_factory.mktemp("shelf"), MUGS)
    for begin in range(0, 90, 40):
        mugs = enumerate(rows()[begin : begin + 40], start=begin)
        index.write([change(n, f"m{n}", popularity=n % 2, **one) for n, one in mugs], begin)
        index.commit()
    yield index
    index.close()


# ---- sorting


KEYS = ("price", "-price", "brand", "-brand", "title", "-weight", "since", "-since")


def comparable(document: dict[str, Any], key: str) -> tuple[bool, Any]:
    value = document.get(key.removeprefix("-"))
    return (value is None, value.casefold() if isinstance(value, str) else value)


def test_texts_are_sorted_as_in_a_dictionary(tmp_path: Path) -> None:
    titles = ["Äpfel", "apfelwein", "Birne", "Ofen", "öl", "Straße", "strasse 2", "Zebra"]
    index = filled(
        tmp_path, MUGS,
        [change(n, f"m{n}", title=title) for n, title in enumerate(reversed(titles), 1)],
    )  # fmt: skip
    found = [one["title"] for one in documents(search(index, sort=("title",)))]
    assert found == titles
    index.close()


def is_sorted(docs: list[dict[str, Any]], keys: list[str]) -> bool:
    """Whether documents are in the order of the keys, those without a value last."""
    if not keys:
        return True
    key, *more = keys
    groups: list[tuple[tuple[bool, Any], list[dict[str, Any]]]] = []
    for one in docs:
        value = comparable(one, key)
        if not groups or groups[-1][0] != value:
            groups.append((value, []))
        groups[-1][1].append(one)
    there = [value for (missing, value), _ in groups if not missing]
    wanted = sorted(set(there), reverse=key.startswith("-"))
    missing_last = [missing for (missing, _), _ in groups]
    return (
        there == wanted
        and missing_last == sorted(missing_last)
        and all(is_sorted(group, more) for _, group in groups)
    )


@settings(max_examples=60, deadline=None)
@given(
    keys=st.lists(st.sampled_from(KEYS), max_size=3, unique_by=lambda key: key.removeprefix("-")),
    q=st.sampled_from(["", "mug", "drink", "red mug"]),
    per_page=st.integers(1, 20),
)
def test_pages_are_sorted_by_all_keys(shelf: Index, keys: list[str], q: str, per_page: int) -> None:
    whole = documents(search(shelf, q, sort=tuple(keys), per_page=100))
    assert len(whole) == search(shelf, q, sort=tuple(keys)).found
    assert is_sorted(whole, keys)
    pages = [
        id
        for page in range(1, len(whole) // per_page + 2)
        for id in ids(search(shelf, q, sort=tuple(keys), page=page, per_page=per_page))
    ]
    assert pages == [one["id"] for one in whole]


def test_sorted_are_those_with_all_words_or_else_with_any(shelf: Index) -> None:
    assert search(shelf, "red stoneware", sort=("price",)).found == 15
    assert search(shelf, "red unicorn", sort=("price",), typo=False).found == 30


# ---- one of each, chosen fields


def test_one_of_each_value_and_all_without_one(shelf: Index) -> None:
    found = documents(search(shelf, "mug", distinct="brand", per_page=100))
    brands = [one["brand"] for one in found]
    assert sorted(set(filter(None, brands))) == sorted(filter(None, brands))
    assert brands.count(None) == 18
    # The first of each in the order that all have.
    whole = documents(search(shelf, "mug", per_page=100))
    assert [one["id"] for one in found] == [
        one["id"]
        for place, one in enumerate(whole)
        if one["brand"] is None or one["brand"] not in [x["brand"] for x in whole[:place]]
    ]
    shapes = documents(search(shelf, distinct="more.shape", sort=("-price",)))
    assert len(shapes) == 3
    assert ids(search(shelf, "mug", distinct="brand", page=2, per_page=9)) == [
        one["id"] for one in found[9:18]
    ]


def test_one_of_each_value_on_a_page_of_none(shelf: Index) -> None:
    found = search(shelf, "mug", distinct="brand", per_page=0, facets=(Facet("brand"),))
    assert found.found == 90 and not found.hits and found.facets


@pytest.mark.parametrize("per_page", [1, 2, 5, 100])
def test_pins_among_one_of_each_value(shelf: Index, per_page: int) -> None:
    pins = (Pin("m7", 2), Pin("m8", 40), Pin("m9", 60))
    rule = curated(Rule("r", q="mug", pin=pins))
    seen: list[str] = []
    for page in range(1, 60):
        found = search(shelf, "mug", distinct="brand", per_page=per_page, page=page, curation=rule)
        seen += ids(found)
        if not found.hits:
            break
    assert seen[1] == "m7" and len(set(seen)) == len(seen)
    assert {"m8", "m9"} < set(seen), "where fewer are found, they come last"
    brands = [rows()[int(id[1:])]["brand"] for id in seen if id not in ("m7", "m8", "m9")]
    assert len([one for one in brands if one]) == len({one for one in brands if one})


def test_chosen_fields_come_with_the_id(shelf: Index) -> None:
    found = search(shelf, "mug", fields=("price", "more.box.depth", "text"), per_page=1)
    (one,) = documents(found)
    assert set(one) == {"id", "price", "more", "text"} - (
        {"price"} if "price" not in one else set()
    )
    assert set(one["more"]) == {"box"}


# ---- marked words


def test_found_words_are_marked_and_all_else_is_escaped(tmp_path: Path) -> None:
    text = 'Mugs & <b>"bowls"</b> for a mug-lover. ' + "Nothing here. " * 30 + "Red mugs, red."
    index = filled(tmp_path, MUGS, [change(1, "a", title="The <Mug>", text=text, brand="Mug")])
    found = search(index, "mug", highlight=("title", "text", "brand"))
    marked = found.hits[0].highlights
    assert marked["title"] == "The &lt;<mark>Mug</mark>&gt;"
    assert marked["brand"] == "<mark>Mug</mark>"
    assert marked["text"].startswith("<mark>Mugs</mark> &amp; &lt;b&gt;&quot;bowls&quot;&lt;/b&gt;")
    assert search(index, "", highlight=("title",)).hits[0].highlights == {}
    both = search(index, "red mugs", highlight=("text", "title")).hits[0].highlights
    assert both["text"].startswith("…")
    assert both["text"].endswith("<mark>Red</mark> <mark>mugs</mark>, <mark>red</mark>.")
    index.close()


def test_what_a_typo_or_a_synonym_found_is_marked(shelf: Index) -> None:
    found = search(shelf, "stonewear", highlight=("text", "title"))
    assert "<mark>stoneware</mark>" in found.hits[0].highlights["text"]
    assert found.corrected == {"stonewear": ("stoneware",)}
    curation = Curation(synonyms=(Synonym("s", ("beaker", "mug")),))
    found = search(shelf, "beaker", highlight=("title",), curation=curation)
    assert found.hits[0].highlights["title"].endswith("<mark>mug</mark>")


# ---- rules


def curated(*rules: Rule) -> Curation:
    return Curation(rules=rules)


def test_pins_stand_where_they_are_put_and_hidden_ones_nowhere(shelf: Index) -> None:
    plain = search(shelf, "red mug", per_page=100, facets=(Facet("brand"),))
    order = ids(plain)
    pins = (Pin(order[20], 1), Pin("m1", 4), Pin("nobody", 2))
    rule = Rule("r", q="red mug", pin=pins, hide=(order[0],))
    found = search(shelf, "mugs red", per_page=100, curation=curated(rule))
    assert ids(found) == ids(plain), "another search"
    found = search(
        shelf, "red mugs", per_page=100, curation=curated(rule), facets=(Facet("brand"),)
    )
    rest = [id for id in order if id not in (order[0], order[20], "m1")]
    assert ids(found) == [order[20], *rest[:2], "m1", *rest[2:]]
    assert [hit.pinned for hit in found.hits[:5]] == [True, False, False, True, False]
    assert found.found == len(order) == plain.found
    for per_page in (1, 3, 4):
        pages = [
            id
            for page in range(1, 9)
            for id in ids(
                search(shelf, "red mug", page=page, per_page=per_page, curation=curated(rule))
            )
        ]
        assert pages == ids(found)[: len(pages)]
    # What is pinned is counted; what a filter hides is not pinned.
    brands = {one.value: one.count for one in found.facets[0].values}
    assert sum(brands.values()) == sum(one["brand"] is not None for one in documents(found))
    narrow = search(shelf, "red mug", filter='brand = "b2"', per_page=100, curation=curated(rule))
    assert {one["brand"] for one in documents(narrow)} == {"b2"}
    ruled_out = search(shelf, "red mug", curation=curated(rule), rules=False, per_page=100)
    assert ids(ruled_out) == order


def test_boosts_count_more_with_words_and_without(shelf: Index) -> None:
    boost = Rule("r", "always", boost=(Boost('brand = "b3"', 50.0), Boost("price >= 30", 0.1)))
    for q in ("mug", ""):
        found = documents(search(shelf, q, per_page=100, curation=curated(boost)))
        assert len(found) == search(shelf, q).found
        worth = [
            (50 if one["brand"] == "b3" else 1) * (0.1 if (one["price"] or 0) >= 30 else 1)
            for one in found
        ]
        assert worth == sorted(worth, reverse=True)


def test_a_rule_searches_for_other_words_within_a_filter(shelf: Index) -> None:
    rule = Rule("r", "contains", q="beaker", instead="green mug", filter='brand = "b1"')
    found = search(shelf, "my beaker", per_page=100, curation=curated(rule), explain=True)
    assert {(one["brand"]) for one in documents(found)} == {"b1"}
    assert found.hits[0].why is not None
    assert found.hits[0].why["rules"] == ["r"]


def test_learned_places_move_hits_by_three_at_most(shelf: Index) -> None:
    order = ids(search(shelf, "mug", per_page=100))
    learned = {order[6]: 9.0, order[0]: -1.0}
    moved = ids(search(shelf, "mug", per_page=100, learned=learned))
    assert moved[3] == order[6]
    assert moved[:2] == [order[1], order[0]]
    pages = [
        id
        for page in range(1, 8)
        for id in ids(search(shelf, "mug", page=page, per_page=3, learned=learned))
    ]
    assert pages == moved[:21]
    assert ids(search(shelf, "mug", sort=("price",), learned=learned)) == ids(
        search(shelf, "mug", sort=("price",))
    )


def test_why_a_hit_is_where_it_is(shelf: Index) -> None:
    found = search(shelf, "red stoneware", explain=True, per_page=100)
    first, last = found.hits[0], found.hits[-1]
    assert first.why is not None
    assert last.why is not None
    assert (first.why["tier"], first.why["popularity"]) == ("all words", 1.0)
    words = first.why["words"]
    assert isinstance(words, dict)
    assert sorted(words) == ["red", "stonewar"]
    assert sum(words.values()) == pytest.approx(first.score, rel=1e-4)
    assert search(shelf, "red stoneware").hits[0].why is None
    assert search(shelf, "", explain=True).hits[0].why["tier"] == "everything"  # type: ignore[index]


# ---- refusals


@pytest.mark.parametrize(
    ("request_", "pointer", "says"),
    [
        ({"sort": ("prize",)}, "/sort/0", "did you mean price?"),
        ({"sort": ("price", "-sizes")}, "/sort/1", "declare it with `sort`"),
        ({"sort": ("more.shape",)}, "/sort/0", "cannot be sorted by"),
        ({"facets": (Facet("title"),)}, "/facets/0/field", "is no facet"),
        ({"facets": (Facet("more"),)}, "/facets/0/field", "name a member"),
        ({"facets": (Facet("brand"), Facet("colour"))}, "/facets/1/field", "there is no field"),
        ({"facets": (Facet("brand.x"),)}, "/facets/0/field", "has no member"),
        ({"facets": (Facet("brand", ranges=(Range(1, 2),)),)}, "/facets/0/ranges", "without order"),
        ({"facets": (Facet("price", ranges=(Range(3, 2),)),)}, "/facets/0/ranges/0", "begins"),
        ({"facets": (Facet("price", ranges=(Range(1.5),)),)}, "/facets/0/ranges/0", "whole"),
        ({"facets": (Facet("since", ranges=(Range("soon"),)),)}, "/facets/0/ranges/0", "no date"),
        ({"facets": (Facet("since", ranges=(Range(7),)),)}, "/facets/0/ranges/0", "a date in"),
        ({"highlight": ("price",)}, "/highlight/0", "no words"),
        ({"distinct": "text"}, "/distinct", "text field"),
        ({"fields": ("nothing",)}, "/fields/0", "there is no field"),
        ({"page": 11, "per_page": 100}, "/page", "1000th hit"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(
    shelf: Index, request_: dict[str, Any], pointer: str, says: str
) -> None:
    with pytest.raises(Unprocessable) as refused:
        search(shelf, "mug", **request_)
    assert refused.value.slug == "invalid-search"
    assert refused.value.errors[0].pointer == pointer
    assert says in refused.value.errors[0].detail


def test_a_filter_that_is_wrong_says_where(shelf: Index) -> None:
    with pytest.raises(Unprocessable) as refused:
        search(shelf, "mug", filter='brand = "b1" AND prize < 3')
    assert refused.value.slug == "invalid-filter"
    assert refused.value.more["position"] == 17


@settings(max_examples=80, deadline=None)
@given(q=st.text(max_size=40), prefix=st.booleans())
def test_any_words_can_be_searched_for(shelf: Index, q: str, prefix: bool) -> None:
    found = search(shelf, q, prefix=prefix, highlight=("title", "text"), facets=(Facet("brand"),))
    assert len(found.hits) <= found.found
    for hit in found.hits:
        for marked in hit.highlights.values():
            assert "<" not in marked.replace("<mark>", "").replace("</mark>", "")


def test_a_word_is_known_by_any_form_of_it_in_any_field(tmp_path: Path) -> None:
    index = filled(
        tmp_path, MUGS,
        [change(1, "a", title="x", text="houses"), change(2, "b", title="horse")],
    )  # fmt: skip
    found = search(index, "house")
    assert (ids(found), found.corrected) == (["a"], {})
    assert search(index, "hpuses").corrected == {"hpuses": ("houses",)}
    index.close()


def test_where_nothing_is_found_no_word_stands_for_another(shelf: Index) -> None:
    assert search(shelf, '"stonewear mug"').corrected == {}
    assert search(shelf, "stonewear mug").corrected == {"stonewear": ("stoneware",)}


# ---- many at once


def test_threads_search_while_one_writes(tmp_path: Path) -> None:
    """Each answer is of one commit: so many documents, all of them with its number."""
    index = Index.open(tmp_path, MUGS)
    wrong: list[object] = []
    done = threading.Event()

    def write(version: int) -> None:
        index.write(
            [change(version, f"m{n}", title=f"Red mug v{version}") for n in range(20)], version
        )
        index.commit()

    def read() -> None:
        while not done.is_set():
            found = search(index, "red mug", per_page=20, facets=(Facet("brand"),))
            titles = {one["title"] for one in documents(found)}
            if found.found != 20 or len(titles) != 1:
                wrong.append((found.found, titles))

    write(1)
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, 8):
        write(version)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    index.rest()
    assert {one["title"] for one in documents(search(index, "mug"))} == {"Red mug v7"}
    index.close()


def test_suggestions_begin_as_typed_and_find_something(shelf: Index) -> None:
    assert shelf.suggest("red m", 3) == ["red mug"]
    assert shelf.suggest("st", 3) == ["stoneware"]
    assert shelf.suggest("blue gre", 3) == []
    assert shelf.suggest("", 3) == shelf.suggest("red ", 3) == []


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize(
    "q",
    ["mug", "red mug", "stonewear mug", "redmug", '"red mug" cup', "mug -red", "-red", "b1 s2",
     "beaker", "red unicorn", "dri", "blue stoneware drink"],
)  # fmt: skip
def test_what_finds_without_scores_finds_the_same(shelf: Index, q: str, prefix: bool) -> None:
    """Facets are counted by queries that score nothing: they are to count what is found."""
    snapshot = shelf._snapshot
    curation = Curation(synonyms=(Synonym("s", ("beaker", "mug", "drinking cup")),))
    thesaurus = snapshot.words.curated(curation).thesaurus
    planned = plan(q, snapshot.words.analyzer, snapshot.vocabulary, thesaurus, prefix=prefix)
    ranking = snapshot.ranking
    for scoring, finding in (
        (ranking.all_words, ranking.finding_all_words),
        (ranking.any_word, ranking.finding_any_word),
    ):
        hits = [
            {(at.segment_ord, at.doc) for _, at in snapshot.searcher.search(query, 100).hits}
            for query in (scoring(planned), finding(planned))
        ]
        assert hits[0] == hits[1]
