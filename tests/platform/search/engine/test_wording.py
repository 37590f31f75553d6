"""What of a document is searched, and how much it counts."""

from hansa.platform.search.engine.wording import Wording, Wordings
from hansa.platform.search.schema import Field, Schema

SCHEMA = Schema(
    (
        Field("title", "text", weight=3),
        Field("brand", "keyword", weight=1),
        Field("text", "text"),
        Field("tags", "keyword"),
        Field("year", "int", weight=1),
        Field("price", "int"),
        Field("more", "json", weight=1),
        Field("image", "stored"),
    ),
    title="title",
)


def test_words_count_by_the_weight_of_their_field() -> None:
    document = {"title": "Mug", "brand": "Acme", "text": "Red.", "tags": ["new"], "image": "i.png"}
    assert Wordings(SCHEMA).of(document) == Wording(
        bag=("Mug", "Mug", "Mug", "Acme", "Red."),
        title=("Mug",),
        traits=(),
        vocab=("Mug", "Acme", "Red."),
    )


def test_traits_are_apart_from_prose() -> None:
    document = {
        "title": "Mug",
        "year": 2026,
        "price": 5,
        "more": {
            "colour": ["red", "blue"],
            "dish_washer": True,
            "leaks": False,
            "size": {"height": 9.50, "cups": 2},
            "note": None,
        },
    }
    words = Wordings(SCHEMA).of(document)
    assert words.bag == ("Mug",) * 3
    assert words.traits == ("2026", "red", "blue", "dish washer", "9.5", "2")
    assert words.vocab == ("Mug", *words.traits)


def test_traits_of_more_weight_are_text_too() -> None:
    schema = Schema((Field("more", "json", weight=3),))
    assert Wordings(schema).of({"more": {"a": "x"}}) == Wording(
        bag=("x", "x"), title=(), traits=("x",), vocab=("x",)
    )


def test_several_values_are_several_texts() -> None:
    schema = Schema((Field("text", "text", weight=2),), title="text")
    words = Wordings(schema).of({"text": ["one two", "three"]})
    assert words.title == ("one two", "three")
    assert sorted(words.bag) == ["one two", "one two", "three", "three"]


def test_texts_are_as_the_analyzers_want_them() -> None:
    schema = Schema((Field("text", "text"),), locale="ja")
    assert Wordings(schema).of({"text": "東京都"}).bag[0].split() == [
        "東京",
        "京都",
        "東",
        "京",
        "都",
    ]
