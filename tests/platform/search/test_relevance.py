"""How well real collections are searched, by what people judged of them; see `relevance`."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansa.platform.search.engine.index import Index
from hansa.platform.search.evaluation import Judgements, Report, evaluate, losses
from hansa.platform.search.metrics import mean, ndcg
from tests.platform.search.relevance import (
    ABSTRACTS,
    PRODUCTS,
    abstract_judgements,
    abstracts,
    half_typed,
    indexed,
    product_judgements,
    products,
    recorded,
    search_of,
    with_typo,
)

DROP_MAX = 0.005


@pytest.fixture(scope="module")
def shop(electronics: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    index = indexed(tmp_path_factory.mktemp("shop") / "index", PRODUCTS, products(electronics))
    yield index
    index.close()


@pytest.fixture(scope="module")
def judged(electronics: Path) -> Judgements:
    return {
        query: grades
        for query, grades in product_judgements(electronics).items()
        if any(grades.values())
    }


def check_against_record(report: Report, collection: str) -> None:
    baseline = recorded()[collection]
    now = report.total.ndcg or 0.0
    assert now >= baseline.ndcg - DROP_MAX, (
        f"nDCG@10 was {baseline.ndcg} and is {now:.4f}; most lost: {losses(report, baseline)[:10]}"
    )


def test_products_are_found_as_well_as_before(shop: Index, judged: Judgements) -> None:
    report = evaluate(search_of(shop), judged)
    assert (report.total.ndcg or 0) >= 0.78
    check_against_record(report, "electronics")


def test_prose_is_found_as_well_as_before(cranfield: Path, tmp_path: Path) -> None:
    index = indexed(tmp_path / "index", ABSTRACTS, abstracts(cranfield))
    report = evaluate(search_of(index), abstract_judgements(cranfield))
    index.close()
    assert (report.total.ndcg or 0) >= 0.39
    check_against_record(report, "cranfield")


def test_a_typo_costs_little_and_none_costs_nothing(shop: Index, judged: Judgements) -> None:
    search, exact = search_of(shop), search_of(shop, typo=False)
    clean, typed = [], []
    for query, grades in judged.items():
        found = search(query, 10)
        assert found == exact(query, 10)
        chance = random.Random(query)
        for wrong in filter(None, (with_typo(query, chance) for _ in range(3))):
            clean.append(ndcg(found, grades))
            typed.append(ndcg(search(wrong, 10), grades))
    assert (mean(typed) or 0) >= 0.93 * (mean(clean) or 1)


def test_half_of_the_last_word_finds_much(shop: Index, judged: Judgements) -> None:
    search = search_of(shop, prefix=True)
    worth = mean(ndcg(search(half_typed(query), 10), grades) for query, grades in judged.items())
    assert (worth or 0) >= 0.58
    whole = mean(ndcg(search(query, 10), grades) for query, grades in judged.items())
    assert (whole or 0) >= 0.79
