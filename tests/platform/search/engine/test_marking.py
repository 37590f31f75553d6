import re
from html import escape, unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.platform.search.analysis import analyzer
from hansa.platform.search.engine.marking import FRAGMENT_LETTERS, GAP, Marker


def marked(text: str, *words: str, locale: str = "en") -> str | None:
    words_of = analyzer(locale)
    terms = [words_of.term(one) for word in words for one in words_of.words(word)]
    (found,) = Marker(terms, words_of.term, words_of.language).marked([text])
    return found and found[1]


@pytest.mark.parametrize(
    ("text", "words", "locale", "html"),
    [
        ("Two laptops", ["laptop"], "en", "Two <mark>laptops</mark>"),
        ("LAPTOP/bag_laptop", ["laptops"], "en", "<mark>LAPTOP</mark>/bag_<mark>laptop</mark>"),
        ("A dying die, skies & sky", ["die", "sky"], "en",
         "A <mark>dying</mark> <mark>die</mark>, <mark>skies</mark> &amp; <mark>sky</mark>"),
        ("43.2 cm, 143 and 43a", ["43"], "en", "<mark>43</mark>.2 cm, 143 and 43a"),
        ("Café, cafe\u0301 or CAFE", ["cafe"], "en",
         "<mark>Café</mark>, <mark>café</mark> or <mark>CAFE</mark>"),
        ("Ein Fuß, zwei Füße", ["fuss"], "de", "Ein <mark>Fuß</mark>, zwei <mark>Füße</mark>"),
        ("İİ Straßen", ["strasse"], "de", "İİ <mark>Straßen</mark>"),
        ("Aerodynamisches Öl, Oel", ["aerodynamisch", "öl"], "de",
         "<mark>Aerodynamisches</mark> <mark>Öl</mark>, <mark>Oel</mark>"),
        ("Een jarige locatie", ["jaar", "locaties"], "nl",
         "Een <mark>jarige</mark> <mark>locatie</mark>"),
        ("To bøger og ærlighed", ["bøger", "ærlig"], "da",
         "To <mark>bøger</mark> og <mark>ærlighed</mark>"),
        ("Новая кружка", ["кружки"], "ru", "Новая <mark>кружка</mark>"),
        ("笔记本电脑包", ["电脑包"], "zh", "笔记本<mark>电脑包</mark>"),
        ("Ｒｅｄ ＭＵＧＳ", ["mug"], "en", "Ｒｅｄ <mark>ＭＵＧＳ</mark>"),
        ("\x02bold\x03 mug\x00", ["mug"], "en", " bold  <mark>mug</mark> "),
        ("nothing", ["mug"], "en", None),
        ("", ["mug"], "en", None),
    ],
)  # fmt: skip
def test_forms_of_words_are_marked(
    text: str, words: list[str], locale: str, html: str | None
) -> None:
    assert marked(text, *words, locale=locale) == html


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("da", "bøger ærlighed øl å"), ("de", "öle über aeg oecd strasse füße ss"),
        ("el", "νέα μήλο άνθρωπος λέξεις"), ("en", "ties skies dying us a tv happy"),
        ("es", "oír él niños"), ("fi", "yö öljy työt"), ("fr", "été œuf aïeux"),
        ("hu", "őz üzletek"), ("it", "è città"), ("nb", "øye ærlig"), ("nl", "uur uren eend"),
        ("pt", "pão pães é"), ("ro", "și ție"), ("ru", "мёд лёд чёрный ёж"), ("sv", "ö öl äpplen"),
        ("tr", "ağı ibi istanbul İstanbul"),
    ],
)  # fmt: skip
def test_each_word_is_marked_where_it_is_looked_for(locale: str, words: str) -> None:
    for word in words.split():
        assert marked(f"({word})", word, locale=locale) == f"(<mark>{word}</mark>)"


def test_of_a_long_text_the_piece_with_the_most_words_is_shown() -> None:
    text = "A mug. " + "word " * 100 + "A red mug & a mug. " + "word " * 100 + "mug mug mug"
    found = marked(text, "red", "mug")
    assert found is not None
    assert found.startswith(GAP)
    assert found.endswith(GAP)
    assert "A <mark>red</mark> <mark>mug</mark> &amp; a <mark>mug</mark>." in found
    shown = unescape(re.sub("</?mark>", "", found)).strip(GAP)
    assert len(shown) <= FRAGMENT_LETTERS
    assert shown in text
    assert re.match(r"\w+ .* \w+$", shown), "whole words"


letters = st.text(st.sampled_from("ab mugMUGé&<>'\"\x00\x02\nß "), max_size=400)


@given(texts=st.lists(letters, max_size=5), words=st.lists(st.sampled_from(["mug", "a", "gum"])))
def test_nothing_is_changed_but_marked_and_escaped(texts: list[str], words: list[str]) -> None:
    found = Marker(words, str, "en").marked(texts)
    for text, one in zip(texts, found, strict=True):
        clean = re.sub("[\x00\x02\x03]", " ", text)
        whole = {word.lower() for word in re.findall(r"[^\W_]+", clean)}
        assert (one is None) == whole.isdisjoint(words)
        if one is not None:
            bare = re.sub("</?mark>", "", one[1])
            assert bare.strip(GAP) in escape(clean)
            assert set(re.findall("<mark>(.*?)</mark>", one[1].lower())) <= set(words)
            assert 1 <= one[0] <= len(set(words))
