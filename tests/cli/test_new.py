"""`hansa new` writes a service that is typed, tested and served; `hansa check` guards releases."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansa.assembly import SERVICES
from hansa.project import find_project
from tests.cli.server import ROOT, Server, free_port
from tests.cli.warm import Warm


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


class Folder:
    """An empty project, and the commands that are typed in it."""

    def __init__(self, path: Path, warm: Warm) -> None:
        self.path = path
        self.warm = warm

    def hansa(self, *arguments: str, status: int = 0) -> str:
        done = self.warm.run(self.path, *arguments)
        assert done.status == status, done.said
        return done.said

    def python(self, *command: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "MYPYPATH": str(self.path), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=cwd or self.path, env=environment, text=True,
            capture_output=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path, warm: Warm) -> Folder:
    project = tmp_path / "project"
    project.mkdir()
    return Folder(project, warm)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_new_service_is_tested_and_strictly_typed(folder: Folder, tmp_path: Path) -> None:
    assert "loyalty/__init__.py" in folder.hansa("new", "service", "loyalty")
    assert " passed" in folder.python("pytest", "-q")
    folder.python("ruff", "format", "--check", "--line-length", "100", ".")
    types = tmp_path / "types"  # what `make check` has found out of Hansa itself
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", types)
    written = [str(folder.path / one) for one in ("loyalty", "tests/test_loyalty.py")]
    folder.python("mypy", "--cache-dir", str(types), *written, cwd=ROOT)
    (folder.path / "pyrightconfig.json").write_text(
        json.dumps({
            "typeCheckingMode": "strict", "extraPaths": [str(ROOT)],
            "include": ["loyalty", "tests"], "reportMissingTypeStubs": False,
        })
    )  # fmt: skip
    folder.python("basedpyright", "--pythonpath", sys.executable)


def test_it_is_served_by_up_from_its_project(folder: Folder, tmp_path: Path) -> None:
    folder.hansa("new", "service", "loyalty")
    with Server(tmp_path / "cell", cwd=folder.path) as server:
        said = server.wait_for(r"(?s)Hansa serves.*what is in \S+ stays\.").group()
        assert "Demo shop" not in said
        key = (tmp_path / "cell" / "demo.key").read_text().strip()
        url = f"http://localhost:{server.port}/loyalty/items"
        request = urllib.request.Request(
            url, b'{"title": "Tea"}',
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=20) as answer:
            made = json.loads(answer.read())
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert json.loads(answer.read())["items"] == [made]
        assert server.stop() == 0


def test_what_is_there_is_never_overwritten(folder: Folder) -> None:
    folder.hansa("new", "service", "loyalty")
    (folder.path / "loyalty" / "api.py").write_text("mine\n")
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    said = folder.hansa("new", "service", "loyalty", status=1)
    assert "loyalty/__init__.py is there already" in said
    for name, why in (
        ("json", "a Python module"),
        ("Loyal-ty", "lower-case"),
        ("class", "a keyword"),
    ):
        assert why in folder.hansa("new", "service", name, status=1)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[tool.hansa]\nservices = []\n", '[tool.hansa]\nservices = ["loyalty"]\n'),
        (
            '[tool.hansa]\nservices = [\n  "hansa.platform.mail",\n]\n[x]\ny = 1\n',
            '[tool.hansa]\nservices = [\n  "hansa.platform.mail", "loyalty"]\n[x]\ny = 1\n',
        ),
        ("[x]\ny = 1\n", '[x]\ny = 1\n\n[tool.hansa]\nservices = ["loyalty"]\n'),
    ],
)
def test_a_project_that_is_there_gets_the_name_of_the_service(
    folder: Folder, before: str, after: str
) -> None:
    (folder.path / "pyproject.toml").write_text(before)
    folder.hansa("new", "service", "loyalty")
    assert (folder.path / "pyproject.toml").read_text() == after


def test_a_change_of_the_tables_is_drafted(folder: Folder, tmp_path: Path) -> None:
    folder.hansa("new", "service", "loyalty")
    nothing = folder.hansa("new", "revision", "loyalty", "again", status=1)
    assert "already make what is declared" in nothing
    change(folder.path / "loyalty/tables.py", '    instant("created_at"),\n',
           '    instant("created_at"),\n    integer("points", default=0),\n')  # fmt: skip
    said = folder.hansa("new", "revision", "loyalty", "add_points")
    assert "loyalty/migrations/0002_add_points.py" in said
    draft = (folder.path / "loyalty/migrations/0002_add_points.py").read_text()
    assert 'down_revision = "0001"' in draft
    assert "points" in draft


def test_a_revision_that_was_forgotten_is_told(folder: Folder, tmp_path: Path) -> None:
    folder.hansa("new", "service", "loyalty")
    cell = ("--folder", str(tmp_path / "cell"))
    folder.hansa("migrate", *cell)
    change(folder.path / "loyalty/tables.py", '    instant("created_at"),\n',
           '    instant("created_at"),\n    integer("points", default=0),\n')  # fmt: skip
    for line in (("check",), ("check", "--accept"), ("migrate", "--plan", *cell),
                 ("migrate", *cell)):  # fmt: skip
        said = folder.hansa(*line, status=1)
        assert "loyalty_items: no revision makes the column points" in said, line
        assert "`hansa new revision loyalty NAME` drafts the revision" in said
    for line in (("up",), ("serve",), ("up", "--split")):
        said = folder.hansa(*line, *cell, "--port", str(free_port()), status=1)
        assert "loyalty declares what none of its revisions makes: loyalty_items.points." in said
        assert "`hansa new revision loyalty NAME` drafts the revision" in said
        assert "Traceback" not in said
    folder.hansa("new", "revision", "loyalty", "add_points")
    assert "points" in folder.hansa("migrate", *cell)
    assert "up to date" in folder.hansa("migrate", *cell)


def test_a_plain_module_with_tables_is_told_to_become_a_package(
    folder: Folder, tmp_path: Path
) -> None:
    (folder.path / "pyproject.toml").write_text("[tool.hansa]\nservices = ['book']\n")
    (folder.path / "book.py").write_text(
        '"""Guests sign it."""\n'
        "from hansa.kernel.columns import text\n"
        "from hansa.kernel.service import Service\n"
        'book = Service("book", owner="me")\n'
        'signatures = book.table("signatures", text("name"), prefix="sig")\n'
    )
    cell = ("--folder", str(tmp_path / "cell"))
    for line in (("new", "revision", "book", "first"), ("check",), ("migrate", *cell),
                 ("up", *cell, "--port", str(free_port()))):  # fmt: skip
        assert "move book.py to book/__init__.py" in folder.hansa(*line, status=1), line


def test_a_handler_that_nobody_may_call_is_told_at_the_start(
    folder: Folder, tmp_path: Path
) -> None:
    folder.hansa("new", "service", "loyalty")
    change(folder.path / "loyalty/api.py", ', needs="loyalty.items:write"', "")
    with Server(tmp_path / "cell", cwd=folder.path) as server:
        server.wait_for(r"loyalty\.add_item says no needs=, so it is not served")
        server.wait_for(r"what is in \S+ stays\.")
        with pytest.raises(urllib.error.HTTPError) as found:
            urllib.request.urlopen(f"http://localhost:{server.port}/", timeout=20)
        told = json.loads(found.value.read())
        assert (found.value.code, told["type"].rpartition("/")[2]) == (404, "no-such-path")
        assert "engineers' pages are on /hansa" in told["detail"]
        assert server.stop() == 0


def test_check_refuses_what_breaks_the_last_release(folder: Folder) -> None:
    api = folder.path / "loyalty" / "api.py"
    folder.hansa("new", "service", "loyalty")
    first = folder.hansa("check")
    assert "new operation: loyalty.add_item" in first
    assert "There is no contracts.lock to compare with: `hansa check --accept` makes it" in first
    assert "Nothing is broken" not in first
    assert "4 operations, 1 stored things" in folder.hansa("check", "--accept")
    change(
        api,
        'be made."""\n\n    title: str\n',
        'be made."""\n\n    title: str\n    note: str = ""\n',
    )
    assert "changed operation: loyalty.add_item" in folder.hansa("check")
    change(api, '    note: str = ""\n', "    note: str\n")
    change(api, 'needs="loyalty.items:write"', 'needs="loyalty.items:make"')
    change(api, "    id: ID\n    title: str\n\n\n@loyalty", "    id: ID\n\n\n@loyalty")
    change(api, "ItemAdded(item.id, item.title)", "ItemAdded(item.id)")
    said = folder.hansa("check", status=1)
    told = " ".join(said.split())
    assert (
        "loyalty.add_item (POST /loyalty/items): its input body.note is new and has no default"
        " breaks: clients, and services of an older release, that call it as it was"
        " to do: give it a default, or declare a second operation beside it"
    ) in told
    assert "needs loyalty.items:make, which who called it with loyalty.items:write" in told
    assert (
        "loyalty.item_added: title is gone breaks: stored rows, and releases that run side by side"
        " to do: make it version 2 with an upcaster"
    ) in told
    assert "3 breaking changes" in told
    assert "3 breaking changes" in folder.hansa("check", "--accept", status=1)
    forget = ["--forget", "loyalty.add_item", "--forget", "loyalty.item_added"]
    folder.hansa("check", "--accept", *forget)
    assert "Nothing is broken" in folder.hansa("check")
    revision = next((folder.path / "loyalty/migrations").glob("0001_*.py"))
    change(revision, "phase", "# another day\nphase")
    said = folder.hansa("check", status=1)
    assert "loyalty.0001: has changed since it was released" in said
    assert "hansa new revision loyalty NAME" in said
    revision.unlink()
    assert "loyalty.0001: is not there any more" in folder.hansa("check", status=1)
    assert "has no loyalty.nothing" in folder.hansa(
        "check", "--forget", "loyalty.nothing", status=1
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[tool.hansa]\n", 'write services = ["package", ...]'),
        ("[tool.hansa]\nservices = ['no.such']\n", "There is no module no.such"),
        ("[tool.hansa]\nservices = ['a-b']\n", "is not the name of a package"),
        ("[tool.hansa]\nservices = ['json']\n", "json declares no service"),
        ("[tool.hansa]\nservices = []\nport = 1\n", "[tool.hansa] knows services, not port"),
        ("[tool.hansa\n", "is not TOML"),
    ],
)
def test_a_project_that_cannot_be_is_told(folder: Folder, text: str, why: str) -> None:
    (folder.path / "pyproject.toml").write_text(text)
    said = folder.hansa("check", status=1)
    assert why in said
    assert "Traceback" not in said


def test_a_service_that_is_heard_must_be_there(folder: Folder) -> None:
    (folder.path / "pyproject.toml").write_text("[tool.hansa]\nservices = ['ears']\n")
    (folder.path / "ears.py").write_text(
        '"""It hears orders."""\n'
        "from hansa.business.commerce.api import OrderPlaced\n"
        "from hansa.kernel.service import Service\n"
        'ears = Service("ears", owner="me")\n'
        "@ears.on(OrderPlaced)\n"
        "async def hear(ctx, event): ...\n"
    )
    said = folder.hansa("migrate", status=1)
    assert "ears hears commerce.order_placed, but hansa.business.commerce is not among" in said


def test_without_a_project_it_is_all_that_comes_with_hansa(tmp_path: Path, warm: Warm) -> None:
    project = find_project(tmp_path)
    assert project.load() == SERVICES == project.own()
    assert warm.run(ROOT, "check").status == 0
    said = warm.run(tmp_path, "check").said
    assert "No pyproject.toml with [tool.hansa] here or above" in said


def test_hansa_itself_is_no_project(warm: Warm) -> None:
    before = (ROOT / "pyproject.toml").read_bytes()
    for folder in (ROOT, ROOT / "hansa" / "business"):
        done = warm.run(folder, "new", "service", "loyalty")
        assert "is Hansa itself: make a folder for your project" in done.said
        assert done.status == 1
    assert (ROOT / "pyproject.toml").read_bytes() == before
    assert not (ROOT / "loyalty").exists()


def test_a_name_that_is_taken_is_refused(folder: Folder) -> None:
    for name in ("commerce", "mail", "sites", "kernel", "attempts", "platform", "tests", "hansa"):
        said = folder.hansa("new", "service", name, status=1)
        assert f"{name} is the name of a service or package" in said
    assert list(folder.path.iterdir()) == []
