"""Search in a project of one's own services, without the shop: as docs/search.md says it."""

import json
import re
import urllib.request
from collections.abc import Iterator
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

    def hansa(*arguments: str) -> str:
        done = warm.run(inn, *arguments, "--folder", str(cell))
        assert done.status == 0, done.said
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
        remote = warm.run(
            inn, "search", "--url", at, "--key", key, "--site", site, "rebuild", "rooms"
        )
        assert remote.status == 0, remote.said
        (hit,) = asked(f"{at}/search/collections/rooms?q=gulls", key, site)["hits"]
        assert hit["document"] == {**ROOM, "id": id}
        assert server.stop() == 0
    said = hansa("search", "collections")
    assert said.startswith("rooms")
    assert "rooms.rooms" in said


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
