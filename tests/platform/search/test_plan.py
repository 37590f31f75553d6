"""What a search looks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.platform.search.analysis import analyzer
from hansa.platform.search.curation import Curation, Synonym
from hansa.platform.search.plan import JOINED, PARTED, SYNONYM, UNFINISHED, Alternative, Plan, plan
from hansa.platform.search.request import Q_LETTERS_MAX, WORDS_MAX
from hansa.platform.search.synonyms import Thesaurus
from hansa.platform.search.vocabulary import Vocabulary
from tests.platform.search.words import vocabulary

ENGLISH = analyzer("en")
WORDS = "red blue laptop laptops case usb hub the boys what is flat screen tv lcd television 8 gb"


def planned(
    q: str,
    words: Vocabulary | None = None,
    curation: Curation | None = None,
    *,
    typo: bool = True,
    prefix: bool = False,
) -> Plan:
    thesaurus = Thesaurus(curation or Curation(), ENGLISH)
    known = words or vocabulary(WORDS)
    return plan(q, ENGLISH, known, thesaurus, typo=typo, prefix=prefix)


def shown(made: Plan) -> list[list[str]]:
    """Each slot's alternatives, as ``usb+hub*0.8``, with quotes where words are together."""
    return [[_shown(one) for one in slot.alternatives] for slot in made.slots]


def _shown(one: Alternative) -> str:
    words = f'"{" ".join(one.terms)}"' if one.together else "+".join(one.terms)
    return words if one.weight == 1.0 else f"{words}*{one.weight:.2g}"


@pytest.mark.parametrize(
    ("q", "slots"),
    [
        ("red Laptops", [["red"], ["laptop"]]),
        ("", []),
        ("  -  !", []),
        ("laptop laptops", [["laptop"]]),
        ("the laptop", [["laptop"]]),
        ("what is the", [["what"], ["is"], ["the"]]),
        ("the boys", [["boy"]]),
        ('17" laptop', [["17"], ["laptop"]]),
    ],
)
def test_words_are_slots_and_those_that_say_little_are_left_out(
    q: str, slots: list[list[str]]
) -> None:
    assert shown(planned(q)) == slots


# ---- the same, written in another way


def test_two_words_that_are_also_written_as_one() -> None:
    words = vocabulary("flat screen flatscreen tv")
    assert shown(planned("flat screen tv", words)) == [
        ["flat+screen", f"flatscreen*{JOINED}"],
        ["tv"],
    ]


def test_an_unknown_word_that_is_two() -> None:
    made = planned("laptopcase")
    assert shown(made) == [["laptopcas", '"laptop case"*0.5']]
    assert made.corrected == {"laptopcase": ("laptop case",)}


def test_a_word_that_is_mostly_written_as_two() -> None:
    words = vocabulary({"8gb": 10, "8": 90, "gb": 41, "1tb": 10, "1": 90, "tb": 40})
    assert shown(planned("8gb", words)) == [["8gb", f'"8 gb"*{PARTED}']]
    assert shown(planned("1tb", words)) == [["1tb"]]
    assert shown(planned("8 gb", words)) == [["8+gb", f"8gb*{JOINED}"]]


# ---- typos


def test_what_an_unknown_word_stands_for_is_told() -> None:
    made = planned("red labtop")
    assert shown(made) == [["red"], ["labtop", "laptop"]]
    assert made.corrected == {"labtop": ("laptop",)}


def test_known_words_are_not_corrected_and_nothing_is_where_typos_are_off() -> None:
    assert planned("case").corrected == {}
    assert shown(planned("labtop", typo=False)) == [["labtop"]]
    assert planned("labtop", typo=False).corrected == {}


def test_a_form_of_a_word_that_titles_have_is_no_typo() -> None:
    words = vocabulary({"lens": 9}, {"mens": 3})
    assert shown(planned("mens", words)) == [["men"]]


def test_missing_accents_are_no_typo() -> None:
    made = planned("cafetiere", vocabulary("cafetière"), typo=False)
    assert [one.terms for one in made.slots[0].alternatives] == [("cafetier",)]
    assert made.corrected == {}


# ---- the last word


def test_the_last_word_may_be_a_beginning() -> None:
    words = vocabulary({"red": 9, "laptop": 90, "lap": 9, "lamp": 40})
    assert shown(planned("red lap", words, prefix=True))[1] == [f"lap*{UNFINISHED}", "laptop"]
    assert shown(planned("red la", words, prefix=True))[1] == [
        f"la*{UNFINISHED}",
        "laptop",
        "lamp*0.67",
        "lap*0.32",
    ]


def test_a_word_that_is_frequent_by_itself_counts_as_typed() -> None:
    words = vocabulary({"head": 90, "headset": 10})
    assert shown(planned("head", words, prefix=True)) == [["head", "headset*0.33"]]


@pytest.mark.parametrize("q", ["lap ", "lap,", '"lap"'])
def test_a_word_with_something_after_it_is_whole(q: str) -> None:
    assert shown(planned(q, vocabulary("lap laptop"), prefix=True)) == [["lap"]]


@pytest.mark.parametrize("q", ["labtop", "labt", "alpto", "lapptop"])
def test_a_typo_in_a_beginning_that_nothing_has(q: str) -> None:
    made = planned(q, vocabulary("laptop case"), prefix=True)
    assert shown(made)[0][1:] == ([] if q == "alpto" else ["laptop"])
    assert bool(made.corrected) == (q != "alpto")


def test_the_last_word_is_no_stop_word_while_it_is_typed() -> None:
    words = vocabulary("red the theatre")
    assert shown(planned("red the", words, prefix=True))[1][1:] == ["theatr"]


# ---- phrases, and what is excluded


def test_a_phrase_must_be_there_word_by_word_and_its_words_count() -> None:
    made = planned('red "USB hubs"')
    assert made.phrases == (("usb", "hubs"),)
    assert shown(made) == [["red"], ["usb"], ["hub"]]
    assert planned("“usb hub”").phrases == (("usb", "hub"),)


@pytest.mark.parametrize(
    ("q", "without"),
    [
        ("laptop -cases", Alternative(("case",))),
        ("-case laptop", Alternative(("case",))),
        ('laptop -"USB hubs"', Alternative(("usb", "hubs"), together=True)),
        ("laptop -tn-2110", Alternative(("tn", "2110"))),
    ],
)
def test_what_is_excluded(q: str, without: Alternative) -> None:
    made = planned(q)
    assert made.without == (without,)
    assert shown(made) == [["laptop"]]


@pytest.mark.parametrize("q", ["tn-2110", "red - blue", "laptop -", '-""', '"'])
def test_a_hyphen_between_words_or_by_itself_excludes_nothing(q: str) -> None:
    made = planned(q)
    assert made.without == ()
    assert made.phrases == ()


# ---- what the site says


def test_synonyms_find_each_other() -> None:
    curation = Curation(synonyms=(Synonym("1", ("flat screen", "TV", "televisions")),))
    assert shown(planned("red tv", curation=curation)) == [
        ["red"],
        ["tv", f"flat+screen*{SYNONYM / 2}", f"televis*{SYNONYM}"],
    ]
    assert shown(planned("flat screens red", curation=curation)) == [
        ["flat+screen", f"tv*{SYNONYM}", f"televis*{SYNONYM}"],
        ["red"],
    ]
    assert shown(planned("flat red", curation=curation)) == [["flat"], ["red"]]


def test_a_synonym_of_one_word_goes_one_way() -> None:
    curation = Curation(synonyms=(Synonym("1", ("ultrabook",), of="laptop"),))
    assert shown(planned("laptop", curation=curation)) == [["laptop", f"ultrabook*{SYNONYM}"]]
    assert shown(planned("ultrabook", vocabulary("ultrabook"), curation)) == [["ultrabook"]]


def test_a_rare_synonym_counts_no_more_than_what_was_typed() -> None:
    curation = Curation(synonyms=(Synonym("1", ("tv", "beamer")),))
    known = vocabulary({"tv": 500, "beamer": 5, "mug": 1_000})
    (slot,) = planned("tv", known, curation).slots
    by_rarity = slot.alternatives[1].weight * known.rarity(("beamer",))
    assert by_rarity == pytest.approx(SYNONYM * known.rarity(("tv",)))
    (slot,) = planned("beamer", known, curation).slots
    assert slot.alternatives[1].weight == SYNONYM


def test_the_longest_phrase_wins() -> None:
    curation = Curation(
        synonyms=(Synonym("1", ("flat", "apartment")), Synonym("2", ("flat screen", "lcd")))
    )
    assert shown(planned("flat screen", curation=curation)) == [
        ["flat+screen", f"lcd*{SYNONYM}"],
    ]


def test_words_that_a_site_says_mean_little() -> None:
    curation = Curation(stop_words=("Buy", "cheap stuff"))
    assert shown(planned("buy cheap laptop", curation=curation)) == [["laptop"]]
    assert shown(planned("buy", vocabulary("buy"), curation)) == [["buy"]]


# ---- whatever is typed


def test_more_words_than_are_looked_at() -> None:
    q = " ".join(f"w{number}" for number in range(WORDS_MAX + 5))
    assert len(planned(q, vocabulary(q)).slots) == WORDS_MAX


@given(
    st.text(max_size=Q_LETTERS_MAX) | st.text('lap"- th8gb', max_size=40),
    st.booleans(),
    st.booleans(),
)
def test_anything_can_be_typed(q: str, typo: bool, prefix: bool) -> None:
    made = planned(q, typo=typo, prefix=prefix)
    assert len(made.slots) <= WORDS_MAX
    for slot in made.slots:
        assert slot.alternatives
        for one in slot.alternatives:
            assert one.terms
            assert all(one.terms)
            assert 0 < one.weight <= 1
