"""Project: which services a folder's `pyproject.toml` puts together.

    [tool.hansa]
    services = ["hansa.business.commerce", "loyalty"]

Each name is a package (or a module) that declares a service. The nearest `pyproject.toml` upwards
that has `[tool.hansa]` counts; without one it is all that comes with Hansa. Sites and attempts are
always there, since nothing runs without them.
"""

import gc
import importlib
import importlib.util
import os
import re
import sys
import tomllib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hansa
from hansa import assembly
from hansa.kernel import catalog, contracts
from hansa.kernel.attempts import attempts
from hansa.kernel.interventions import interventions
from hansa.kernel.service import Service, heard_in, origin_of
from hansa.platform.sites import sites

EVERYWHERE: Final[tuple[Service, ...]] = (attempts, interventions, sites)
PROJECT_ENV: Final = "HANSA_PROJECT"
HANDLERS: Final = "api"
"""The room of a service whose import declares its handlers."""
SERVICES_MAX: Final = 10_000

_MODULE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class ProjectInvalid(ValueError):
    """A project that cannot be put together; the text says what to change."""


@dataclass(frozen=True)
class Project:
    """Where a project is, and the modules of its services in their order."""

    folder: Path
    modules: tuple[str, ...] | None = None
    """The packages of its services, in order; None where no `pyproject.toml` names any."""

    def load(self) -> tuple[Service, ...]:
        """Import the services and return them, sites and attempts first. Raises ProjectInvalid."""
        if self.modules is None:
            return assembly.SERVICES
        self._make_importable()
        found = dict.fromkeys(EVERYWHERE)
        are_there = sys.modules.keys() >= set(self.modules)
        with nullcontext() if are_there else _all_kept():
            for module in self.modules:
                found |= dict.fromkeys(services_in(module))
        if not are_there:
            sys.path_importer_cache.clear()  # which lists the folder of each: 1.2 kB of a service
        _check_heard(found)
        _check_projected(found)
        return tuple(found)

    def _make_importable(self) -> None:
        for place in (self.folder, self.folder / "src"):
            if place.is_dir() and str(place) not in sys.path:
                sys.path.insert(0, str(place))

    def lock_file(self) -> Path:
        """Return where the lock of its releases is."""
        folder = Path(hansa.__file__).parent if self.modules is None else self.folder
        return folder / contracts.LOCK_NAME

    def own(self) -> tuple[Service, ...]:
        """Return the services whose releases are its own: not those that come with Hansa."""
        if self.modules is None:
            return assembly.SERVICES
        return tuple(one for one in self.load() if not f"{one.package}.".startswith("hansa."))


@contextmanager
def _all_kept() -> Iterator[None]:
    """Search for no garbage meanwhile, nor later among what is there then: what is declared stays,
    and of thousands of services the search is a third of their start."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def current() -> Project:
    """Return the project that this process was started in. Raises ProjectInvalid.

    It is the one of the working directory, unless `HANSA_PROJECT` names another folder.
    """
    return find_project(Path(os.environ.get(PROJECT_ENV, ".")))


def services() -> tuple[Service, ...]:
    """Return the services of the current project. Raises ProjectInvalid."""
    return current().load()


def find_project(start: Path) -> Project:
    """Return the project that a folder belongs to. Raises ProjectInvalid."""
    start = start.resolve()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            declared = _declared(file)
            if declared is not None:
                return Project(folder, _modules(file, declared))
    return Project(start)


def _declared(file: Path) -> Any:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("hansa")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectInvalid(f"{file} is not TOML: {error}") from None


def _modules(file: Path, declared: Any) -> tuple[str, ...]:
    named = declared.get("services") if isinstance(declared, dict) else None
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise ProjectInvalid(f'{file}: write services = ["package", ...] under [tool.hansa]')
    if unknown := sorted(declared.keys() - {"services"}):
        raise ProjectInvalid(f"{file}: [tool.hansa] knows services, not {', '.join(unknown)}")
    if len(named) > SERVICES_MAX:
        raise ProjectInvalid(f"{file}: a process has at most {SERVICES_MAX} services")
    for one in named:
        if not _MODULE.fullmatch(one):
            raise ProjectInvalid(f"{file}: {one!r} is not the name of a package")
    return tuple(named)


def services_in(module: str) -> list[Service]:
    """Import a module with its room `api`, and return the services that it declares.

    Raises ProjectInvalid where there is none; what fails inside the module raises as it is.
    """
    if _spec(module) is None:
        raise ProjectInvalid(f"There is no module {module}: is its folder installed, or beside"
                             " the pyproject.toml that names it?")  # fmt: skip
    importlib.import_module(module)
    if _spec(f"{module}.{HANDLERS}") is not None:
        importlib.import_module(f"{module}.{HANDLERS}")
    found = list(catalog.declared_in(module))
    if not found:
        raise ProjectInvalid(f"{module} declares no service: write Service(...) in it")
    return found


def _check_heard(services: Collection[Service]) -> None:
    """Raise ProjectInvalid where a service hears one that is not there."""
    names = {one.name for one in services}
    for subscription in heard_in(services):
        if subscription.event is None or origin_of(subscription) in names:
            continue
        event = catalog.event_name(subscription.event)
        package = subscription.event.__module__.removesuffix(".events").removesuffix(".api")
        raise ProjectInvalid(
            f"{subscription.service} hears {event}, but {package} is not among the services of the"
            " project: name it under [tool.hansa] in pyproject.toml"
        )


def _check_projected(services: Collection[Service]) -> None:
    """Raise ProjectInvalid where two services write a collection of one name."""
    if assembly.SEARCH in {one.name for one in services}:
        from hansa.platform.search.api.projecting import projections_of

        try:
            projections_of(services)
        except ValueError as twice:
            raise ProjectInvalid(str(twice)) from None


def _spec(module: str) -> Any:
    try:
        return importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a parent that is not there, or is no package
        return None
