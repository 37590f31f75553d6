"""Scaffold: a new service as whole files that run, are typed and are tested, to be changed at will.

It exists so that the first hour goes into the domain and not into finding out where things go. The
texts in `service/` are the files, with the service's name in place of `$name`. What must never
happen here: a file of somebody's overwritten, or half of a service written.
"""

import importlib.util
import keyword
import re
import tomllib
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

import hansa
from hansa.kernel.drafting import draft
from hansa.kernel.service import Service

_NAME: Final = re.compile(r"[a-z][a-z0-9]{1,30}")
_SERVICES: Final = re.compile(r"(?ms)^(\[tool\.hansa\].*?^services\s*=\s*\[)([^\]]*)(\])")

FILES: Final = {
    "{name}/__init__.py": "init.txt",
    "{name}/api.py": "api.txt",
    "{name}/tables.py": "tables.txt",
    "{name}/titles.py": "titles.txt",
    "{name}/migrations/__init__.py": "migrations.txt",
    "{name}/migrations/0001_{name}.py": "revision.txt",
    "tests/test_{name}.py": "tests.txt",
}
"""The files of a service, and the texts they are made from."""
SHARED: Final = {"tests/conftest.py": "conftest.txt"}
"""Files of the project that are written where they are not yet."""


class CannotWrite(ValueError):
    """A service that cannot be made there; the text says why. Nothing was written."""


def write_service(folder: Path, name: str, *, reserved: Collection[str] = ()) -> list[Path]:
    """Write a service into a project, and name it in its `pyproject.toml`; return the files.

    `reserved` are names that no service may have. Raises CannotWrite, and OSError.
    """
    checkout = Path(hansa.__file__).parents[1]
    if folder == checkout or folder.is_relative_to(checkout / "hansa"):
        raise CannotWrite(
            f"{folder} is Hansa itself: make a folder for your project, and run this in it"
        )
    _check_name(folder, name, reserved)
    texts = {folder / path.format(name=name): _text(source, name) for path, source in FILES.items()}
    taken = [path for path in texts if path.exists()]
    if taken:
        raise CannotWrite(f"{taken[0].relative_to(folder)} is there already")
    if (folder / name).exists():
        raise CannotWrite(f"{name}/ is there already; choose another name")
    for path, source in SHARED.items():
        if not (folder / path).exists():
            texts[folder / path] = _text(source, name)
    project = folder / "pyproject.toml"
    texts[project] = _named_in(project, name)
    for file, text in texts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return list(texts)


def write_revision(service: Service, name: str) -> Path:
    """Write the next revision of a service, drafted from its tables; return the file.

    Raises CannotWrite for a name that is none and for nothing to change, and RevisionsInvalid.
    """
    from hansa.kernel.revisions import folder_of

    if not re.fullmatch(r"[a-z][a-z0-9_]{0,59}", name):
        raise CannotWrite(f"{name!r}: name a revision in a-z, 0-9 and _, as add_expiry")
    spec = importlib.util.find_spec(service.package)
    if spec is None or not spec.submodule_search_locations:
        name = service.package.rpartition(".")[2]
        raise CannotWrite(
            f"{service.name} is a plain module, and only a package has migrations/: move"
            f" {name}.py to {name}/__init__.py"
        )
    folder = folder_of(service) or Path(spec.submodule_search_locations[0]) / "migrations"
    try:
        file, text = draft(service, name)
    except ValueError as error:
        raise CannotWrite(str(error)) from None
    if not folder.is_dir():
        folder.mkdir()
        (folder / "__init__.py").write_text(_text("migrations.txt", service.name))
    (folder / file).write_text(text, encoding="utf-8")
    return folder / file


def _check_name(folder: Path, name: str, reserved: Collection[str]) -> None:
    if keyword.iskeyword(name):
        raise CannotWrite(f"{name} is a keyword of Python; choose another name")
    if name in reserved:
        raise CannotWrite(f"{name} is the name of a service or package that is there already")
    if _NAME.fullmatch(name) is None:
        raise CannotWrite(f"{name!r}: name a service in 2 to 31 lower-case letters and digits")
    try:
        there = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        there = None
    inside = there is not None and there.origin and folder in Path(there.origin).parents
    if there is not None and not inside and not (folder / name).exists():
        raise CannotWrite(f"{name} is a Python module already; choose another name")


def _text(source: str, name: str) -> str:
    raw = (resources.files("hansa.scaffold") / "service" / source).read_text(encoding="utf-8")
    return Template(raw).substitute(name=name)


def _named_in(file: Path, name: str) -> str:
    """Return the text of a `pyproject.toml` that names the service among the others."""
    if not file.exists():
        return _text("pyproject.txt", name)
    text = file.read_text(encoding="utf-8")
    before = _services(file, text)
    if before is None:
        changed = f'{text.rstrip()}\n\n[tool.hansa]\nservices = ["{name}"]\n'
    else:
        joint = ", " if before else ""
        changed = _SERVICES.sub(
            lambda found: f'{found[1]}{found[2].rstrip().rstrip(",")}{joint}"{name}"{found[3]}',
            text,
        )
    if _services(file, changed) != [*(before or []), name]:
        raise CannotWrite(f'add "{name}" to services under [tool.hansa] in {file.name} by hand')
    return changed


def _services(file: Path, text: str) -> list[Any] | None:
    try:
        declared = tomllib.loads(text).get("tool", {}).get("hansa")
    except tomllib.TOMLDecodeError as error:
        raise CannotWrite(f"{file.name} is not TOML: {error}") from None
    return None if declared is None else list(declared.get("services", []))
