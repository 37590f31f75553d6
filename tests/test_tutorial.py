"""The tutorial is true: what it says to type, in its order, makes a service that sells points."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.cli.server import ROOT, Server

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
FILES = dict(re.findall(r'```python title="([^"]+)"\n(.*?)```', TUTORIAL, re.S))
SCRIPTS = re.findall(r"```sh\n(.*?)```", TUTORIAL, re.S)
PROGRAMS = {"hansa": "-m hansa.cli", "python3": ""}


def run(folder: Path, script: str) -> str:
    """Run commands as they are typed in a shell; return what they print."""
    programs = "\n".join(
        f'{name}() {{ "{sys.executable}" {module} "$@"; }}' for name, module in PROGRAMS.items()
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("HANSA_FOLDER", None)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{programs}\n{script}"], cwd=folder, env=environment,
        text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def follow(folder: Path) -> None:
    """Do what the tutorial says up to its tests."""
    new, revision, *_ = SCRIPTS
    run(folder, new)
    (services,) = re.findall(r"```toml\n(.*?)```", TUTORIAL, re.S)
    project = folder / "pyproject.toml"
    written = project.read_text()
    assert 'services = ["loyalty"]\n' in written
    project.write_text(written.replace('services = ["loyalty"]\n', services))
    for name, text in FILES.items():
        (folder / name).write_text(text)
    assert "0001_first.py" in run(folder, revision)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tutorial")
    follow(folder)
    return folder


def test_it_is_a_service_in_less_than_80_lines() -> None:
    lines = [line for name, text in FILES.items() if name.startswith("loyalty/")
             for line in text.splitlines() if line.strip()]  # fmt: skip
    assert 0 < len(lines) < 80


def test_its_tests_pass_and_its_types_are_strict(project: Path) -> None:
    _, _, tests, *_ = SCRIPTS
    assert " passed" in run(project, tests)
    run(project, "python3 -m ruff format --check --line-length 100 loyalty/*.py tests")
    strict = {
        "typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "include": ["loyalty", "tests"],
        "exclude": ["**/migrations"], "reportMissingTypeStubs": False,
    }  # fmt: skip
    (project / "pyrightconfig.json").write_text(json.dumps(strict))
    run(project, f"python3 -m basedpyright --pythonpath {sys.executable}")


ABSENT = """import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_its_tests_need_no_more_than_what_make_up_installs(project: Path, tmp_path: Path) -> None:
    setup = (ROOT / "scripts" / "setup").read_text()
    assert """printf '%s' "testing $*" | tr""" in setup, "what it installs, whatever else is wanted"
    there = {"hansa", *wanted_by("hansa", "testing")}
    assert "pytest" in there
    absent = {
        top for top, homes in packages_distributions().items()
        if there.isdisjoint(map(normal, homes))
    }  # fmt: skip
    assert "hypothesis" in absent, "it is only in the environment of who builds Hansa"
    (tmp_path / "sitecustomize.py").write_text(ABSENT.format(absent=absent))
    _, _, tests, *_ = SCRIPTS
    alone = f"export PYTHONPATH={tmp_path}:$PYTHONPATH PYTEST_DISABLE_PLUGIN_AUTOLOAD=1\n"
    assert " passed" in run(project, alone + tests)


def wanted_by(name: str, extra: str = "") -> set[str]:
    """What is installed with a distribution, and with that, by name."""
    found: set[str] = set()
    todo = [(name, extra)]
    while todo:
        name, extra = todo.pop()
        for text in requires(name) or ():
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                wanted = normal(one.name)
                if wanted not in found:
                    todo += [(one.name, part) for part in ("", *one.extras)]
                found.add(wanted)
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_is_served_and_points_are_spent(project: Path, tmp_path: Path) -> None:
    *_, up, shopping = SCRIPTS
    assert up == "hansa up\n"
    with Server(tmp_path / ".hansa", cwd=project) as server:
        server.wait_for(r"(?s)Hansa serves.*what is in \S+ stays\.")
        bought = run(tmp_path, shopping.replace("localhost:8400", f"localhost:{server.port}"))
        assert re.search(r'"points":\s*10\}\s*$', bought)
        assert server.stop() == 0
