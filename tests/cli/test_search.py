"""`hansa search`: collections, how good what is found is, and indexes made anew; on a cell that
nobody has open and through a server."""

import json
from pathlib import Path
from typing import Any

import pytest

from hansa.cli.main import main
from tests.cli.server import READY, Server

PRODUCTS = ("Blue mug", "Red mug", "Blue plate", "Tea pot")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HANSA_DATABASE", "HANSA_OWNER_DATABASE", "HANSA_URL", "HANSA_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HANSA_FOLDER", str(tmp_path / "cell"))
    return tmp_path


def shop(folder: Path) -> None:
    """Make a site with some products."""
    assert main(["sites", "create", "shop"]) == 0
    price = {"minor": 5, "currency": "EUR"}
    lines = [
        json.dumps({"handle": f"p{number}", "title": title,
                    "variants": [{"sku": f"S{number}", "price": price}]})
        for number, title in enumerate(PRODUCTS)
    ]  # fmt: skip
    file = folder / "products.ndjson"
    file.write_text("\n".join(lines))
    assert main(["import", str(file)]) == 0


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Return what a verb answers with --json."""
    capsys.readouterr()
    assert main(["search", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def judged(file: Path, *rows: tuple[str, str, int]) -> str:
    file.write_text(
        "query,product_id,grade\n" + "\n".join(f"{q},{id},{grade}" for q, id, grade in rows)
    )
    return str(file)


def evaluated(folder: Path, capsys: pytest.CaptureFixture[str], *where: str) -> None:
    """Judge what is found, worse and then better, and compare."""
    any_one = judged(folder / "any.csv", ("blue mug", "nobody", 1))
    report = told(capsys, *where, "evaluate", "products", any_one)["report"]
    assert (report["total"]["ndcg"], report["total"]["judged"]) == (0, 0)
    mug, second, *_ = report["queries"][0]["found"]
    assert main(["search", *where, "evaluate", "products", any_one]) == 0
    assert "Nothing that was found is judged" in capsys.readouterr().out
    by_sku = judged(folder / "skus.csv", ("blue mug", "S0", 1))
    report = told(capsys, *where, "evaluate", "products", by_sku, "--by", "skus")["report"]
    assert (report["total"]["ndcg"], report["queries"][0]["found"][0]) == (1, "S0")
    kept = str(folder / "kept.json")
    file = judged(folder / "q.csv", ("blue mug", mug, 3), ("blue mug", second, 1), ("zzz", mug, 1))
    assert main(["search", *where, "evaluate", "products", file, "--save", kept]) == 0
    out = capsys.readouterr().out
    assert "2 queries, something relevant is known for 2" in out
    assert "nDCG@10                     0.5000\n" in out
    before = json.loads(Path(kept).read_text())
    before["queries"][0]["found"] = [second, mug]
    before["total"]["ndcg"] = 0.4
    Path(kept).write_text(json.dumps(before))
    assert main(["search", *where, "evaluate", "products", file, "--against", kept]) == 0
    out = capsys.readouterr().out
    assert "0.5000  was 0.4000, +0.1000" in out
    assert "1 queries find other documents" in out
    assert "blue mug" in out
    excel = folder / "excel.csv"
    excel.write_bytes(f"query;document;grade\nblue mug;{mug};3\ntea pot;x;1\n".encode("utf-8-sig"))
    assert main(["search", *where, "evaluate", "products", str(excel), "--against", kept]) == 0
    out = capsys.readouterr().out
    assert (
        "compared by the 1 queries that both have: 1 are only in what was saved, 1 only in" in out
    )
    pot = judged(folder / "pot.csv", ("tea pot", mug, 1))
    assert main(["search", *where, "evaluate", "products", pot, "--against", kept]) == 1
    assert "none of its 2 searches is among the 1 that are judged" in capsys.readouterr().err


def test_a_cell_that_nobody_has_open(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop(folder)
    (one,) = told(capsys, "collections")
    assert (one["collection"]["name"], one["index"]["documents"]) == ("products", len(PRODUCTS))
    assert one["index"]["state"] == "current"
    evaluated(folder, capsys)
    assert main(["search", "rebuild", "products"]) == 0
    assert "made anew: 4 documents, generation 2" in capsys.readouterr().out
    assert main(["search", "collections"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("products")
    assert "generation 2  current" in shown
    assert "commerce.products" in shown


def test_through_a_server(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = folder / "cell"
    with Server(cell, "up") as server:
        server.wait_for(READY)
        key = (cell / "demo.key").read_text().strip()
        where = ("--url", f"http://localhost:{server.port}", "--key", key)
        assert main(["search", *where, "rebuild", "products"]) == 0
        assert "generation 2" in capsys.readouterr().out
        (one,) = told(capsys, *where, "collections")
        assert one["index"]["documents"] > 20
        mugs = judged(folder / "q.csv", ("stoneware mug", "x", 1))
        (query,) = told(capsys, *where, "evaluate", "products", mugs)["report"]["queries"]
        assert query["found"]
        assert server.stop() == 0
    assert main(["search", "collections"]) == 0


@pytest.mark.usefixtures("folder")
def test_what_cannot_be_done_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "collections"]) == 1
    assert "There is no cell" in capsys.readouterr().err
    shop(tmp_path)
    good = judged(tmp_path / "q.csv", ("a", "b", 1))
    empty = judged(tmp_path / "empty.csv")
    bad = tmp_path / "bad.csv"
    bad.write_text("query,product_id,grade\na,b,much\n")
    for words, why in (
        (("evaluate", "products", str(tmp_path / "none.csv")), "No such file"),
        (("evaluate", "products", str(bad)), "bad.csv: line 2: 'much' is no grade"),
        (("evaluate", "products", empty), "there is no judgement in it"),
        (("evaluate", "pots", good), "There is no collection pots"),
        (("evaluate", "products", good, "--against", good), "is nothing that --save has kept"),
        (("rebuild", "pots"), "There is no collection pots"),
        (("collections", "--site", "other"), "There is no site other"),
        (("collections", "--url", "http://127.0.0.1:9", "--key", "x"), "does not answer"),
    ):
        assert main(["search", *words]) == 1, words
        assert why in capsys.readouterr().err, words
