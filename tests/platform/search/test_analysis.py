"""Words of texts, by language."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hansa.platform.search.analysis import (
    STEMMERS,
    UNSTEMMED,
    WORD_BYTES,
    UnknownLocale,
    analyzer,
    fold,
    language_of,
)
from hansa.platform.search.stopping import STOP_WORDS

LANGUAGES = sorted({*STEMMERS, *UNSTEMMED})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("HP Pavilion dv7-1211ea", ["hp", "pavilion", "dv7", "1211ea"]),
        ('43.2 cm (17")', ["43", "2", "cm", "17"]),
        ("Contour™ Intel® ﬁne", ["contour", "intel", "fine"]),
        ("Men's T-shirts", ["men", "s", "t", "shirts"]),
        ("ＷＩＮＤＯＷＳ 10", ["windows", "10"]),
        ("caf\u0065\u0301", ["café"]),
        ("İstanbul", ["istanbul"]),
        ("snake_case", ["snake", "case"]),
        ("x" * (WORD_BYTES + 1), []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_digits(text: str, words: list[str]) -> None:
    assert analyzer("en").words(text) == words


def test_words_of_scripts_without_spaces_are_pairs_of_letters() -> None:
    japanese = analyzer("ja")
    assert japanese.words("東京都のカメラ") == ["東京", "京都", "都の", "のカ", "カメ", "メラ"]
    assert japanese.words("茶") == ["茶"]
    assert japanese.words("iPhone用ケース") == ["iphone", "用ケ", "ケー", "ース"]
    assert "茶" in japanese.plain.analyze(japanese.text("緑茶"))


def test_pairs_of_a_document_are_next_to_each_other_as_those_of_a_phrase_are() -> None:
    words = analyzer("ja").plain.analyze(analyzer("ja").text("東京都庁"))
    assert words[:3] == analyzer("ja").words("東京都庁")


def test_letters_with_marks_are_one_word() -> None:
    assert analyzer("hi").words("हिन्दी किताब") == ["हिन्दी", "किताब"]


@pytest.mark.parametrize(
    ("locale", "forms"),
    [
        ("en", ("laptop", "laptops", "Laptops")),
        ("de", ("Kühlschrank", "Kühlschränke", "kuhlschrank")),
        ("pt", ("câmera", "câmeras", "cameras")),
        ("fr", ("télévision", "télévisions", "televisions")),
        ("ru", ("книга", "книги")),
        ("es-MX", ("cámara", "cámaras", "camaras")),
    ],
)
def test_forms_of_a_word_are_one_term(locale: str, forms: tuple[str, ...]) -> None:
    language = analyzer(locale)
    assert len({language.term(word) for form in forms for word in language.words(form)}) == 1


def test_a_language_without_a_stemmer_keeps_its_words() -> None:
    assert analyzer("pl").term("książki") == "ksiazki"


def test_an_unknown_locale_is_refused_with_what_there_is() -> None:
    for locale in ("xx", "", "english", "-en"):
        with pytest.raises(UnknownLocale, match=r"no language of ISO 639-1.* da, de, el, en"):
            analyzer(locale)


def test_the_language_of_a_locale_counts() -> None:
    assert [language_of(one) for one in ("de-CH", "pt_BR", "EN")] == ["de", "pt", "en"]
    assert analyzer("de-CH") is analyzer("de")


def test_every_language_can_be_analysed() -> None:
    for language in LANGUAGES:
        assert analyzer(language).words("Abc 12") == ["abc", "12"]


def test_stop_words_are_words_of_their_language() -> None:
    for language, words in STOP_WORDS.items():
        assert language in LANGUAGES
        assert all(analyzer(language).words(word) == [word] for word in words)


@given(st.text(max_size=200), st.sampled_from(["en", "de", "fr", "tr", "ja", "th", "hi", "ar"]))
@example("İstanbul ﬃ ½ ŉ ǆ", "tr")
@example("กล้อง ก้", "th")
def test_a_document_has_the_words_and_the_terms_of_its_own_text(text: str, locale: str) -> None:
    language = analyzer(locale)
    words = language.words(text)
    given = language.text(text)
    assert set(words) <= set(language.plain.analyze(given))
    assert {language.term(word) for word in words} <= set(language.stemmed.analyze(given))


@given(st.text(max_size=50))
def test_folding_twice_is_folding_once(word: str) -> None:
    assert fold(fold(word)) == fold(word)
