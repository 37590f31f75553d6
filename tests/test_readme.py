"""The README and the documentation are true: what they show runs, and what they name is there."""

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from hansa.assembly import OPERATOR, Cell, Place
from hansa.cli.main import main
from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller
from hansa.kernel.migration_sql import declared_statements
from hansa.kernel.runtime import Runtime
from hansa.platform.sites import api as sites
from tests.cli.server import READY, Server

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def documents(text: str) -> list[Any]:
    """The JSON documents that commands printed one after the other."""
    found: list[Any] = []
    decoder = json.JSONDecoder()
    while text.lstrip().startswith("{"):
        document, end = decoder.raw_decode(text.lstrip())
        found.append(document)
        text = text.lstrip()[end:]
    return [*found, text]


def test_the_first_screen_works_by_copy_and_paste(tmp_path: Path) -> None:
    up, *commands = blocks("sh")
    assert up.startswith("make up")
    folder = tmp_path / ".hansa"
    with Server(folder) as server:
        server.wait_for(READY)
        script = "\n".join(commands)
        for written, here in (
            ("localhost:8400", f"localhost:{server.port}"),
            ("python3", sys.executable),
            (".venv/bin/hansa", f"{sys.executable} -m hansa.cli"),
        ):
            assert written in script
            script = script.replace(written, here)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("HANSA_FOLDER", None)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment,
            text=True, capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        created, listed, order, log = documents(done.stdout)
        assert created["product"]["handle"] == "blue-mug"
        assert len(listed["items"]) == 3
        assert (order["state"], order["payment"], order["paid_minor"]) == ("placed", "paid", 1500)
        assert "commerce.order_placed" in log
        assert "commerce.product_created" in log
        assert server.stop() == 0


def test_the_service_that_it_shows_runs(tmp_path: Path) -> None:
    (source,) = blocks("python")
    lines = [line for line in source.splitlines() if line and not line.startswith(("from ", '"""'))]
    assert len(lines) <= 30
    file = tmp_path / "book.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("book", file)
    assert spec is not None
    assert spec.loader is not None
    book = importlib.util.module_from_spec(spec)
    sys.modules["book"] = book
    try:
        spec.loader.exec_module(book)
        asyncio.run(sign_twice(tmp_path, book))
    finally:
        del sys.modules["book"]


def test_it_is_served_as_written(tmp_path: Path) -> None:
    draft, ask = (one for one in blocks("bash") if "book" in one)
    (project,) = blocks("toml")
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "__init__.py").write_text(blocks("python")[0])
    (tmp_path / "pyproject.toml").write_text(project)
    drafting, up = draft.splitlines()
    assert up == "hansa up"
    type_in(tmp_path, drafting)
    with Server(tmp_path / ".hansa", cwd=tmp_path) as server:
        server.wait_for(READY)
        sign, count = ask.replace("localhost:8400", f"localhost:{server.port}").splitlines()
        assert json.loads(type_in(tmp_path, sign)) == {"name": "Ann"}
        while type_in(tmp_path, count) == "0":  # until the subscriber has heard of it
            pass
        assert type_in(tmp_path, count) == "1"
        assert server.stop() == 0


def type_in(folder: Path, script: str) -> str:
    """Run commands as they are typed in a shell; return what they print."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    environment.pop("HANSA_FOLDER", None)
    program = f'hansa() {{ {sys.executable} -m hansa.cli "$@"; }}'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{program}\n{script}"],
        cwd=folder, env=environment, text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def sign_twice(folder: Path, book: Any) -> None:
    cell = Cell(Place(folder, synchronous="OFF"), background=False)
    await cell.open()
    runtime = cell.runtime
    try:
        site = await runtime.do(sites.create_site, OPERATOR, {"body": sites.NewSite("inn")})
        tables = declared_statements(list(book.book.tables.values()), cell.storage.dialect)
        await cell.storage.apply(tables)
        both = [*cell.services, book.book]
        runtime = Runtime(both, cell.storage, cell.directory, runtime.sealer)
        await runtime.start()
        try:
            visitor = Caller(site.id, PUBLIC_PRINCIPAL)
            for name in ("Ann", "Bo"):
                key = str(uuid4())
                for _ in range(2):
                    await runtime.do(book.sign, visitor, {"body": book.Guest(name)}, key=key)
            await runtime.dispatcher.rest()
            assert await runtime.do(book.count, visitor, {}) == 2
        finally:
            await runtime.stop()
    finally:
        await cell.close()


def test_the_first_revision_is_drafted_applied_and_served(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "writing-a-service.md").read_text()
    (project,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    (script,) = re.findall(r"```sh\n(.*?)```", page, re.S)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "__init__.py").write_text(blocks("python")[0])
    (tmp_path / "pyproject.toml").write_text(project)
    said = type_in(tmp_path, script)
    assert "create_table('book_signatures'" in said
    assert re.search(r"book +0001 +expand +first", said)
    assert (tmp_path / "contracts.lock").exists()
    with Server(tmp_path / ".hansa", "serve", cwd=tmp_path) as server:
        server.wait_for(READY)
        signature = urllib.request.Request(
            f"http://localhost:{server.port}/book/signatures",
            b'{"name": "Ann"}',
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(signature, timeout=30) as answer:
            assert answer.status == 201
        assert server.stop() == 0


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        headings = re.findall(r"^#+ (.+)$", there.read_text() if anchor else "", re.M)
        anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
        assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("command", re.findall(r"^\| `hansa (\w+)", README, re.M))
def test_a_command_that_is_named_is_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert command in capsys.readouterr().out


def test_folders_that_are_named_are_there() -> None:
    for name in re.findall(r"^([\w/]+/)  ", README, re.M):
        assert (ROOT / name).is_dir(), name


def test_settings_that_are_named_are_read_somewhere() -> None:
    code = [path for top in ("hansa", "tests") for path in (ROOT / top).rglob("*.py")]
    sources = "\n".join(path.read_text() for path in code if path != Path(__file__))
    text = README + "".join(page.read_text() for page in DOCS)
    for name in set(re.findall(r"\bHANSA_[A-Z_]+\b", text)) - {"HANSA_REQUIRE_ALL", "HANSA_SEED"}:
        assert name in sources, name


def test_limits_that_are_told_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    told = re.findall(r"^\| [^|]+ \| ([\d,]+) \| `([\w.]+)\.(\w+)` \|$", page, re.M)
    assert len(told) >= 10
    for number, module, name in told:
        assert getattr(import_module(module), name) == int(number.replace(",", "")), name


def test_pages_name_the_port_that_is_the_default() -> None:
    for page in (ROOT / "README.md", *DOCS):
        ports = set(re.findall(r"localhost:(\d+)", page.read_text()))
        assert ports <= {"8400", "4318"}, page.name
