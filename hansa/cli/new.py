"""New: a service, or the next revision of one, written into the project."""

import argparse
import pkgutil
from importlib.util import find_spec
from pathlib import Path

import hansa
from hansa import assembly, project
from hansa.cli.serving import failed
from hansa.kernel.revisions import RevisionsInvalid
from hansa.scaffold import CannotWrite, write_revision, write_service


def service(options: argparse.Namespace) -> int:
    """Write a service that runs, with its first revision and its tests."""
    here = project.current()
    try:
        files = write_service(here.folder, options.name, reserved=_reserved())
    except (CannotWrite, OSError) as error:
        return failed(str(error))
    for file in sorted(files):
        print(f"  {file.relative_to(here.folder)}")
    print(f"\n  Its tests:  python -m pytest{_wanting()}\n  Run it:     hansa up\n"
          f"  Begin with: {options.name}/__init__.py, which says why it exists.")  # fmt: skip
    return 0


def _wanting() -> str:
    """Return what the tests need that is not in this environment."""
    if find_spec("pytest") is not None:
        return ""
    return "  (pytest is not here yet: install Hansa with [testing], see docs/writing-a-service.md)"


def _reserved() -> set[str]:
    """Return what no new service may be called: its tables, routes or modules would be those of
    another one of Hansa's."""
    rooms = [Path(hansa.__file__).parent / room for room in ("", "platform", "business")]
    names = {one.name for room in rooms for one in pkgutil.iter_modules([str(room)])}
    names |= {one.name for one in (*assembly.SERVICES, *project.EVERYWHERE)}
    return {*names, "hansa", "tests", "docs"}


def revision(options: argparse.Namespace) -> int:
    """Write the next revision of a service, drafted from its tables."""
    found = [one for one in project.services() if one.name == options.service]
    if not found:
        return failed(f"the project has no service {options.service}")
    try:
        file = write_revision(found[0], options.name)
    except (CannotWrite, RevisionsInvalid, OSError) as error:
        return failed(str(error))
    try:
        shown = file.relative_to(Path.cwd())
    except ValueError:
        shown = file
    print(f"  {shown}\n\n  Read it before you keep it; `hansa migrate` applies it.")
    return 0
