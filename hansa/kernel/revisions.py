"""Revisions: the numbered steps of a service's schema, read without running them.

A revision is a plain Alembic file ``migrations/NNNN_name.py`` in the service's package, with
`revision` (the four digits), `down_revision` (those before it), `phase` and `upgrade()`:

- ``phase = "expand"`` adds; the code of the release before it keeps working;
- ``phase = "contract"`` takes away what no running release uses any more.

What must never happen: two orders in which the same revisions could be applied.
"""

import ast
import gc
import hashlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

from sqlalchemy import Table

Phase = Literal["expand", "contract"]

_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.py")


class Migrated(Protocol):
    """What the runner needs of a service: its name, its package, and the tables it declares."""

    @property
    def name(self) -> str:
        """The service's name."""
        ...

    @property
    def package(self) -> str:
        """The dotted name of the package that has the folder `migrations`."""
        ...

    @property
    def tables(self) -> Mapping[str, Table]:
        """The declared tables by their short names."""
        ...


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of a service's schema, as its file says."""

    service: str
    revision: str
    name: str
    phase: Phase
    down_revision: str | None
    file: Path

    @property
    def sum(self) -> str:
        """SHA-256 of its text: a cell that has applied it has applied this."""
        return hashlib.sha256(self.file.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


class RevisionsInvalid(Exception):
    """A revision file is malformed or the chain of a service is broken; the message says what to
    change."""


def folder_of(service: Migrated) -> Path | None:
    """Return the folder of a service's revisions, or None when it has none.

    Raises RevisionsInvalid when its package cannot be found.
    """
    spec = importlib.util.find_spec(service.package)
    if spec is None:
        raise RevisionsInvalid(f"{service.name}: there is no package {service.package}")
    if not spec.submodule_search_locations:
        return None  # declared in a plain module, as in tests and small examples
    folder = Path(spec.submodule_search_locations[0]) / "migrations"
    return folder if folder.is_dir() else None


def chain_of(service: Migrated) -> list[Revision]:
    """Return a service's revisions in their one order. Raises RevisionsInvalid."""
    folder = folder_of(service)
    return [] if folder is None else read_chain(service.name, folder)


def numbers_of(service: Migrated) -> set[str]:
    """Return the numbers of a service's revisions by the names of their files, which are not read:
    a start with nothing to do must not pay for that. Raises RevisionsInvalid."""
    folder = folder_of(service)
    if folder is None:
        return set()
    return {number for _, number, _ in _files(service.name, folder)}


def read_chain(service: str, folder: Path) -> list[Revision]:
    """Return the revisions in a folder in their one order. Raises RevisionsInvalid."""
    found = [_read(service, *one) for one in _files(service, folder)]
    _check_chain(service, found)
    return found


def _files(service: str, folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Give each revision's file, number and name, in order."""
    for file in sorted(folder.glob("*.py")):
        if file.name.startswith("_"):
            continue
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise RevisionsInvalid(f"{file.name} of {service}: name it NNNN_what_it_does.py")
        yield file, match[1], match[2]


def _read(service: str, file: Path, number: str, name: str) -> Revision:
    values = _assigned(file)
    where = f"{file.name} of {service}"
    if values.get("revision") != number:
        raise RevisionsInvalid(f'{where}: write revision = "{number}", the number in its name')
    if values.get("phase") not in ("expand", "contract"):
        raise RevisionsInvalid(f'{where}: write phase = "expand" or phase = "contract"')
    if "upgrade" not in values:
        raise RevisionsInvalid(f"{where}: it has no function upgrade()")
    if "downgrade" in values:
        raise RevisionsInvalid(f"{where}: revisions go forward only; remove downgrade()")
    down = values.get("down_revision")
    if "down_revision" not in values or not (down is None or isinstance(down, str)):
        raise RevisionsInvalid(f"{where}: write down_revision, the number before it, or None")
    return Revision(service, number, name, cast(Phase, values["phase"]), down, file)


def _parsed(file: Path) -> ast.Module:
    """Return a file's syntax tree. No garbage is collected meanwhile: that lets other threads run
    in the midst of it, which Python 3.11 answers with a SystemError (CPython issue 106905)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(file.read_bytes(), str(file))
    finally:
        if was_enabled:
            gc.enable()


def _assigned(file: Path) -> dict[str, Any]:
    """Return the constants and functions at the top of a file, without running it: a start with
    nothing to do must not pay for Alembic."""
    try:
        tree = _parsed(file)
    except SyntaxError as error:
        raise RevisionsInvalid(f"{file.name}: line {error.lineno}: {error.msg}") from None
    values: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    values[target.id] = node.value.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant):
            if isinstance(node.target, ast.Name):
                values[node.target.id] = node.value.value
        elif isinstance(node, ast.FunctionDef):
            values[node.name] = node
    return values


def _check_chain(service: str, revisions: list[Revision]) -> None:
    """Refuse anything but one line from None to the newest."""
    for first, second in pairwise(revisions):
        if first.revision == second.revision:
            raise RevisionsInvalid(
                f"{second.file.name} of {service} has the number of {first.file.name}: give the "
                "later one the next number"
            )
    before: Revision | None = None
    for revision in revisions:
        expected = None if before is None else before.revision
        where = f"{revision.file.name} of {service}"
        if revision.down_revision != expected:
            known = {other.revision for other in revisions}
            if revision.down_revision is not None and revision.down_revision not in known:
                raise RevisionsInvalid(
                    f"{where} follows {revision.down_revision}, which is missing"
                )
            raise RevisionsInvalid(
                f"{where} has down_revision {revision.down_revision!r}, but the revision before it "
                f"is {expected!r}: a service has one line of revisions"
            )
        if before is None and revision.phase == "contract":
            raise RevisionsInvalid(f"{where}: the first revision has nothing to contract")
        before = revision
