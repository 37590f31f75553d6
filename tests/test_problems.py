"""docs/problems.md tells every problem that the code can raise, with its status, and no other."""

import ast
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import hansa
from hansa.kernel.problems import Problem

ROOT = Path(__file__).parent.parent
PASSED_ON = {
    "hansa/kernel/problems.py": "problem_of",  # what another process told
    "hansa/kernel/http/binding.py": "_bad",
    "hansa/platform/blobs/serving.py": "_problem",
}
"""Functions that are handed a slug, by name or as the second of two."""
LOCAL = {"bad-answer"}
"""What no answer carries."""


def kinds(root: type[Problem]) -> Iterator[type[Problem]]:
    yield root
    for below in root.__subclasses__():
        yield from kinds(below)


def raised() -> dict[str, set[int]]:
    """Return each slug in the code with the statuses that it comes with, where they are told."""
    for module in pkgutil.walk_packages(hansa.__path__, "hansa."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
    statuses = {kind.__name__: kind.status for kind in kinds(Problem)}
    found: defaultdict[str, set[int]] = defaultdict(set)
    for kind in kinds(Problem):
        if kind.__module__.startswith("hansa."):
            found[kind.slug].add(kind.status)
    for file in sorted((ROOT / "hansa").rglob("*.py")):
        passing = PASSED_ON.get(str(file.relative_to(ROOT)), "")
        for inside, call, value in slugs(ast.parse(file.read_text()), "", passing):
            if inside == passing:
                continue
            told = [
                one.value
                for one in ast.walk(value)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            assert told, f"{file}, {inside}: a slug that cannot be read here"
            for slug in told:
                found[slug] |= {statuses[call]} if call in statuses else set()
    return found


def slugs(node: ast.AST, inside: str, passing: str) -> Iterator[tuple[str, str, ast.expr]]:
    """Yield each slug in a call: in which function, of what, and its expression."""
    for below in ast.iter_child_nodes(node):
        if isinstance(below, ast.Call):
            name = below.func.id if isinstance(below.func, ast.Name) else ""
            for keyword in below.keywords:
                if keyword.arg == "slug":
                    yield inside, name, keyword.value
            if passing and name == passing and len(below.args) == 2:
                yield inside, name, below.args[1]
        if isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from slugs(below, below.name, passing)
        else:
            yield from slugs(below, inside, passing)


def test_every_problem_is_told_and_none_is_stale() -> None:
    text = (ROOT / "docs" / "problems.md").read_text()
    sections = dict(re.findall(r"^## (\S+)\n\n(.+?)(?=\n\n## |\s*\Z)", text, re.M | re.S))
    found = raised()
    assert list(sections) == sorted(found)
    for slug, section in sections.items():
        if slug in LOCAL:
            continue
        status = re.match(r"(\d{3})\. \S", section)
        assert status is not None, f"{slug}: begin with its status"
        assert not found[slug] or int(status[1]) in found[slug], slug
