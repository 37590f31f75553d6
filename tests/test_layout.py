"""The house rules that can be read off the files: names, sizes, reasons, clocks, places.

Imports between the storeys are import-linter's (see pyproject.toml); imports between services are
here, because a new service must not have to be added to a list.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parent.parent
LINES_MAX: Final = 500
VAGUE: Final = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
BUILDING_BLOCKS: Final = "hansa.business.blocks"
"""What services share by design; it is no service."""
WALL_CLOCK: Final = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
MAY_READ_THE_CLOCK: Final = {
    "hansa/kernel/clock.py",
    "hansa/business/commerce/testpay.py",  # plays a company outside, which has a clock of its own
}
PLACES: Final = re.compile(
    r"(?<![\w.])/(?:work|root)/|(?:registry\.[a-z]+|\bpypi|pythonhosted|\bdeb\.debian)\.[a-z]{2,}"
)
"""Folders of one machine, and hosts of package registries."""


@cache
def tracked() -> list[Path]:
    """Every file that git has or would take, or every file where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        hidden = re.compile(r"/(?:\.(?!ci/|gitignore)[^/]+|__pycache__|node_modules)(?:/|$)")
        found = [p for p in ROOT.rglob("*") if not hidden.search(f"/{p.relative_to(ROOT)}")]
    return sorted(path for path in found if path.is_file())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def sources(*folders: str) -> list[Path]:
    """The Python files of this project, in some of its top folders."""
    tops = folders or ("hansa", "tests", "benchmarks")
    return [
        path
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in tops
    ]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def test_a_file_can_be_read_in_a_sitting() -> None:
    long = {name_of(p): n for p in sources() if (n := len(p.read_text().splitlines())) > LINES_MAX}
    assert not long, f"over {LINES_MAX} lines: {long}"


def test_every_folder_of_code_is_a_package_that_says_why_and_what_must_never_happen() -> None:
    rooms = {"api", "migrations"}  # of a service, whose own package has told it
    folders = {p.parent for p in sources("hansa") if not rooms & set(p.parts)}
    silent: list[str] = []
    for folder in sorted(folders):
        init = folder / "__init__.py"
        told = (ast.get_docstring(tree_of(init)) or "") if init.exists() else ""
        if len(told.split()) < 12 or "must never" not in told.lower():
            silent.append(name_of(init))
    assert not silent


def test_a_module_is_named_after_what_is_in_it() -> None:
    vague = [name_of(p) for p in sources() if VAGUE & set(p.stem.lower().split("_"))]
    assert not vague


def _clock_readings(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            names = {alias.name for alias in node.names} & WALL_CLOCK["time"]
            yield from (f"{name_of(path)}:{node.lineno} from time import {one}" for one in names)
        elif isinstance(node, ast.Attribute):
            owner = node.value
            of = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if node.attr in WALL_CLOCK.get(of, set()):
                yield f"{name_of(path)}:{node.lineno} {of}.{node.attr}"


def test_only_the_clock_reads_the_clock() -> None:
    read = [
        one
        for path in sources("hansa")
        if name_of(path) not in MAY_READ_THE_CLOCK
        for one in _clock_readings(path)
    ]
    assert not read


def test_no_test_sleeps() -> None:
    slept = [
        f"{name_of(path)}:{node.lineno}"
        for path in sources("tests")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep")
    ]
    assert not slept


def _service_of(module: str) -> str | None:
    """Return the service that a module belongs to: hansa.business.commerce, for example."""
    parts = module.split(".")
    if len(parts) < 3 or parts[0] != "hansa" or parts[1] not in ("business", "platform"):
        return None
    service = ".".join(parts[:3])
    return None if service == BUILDING_BLOCKS else service


def _imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_a_service_imports_from_another_one_only_its_api() -> None:
    beyond: list[str] = []
    for path in sources("hansa"):
        own = _service_of(name_of(path).removesuffix(".py").replace("/", "."))
        for line, module in _imported(path):
            other = _service_of(module)
            if own and other and other != own and not f"{module}.".startswith(f"{other}.api."):
                beyond.append(f"{name_of(path)}:{line} {module}")
    assert not beyond


def test_no_file_knows_this_machine_or_a_registry() -> None:
    known: list[str] = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        known += [
            f"{name_of(path)}:{number} {found.group()}"
            for number, line in enumerate(text.splitlines(), 1)
            if (found := PLACES.search(line))
        ]
    assert not known


def test_nothing_is_left_for_later() -> None:
    left = [
        f"{name_of(path)}:{number}"
        for path in sources()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b(?:TODO|FIXME)\b", line)
    ]
    assert not left


# ---- dependencies


@cache
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def dependencies() -> list[str]:
    groups: dict[str, list[str]] = project()["optional-dependencies"]
    return [*project()["dependencies"], *(one for group in groups.values() for one in group)]


@pytest.mark.parametrize("dependency", dependencies())
def test_a_dependency_has_its_reason_and_its_tested_version(dependency: str) -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    declared = [line for line in lines if line.strip().startswith(f'"{dependency}"')]
    assert all(len(line.partition("#")[2].split()) >= 2 for line in declared)
    assert declared
    wanted = Requirement(dependency)
    locked = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines()]
    versions = [
        next(iter(one.specifier)).version
        for one in locked
        if one.name.lower().replace("_", "-") == wanted.name.lower()
    ]
    assert len(versions) == 1
    assert wanted.specifier.contains(versions[0])


def test_the_lock_is_exact_and_names_no_place() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", line) for line in lines)
