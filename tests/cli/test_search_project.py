"""Search in a project of one's own services, without the shop: as docs/search.md says it."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hansa.assembly import SERVICES
from hansa.business.commerce import commerce
from hansa.kernel.service import Service, heard_in
from hansa.platform.search import search
from hansa.platform.search.api import Field, Projection, Schema
from hansa.platform.search.api.projecting import projection_of, projections_of
from tests.cli.server import ROOT, Server
from tests.cli.warm import Warm

Hansa = Callable[..., str]
ROOM = {"title": "Harbour room", "about": "Wakes with the gulls", "view": "sea", "beds": 2}


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


@pytest.fixture
def inn(tmp_path: Path) -> Path:
    """The project, with its service as the documentation has it."""
    folder = tmp_path / "inn"
    (folder / "rooms").mkdir(parents=True)
    documented = (ROOT / "docs" / "search.md").read_text()
    files = re.findall(r'```python title="([^"]+)"\n(.*?)```', documented, re.S)
    assert [name for name, _ in files] == ["rooms/__init__.py", "rooms/api.py"]
    for name, text in files:
        (folder / name).write_text(text)
    (folder / "pyproject.toml").write_text(
        '[tool.hansa]\nservices = ["hansa.platform.search", "rooms"]\n'
    )
    return folder


def asked(url: str, key: str, site: str, body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {key}", "hansa-site": site}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers | {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_the_documented_service_is_searched_without_the_shop(inn: Path, warm: Warm) -> None:
    cell = inn / "cell"

    def hansa(*arguments: str, status: int = 0) -> str:
        done = warm.run(inn, *arguments, "--folder", str(cell))
        assert done.status == status, done.said
        return done.said.strip()

    done = warm.run(inn, "new", "revision", "rooms", "first")
    assert done.status == 0, done.said
    site = hansa("sites", "create", "The inn", "--host", "localhost")
    assert site in hansa("sites", "list")
    key = hansa("sites", "key", "platform", "*")
    assert "There are no collections" in hansa("search", "collections")
    with Server(cell, "serve", cwd=inn) as server:
        server.wait_for(r"Hansa serves on \S+")
        at = f"http://localhost:{server.port}"
        id = asked(f"{at}/rooms", key, site, ROOM)
        assert hansa(*there(at, key), "rebuild", "rooms").startswith("made anew: 1 documents")
        (hit,) = asked(f"{at}/search/collections/rooms/search?q=gulls", key, site)["hits"]
        assert hit["document"] == {**ROOM, "id": id}
        which_site_is_meant(hansa, at, key, site)
        assert server.stop() == 0
    said = hansa("search", "collections", "--site", "localhost")
    assert said.startswith("rooms")
    assert "rooms.rooms" in said


def which_site_is_meant(hansa: Hansa, at: str, key: str, inn: str) -> None:
    """Through a server as in a cell here: an id, a host or a name; and without any of these the
    only site there is, or a list to choose from."""
    remote = ("sites", "--url", at, "--key", key)
    own = hansa(*remote, "key", "localhost", "search.*")  # a site's own key says which site
    barn = hansa(*remote, "create", "The barn", "--host", "barn.example", "--host", "b.example")
    for site in (inn, "localhost", "127.0.0.1", "The inn"):
        assert hansa(*there(at, key), "collections", "--site", site).startswith("rooms"), site
    assert "There are no coll" in hansa(*there(at, key), "collections", "--site", "Barn.example")
    assert hansa(*there(at, own), "collections").startswith("rooms")
    assert hansa(*there(at, own), "collections", "--site", inn).startswith("rooms")
    listed = hansa(*remote, "list").splitlines()
    assert [line.rpartition("  ")[2] for line in listed] == [
        "(localhost)",
        "(b.example, barn.example)",
    ]
    assert [one["hosts"] for one in json.loads(hansa(*remote, "list", "--json"))] == [
        ["localhost"], ["b.example", "barn.example"],
    ]  # fmt: skip
    said = hansa(*there(at, key), "collections", status=1)
    assert f"say which with --site: {inn} The inn (localhost); {barn} The barn (b.example" in said
    assert "There is no site pub" in hansa(
        *there(at, key), "collections", "--site", "pub", status=1
    )
    no = hansa(*there(at, own), "collections", "--site", "localhost", status=1)
    assert "This key may not look which site localhost is. Name its id, or leave --site away" in no
    narrow = hansa(*remote, "key", "platform", "search.*")
    no = hansa(*there(at, narrow), "collections", status=1)
    assert "Say which site is meant, by its id with --site" in no
    assert "header" not in no


def there(at: str, key: str) -> tuple[str, ...]:
    return "search", "--url", at, "--key", key


def test_what_is_imported_does_not_decide_which_projections_there_are() -> None:
    alone, together = heard_in([search]), heard_in([search, commerce])
    assert "search.keep_commerce_products" not in {one.name for one in alone}
    assert "search.keep_commerce_products" in {one.name for one in together}
    assert {one.name for one in heard_in(SERVICES)} >= {one.name for one in together}
    assert projection_of("products", [search]) is None
    found = projection_of("products", [search, commerce])
    assert found is not None and found.id == "commerce.products"


def test_two_services_have_one_collection_each_or_do_not_run_together() -> None:
    stalls = Service("stalls", owner="tests", package=f"{__name__}.stalls")
    table = stalls.table("stalls", prefix="stall")
    mine = Projection(stalls, "products", Schema((Field("title", "text"),)), entities=table)
    found = projection_of("products", [search, stalls])
    assert found is not None and found.id == mine.id
    with pytest.raises(ValueError, match=r"products is that of commerce\.products already"):
        projections_of([search, commerce, stalls])
