"""What words there are: similar ones, completions, parts; and how the lexicon follows an index."""

import string
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel import machine
from hansa.platform.search import vocabulary as module
from hansa.platform.search.vocabulary import ANSWERS_MAX, Lexicon, Lexicons, Meant, Vocabulary
from tests.platform.search.words import Known, vocabulary

WORDS = st.text(string.ascii_lowercase, min_size=4, max_size=12)


def meant(similar: Sequence[Meant]) -> list[str]:
    return [one.word for one in similar]


@pytest.mark.parametrize("typed", ["labtop", "latpop", "lapto", "laptopp", "aptop", "klaptop"])
def test_an_unknown_word_stands_for_one_that_is_one_edit_away(typed: str) -> None:
    assert meant(vocabulary("laptop desktop").similar(typed)) == ["laptop"]


def test_two_edits_are_guessed_in_long_words_only_and_when_nothing_is_nearer() -> None:
    assert meant(vocabulary("notebook mouse").similar("noteboko")) == ["notebook"]
    assert meant(vocabulary("notebook mouse").similar("notbokk")) == []
    assert meant(vocabulary("notebook mouse").similar("nottebokk")) == ["notebook"]
    assert meant(vocabulary("keyboard keyboxrds").similar("keybords")) == ["keyboxrds"]


def test_short_words_and_numbers_stand_for_nothing_else() -> None:
    words = vocabulary("usb usd 1920 1080 ipad")
    assert meant(words.similar("usv")) == []
    assert meant(words.similar("1921")) == []
    assert meant(vocabulary("tn2120 tn2110x").similar("tn2110")) == ["tn2110x"]
    # A letter of a word of four was forgotten.
    assert meant(words.similar("ipd")) == ["ipad"]


def test_what_names_documents_is_likelier_and_so_is_the_same_first_letter() -> None:
    words = vocabulary({"mouse": 100, "moused": 100, "house": 400}, {"mouse": 90, "house": 100})
    similar = words.similar("mousee")
    assert meant(similar) == ["mouse", "moused"]
    assert similar[0].weight == 1.0
    assert similar[1].weight == pytest.approx((10 / 100) ** 0.5)
    assert meant(words.similar("kouse")) == ["house", "mouse"]
    assert meant(words.similar("mousd"))[0] == "mouse"


def test_much_rarer_words_are_not_meant() -> None:
    assert meant(vocabulary({"mouse": 1000, "mousy": 1}).similar("mouss")) == ["mouse"]


def test_accents_need_not_be_typed() -> None:
    words = vocabulary("cafetière théière")
    assert list(words.spellings("cafetiere")) == ["cafetière"]
    assert meant(words.similar("cafetire")) == ["cafetière"]
    assert meant(words.completions("theie")) == ["théière"]
    assert meant(words.completions("cafet")) == ["cafetière"]


def test_completions_are_what_names_documents_first() -> None:
    words = vocabulary(
        {"mount": 300, "mouse": 120, "mouldy": 90, "mouth": 1}, {"mouse": 100, "mount": 20}
    )
    completions = words.completions("mou")
    assert meant(completions) == ["mouse", "mount", "mouldy"]
    assert [one.weight for one in completions] == sorted(
        (one.weight for one in completions), reverse=True
    )
    assert completions[0].weight == 1.0
    assert words.completions("zzz") == ()


def test_words_that_were_written_together_are_taken_apart() -> None:
    words = vocabulary({"laptop": 50, "case": 40, "lap": 2, "topcase": 1, "17": 9, "a": 99})
    assert words.parts("laptopcase") == ("laptop", "case")
    assert words.parts("17case") == ("17", "case")
    assert words.parts("unknown") is None
    # A single letter is a word beside a number alone.
    assert words.parts("acase") is None
    assert words.parts("a17") == ("a", "17")


def test_many_answers_are_not_kept_for_ever() -> None:
    words = vocabulary("laptop")
    for number in range(ANSWERS_MAX + 5):
        words.completions(f"l{number}")
    assert meant(words.completions("lap")) == ["laptop"]
    assert len(words._completions) < 10


@given(st.sets(WORDS, min_size=1, max_size=30), st.data())
def test_every_word_one_edit_away_is_found(words: set[str], data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(sorted(words)))
    at = data.draw(st.integers(0, len(word) - 2))
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    typed = data.draw(
        st.sampled_from(
            [
                word[:at] + letter + word[at:],
                word[:at] + word[at + 1 :],
                word[:at] + letter + word[at + 1 :],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            ]
        )
    )
    assert word in Lexicon({*words, letter}).one_edit_from(typed)


@given(st.sets(WORDS, min_size=1, max_size=30), st.data())
def test_every_word_with_a_beginning_one_edit_away_is_found(
    words: set[str], data: st.DataObject
) -> None:
    word = data.draw(st.sampled_from(sorted(words)))
    typed = word[: data.draw(st.integers(4, len(word)))]
    at = data.draw(st.integers(1, len(typed) - 1))
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    wrong = data.draw(
        st.sampled_from([typed[:at] + letter + typed[at + 1 :], typed[:at] + typed[at + 1 :]])
    )
    assert word in Lexicon(words).one_edit_from_beginning(wrong)


# ---- following an index


def test_the_first_lexicon_is_read_at_once_and_later_ones_beside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REST", 0)
    lexicons = Lexicons()
    assert not lexicons.ready
    first = lexicons.of(Known({"laptop": 1}), 1)
    assert lexicons.ready
    assert first.one_edit_from("labtop")
    assert lexicons.of(Known({"laptop": 1}), 1) is first
    # The one before serves whoever asks first after a commit.
    assert lexicons.of(Known({"mouse": 1}), 2) is first
    lexicons.settle()
    assert lexicons.of(Known({"mouse": 1}), 2).one_edit_from("moose")


def test_who_is_typing_does_not_wait_for_the_first_lexicon() -> None:
    lexicons = Lexicons()
    known = Known({"cafetière": 2, "cafe": 1})
    words = Vocabulary(known, lambda: lexicons.of(known, 1), lambda: lexicons.at_hand(known, 1))
    assert meant(words.completions("caf"))[-1] == "cafe"
    lexicons.settle()
    assert lexicons.ready
    assert meant(words.completions("cafe")) == ["cafetière", "cafe"]


def test_what_was_answered_from_an_old_lexicon_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST", 0)
    lexicons = Lexicons()
    go = threading.Event()

    class Slow(Known):
        def beginning(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
            assert go.wait(10)
            return super().beginning(prefix, limit)

    before, after = Known({"desk": 1}), Slow({"desk": 1, "laptop": 1})
    assert lexicons.edition(before, 1) == 0
    lexicons.of(before, 1)
    assert lexicons.edition(before, 1) == 1
    words = Vocabulary(after, lambda: lexicons.of(after, 2))
    assert words.similar("labtop") == ()
    go.set()
    lexicons.settle()
    assert lexicons.edition(after, 2) == 2
    assert meant(words.similar("labtop")) == ["laptop"]


def test_an_index_that_commits_often_is_not_read_as_often() -> None:
    now = [0.0]

    class Slow(Known):
        def beginning(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
            now[0] += 1.0
            return super().beginning(prefix, limit)

    lexicons = Lexicons()
    with machine.replaced(lambda: now[0], bytes):
        first = lexicons.of(Slow({"laptop": 1}), 1)
        now[0] += module.REST - 1
        assert lexicons.of(Slow({"mouse": 1}), 2) is first
        lexicons.settle()
        assert lexicons.of(Slow({"mouse": 1}), 2) is first
        now[0] += 1
        assert lexicons.of(Slow({"mouse": 1}), 2) is first
        lexicons.settle()
        assert lexicons.of(Slow({"mouse": 1}), 2) is not first
