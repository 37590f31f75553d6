"""Contracts: what is stored keeps a name, a version and a shape that later releases can still read.

Events, arguments of due work, and the requests and kept answers of actions outlive the code that
wrote them, and two releases run side by side. `contracts.lock` holds every shape that was ever
released, and what the operations promise their callers (module interface). (The kept answer of a
command is sent again as it is, never read here, so it needs no contract of its own.) What must
never happen: a stored row that no running release can read, or a changed shape under an old
version. A revision of the schema that was released stays as it was, to the letter, since cells
have applied it.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from hansa.kernel import codec, interface, shapes
from hansa.kernel.catalog import event_name, is_declared
from hansa.kernel.interface import Promise, promises_of
from hansa.kernel.revisions import chain_of
from hansa.kernel.structs import Event

if TYPE_CHECKING:
    from hansa.kernel.service import Service

Kind = Literal["event", "due", "request", "answer"]
_shape_of = lru_cache(maxsize=64)(shapes.shape_of)
Data = dict[str, Any]
Upcaster = Callable[[Data], Data]
"""Lifts stored data from one version to the next: pure, and it may change the copy it is given."""

LOCK_NAME: Final = "contracts.lock"
LINE_LETTERS_MAX: Final = 100
LEVELS_APART: Final = 2
"""The lock, its contracts and each contract take lines of their own however short they are."""


class ContractUnknown(Exception):
    """A stored row has a name that this release does not know. The row stays as it is."""


class VersionUnknown(Exception):
    """A stored row has a version that this release cannot read. The row stays as it is.

    `newer` tells whether a newer release wrote it, so that waiting for that release is right.
    """

    def __init__(self, message: str, *, newer: bool) -> None:
        super().__init__(message)
        self.newer = newer


class Unliftable(Exception):
    """An upcaster failed on a stored row, or its answer does not fit. The row stays as it is."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One thing that is stored: `name` on the wire, its current version, and its type there."""

    name: str
    kind: Kind
    version: int
    type: Any

    @property
    def shape(self) -> shapes.Shape:
        """The shape of the type. It is rarely asked for, and of thousands not kept."""
        return _shape_of(self.type)


@dataclass(frozen=True, slots=True)
class Breach:
    """A change that would leave stored rows unreadable, or releases unable to run side by side."""

    name: str
    what: str
    whom: str = "stored rows, and releases that run side by side"
    todo: str = ""

    def __str__(self) -> str:
        told = f"{self.name}: {self.what}\n  breaks: {self.whom}"
        return f"{told}\n  to do:  {self.todo}" if self.todo else told


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """What the lock keeps of one contract: every shape by its version."""

    kind: str
    version: int
    shapes: dict[int, Any]


class Lock(msgspec.Struct, forbid_unknown_fields=True):
    """The content of a `contracts.lock`: what was released, by name."""

    format: int = 1
    contracts: dict[str, Entry] = {}
    operations: dict[str, Promise] = {}
    revisions: dict[str, str] = {}
    """Of the schema, by `service.NNNN`: the sum of each."""


# ---- what the code declares


def contracts_of(services: "Iterable[Service]") -> list[Contract]:
    """Return what the services store, by name. Raises TypeError for what cannot be stored.

    The services' packages must be imported whole, so that all of their events are there.
    """
    found: dict[str, Contract] = {}
    events = _events_by_service()
    for service in services:
        for contract in _of_service(service, events.get(service.name, ())):
            if contract.name in found:
                raise TypeError(f"{contract.name} is declared twice")
            found[contract.name] = contract
    return [found[name] for name in sorted(found)]


def _of_service(service: "Service", events: Iterable[type[Event]]) -> Iterable[Contract]:
    for event in events:
        if f"{event.__module__}.".startswith(f"{service.package}."):
            yield _contract(event_name(event), "event", event.event_version, event)
    for work in service.due_work.values():
        arguments = [
            (part.name, part.type) if part.required else (part.name, part.type, part.default)
            for part in work.parameters
        ]
        wanted = msgspec.defstruct("Arguments", arguments, frozen=True, forbid_unknown_fields=True)
        yield _contract(work.name, "due", work.version, wanted)
    for action in service.actions.values():
        yield _contract(request_name(action.id), "request", action.version, action.request_type)
        yield _contract(answer_name(action.id), "answer", action.version, action.returns)


def request_name(action: str) -> str:
    """Return the contract name of what an action asks the world."""
    return f"{action}:request"


def answer_name(action: str) -> str:
    """Return the contract name of the answer that an action's attempt keeps."""
    return f"{action}:answer"


def _events_by_service() -> dict[str, list[type[Event]]]:
    """Return all events that are declared in services' packages, by the service's name."""
    found: dict[str, list[type[Event]]] = {}
    for event in _events_below(Event):
        if event.event_aggregate and is_declared(event):  # else it is the common part of others
            found.setdefault(event_name(event).partition(".")[0], []).append(event)
    return found


def _events_below(root: type[Event]) -> Iterable[type[Event]]:
    for event in root.__subclasses__():
        yield event
        yield from _events_below(event)


def _contract(name: str, kind: Kind, version: int, wanted: Any) -> Contract:
    try:
        shapes.shape_of(wanted)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error
    return Contract(name, kind, version, wanted)


def upcasters_of(services: "Iterable[Service]") -> dict[tuple[str, int], Upcaster]:
    """Return the upcasters that the services declare, by name and the version they lift from."""
    return {key: fn for service in services for key, fn in service.upcasters.items()}


# ---- the lock


def describe(services: "Iterable[Service]") -> Lock:
    """Return what the services store and promise now, as a lock with current versions only. With
    Hansa's own services comes what the kernel stores. Raises RevisionsInvalid."""
    from hansa.kernel.migrating import KernelSchema

    every = list(services)
    lock = lock_of(contracts_of(every))
    lock.operations = promises_of(every)
    kernel = (
        (KernelSchema("sqlite"),) if any(one.package.startswith("hansa.") for one in every) else ()
    )
    lock.revisions = {
        f"{one.service}.{one.revision}": one.sum
        for service in (*kernel, *every)
        for one in chain_of(service)
    }
    return lock


def lock_of(contracts: Iterable[Contract]) -> Lock:
    """Return contracts as a lock with their current versions only."""
    return Lock(
        contracts={
            one.name: Entry(one.kind, one.version, {one.version: one.shape}) for one in contracts
        }
    )


def compare(lock: Lock, current: Lock, upcasters: Iterable[tuple[str, int]] = ()) -> list[Breach]:
    """Return what `current` breaks of what `lock` has released; nothing when it may be released.

    Free: a new contract, and a new field with a default. Anything else needs the next version and
    an upcaster from the one before. What is in the lock and not in the code any more is a breach,
    until somebody who knows that no row is left removes it from the lock.
    """
    lifts = set(upcasters)
    found: list[Breach] = []
    for name, entry in sorted(lock.contracts.items()):
        now = current.contracts.get(name)
        if now is None:
            what = "is stored but no longer declared; rows of it may be left"
            todo = f"declare it again, or when no row is left: hansa check --accept --forget {name}"
            found.append(Breach(name, what, todo=todo))
        elif now.kind != entry.kind:
            found.append(Breach(name, f"was a contract of kind {entry.kind} and is {now.kind}"))
        elif now.version < entry.version:
            found.append(Breach(name, f"went back from version {entry.version} to {now.version}"))
        else:
            found += _compare_versions(name, entry, now, lifts)
    callers = "clients, and services of an older release, that call it as it was"
    return (
        found
        + [
            Breach(one.name, one.what, callers, one.todo)
            for one in interface.breaks(lock.operations, current.operations)
        ]
        + list(_changed_revisions(lock.revisions, current.revisions))
    )


def _changed_revisions(released: Mapping[str, str], now: Mapping[str, str]) -> Iterable[Breach]:
    for name, known in sorted(released.items()):
        if now.get(name) != known:
            what = "has changed since it was released" if name in now else "is not there any more"
            service = name.partition(".")[0]
            todo = f"take that back; what is to be different: hansa new revision {service} NAME"
            yield Breach(name, what, "cells that have applied it as it was", todo)


def _compare_versions(
    name: str, entry: Entry, now: Entry, lifts: set[tuple[str, int]]
) -> list[Breach]:
    if now.version == entry.version:
        changed = shapes.changes(entry.shapes[entry.version], now.shapes[now.version])
        return [
            Breach(name, what, todo=f"make it version {entry.version + 1} with an upcaster")
            for what in changed
        ]
    shapes_at = {**entry.shapes, **now.shapes}
    missing = [
        version
        for version in range(min(entry.shapes), now.version)
        if (name, version) not in lifts and not _same_by_right(now.kind, shapes_at, version)
    ]
    return [
        Breach(
            name,
            f"has no upcaster from version {version}, but rows of it may be left",
            todo=f'declare one: @service.upcast("{name}", {version})',
        )
        for version in missing
    ]


def _same_by_right(kind: str, shapes_at: Mapping[int, Any], version: int) -> bool:
    """The request and the answer of an action share its version, so one of them may stay as it was
    while the version rises for the other."""
    if kind not in ("request", "answer") or not {version, version + 1} <= shapes_at.keys():
        return False
    return not shapes.changes(shapes_at[version], shapes_at[version + 1])


def updated(lock: Lock, current: Lock) -> Lock:
    """Return the lock that a release of `current` commits: older shapes kept, the rest taken over.

    What is stored and not in `current` stays; operations are those of `current`. Call it only when
    `compare` finds nothing.
    """
    merged = copy.deepcopy(lock)
    merged.operations = dict(current.operations)
    merged.revisions.update(current.revisions)
    for name, now in current.contracts.items():
        before = merged.contracts.get(name)
        kept = dict(before.shapes) if before is not None else {}
        merged.contracts[name] = Entry(now.kind, now.version, {**kept, **now.shapes})
    return merged


def forgotten(lock: Lock, names: Iterable[str]) -> Lock:
    """Return a lock without what the names say: it was never released, or nothing is left of it.

    Raises ValueError for a name that the lock does not have.
    """
    less = copy.deepcopy(lock)
    for name in names:
        parts: tuple[dict[str, Any], ...] = (less.contracts, less.operations, less.revisions)
        if not any(part.pop(name, None) for part in parts):
            raise ValueError(f"{LOCK_NAME} has no {name}")
    return less


def to_text(lock: Lock) -> str:
    """Return a lock as JSON that reads and merges well: sorted, and a line for what fits on one."""
    return _lines(msgspec.to_builtins(lock, str_keys=True), 0) + "\n"


def _lines(value: Any, depth: int) -> str:
    flat = _flat(value)
    if depth > LEVELS_APART and len(flat) + depth <= LINE_LETTERS_MAX:
        return flat
    inside = "\n" + " " * (depth + 1)
    if shapes.is_mapping(value) and value:
        parts = [f"{_flat(name)}: {_lines(value[name], depth + 1)}" for name in sorted(value)]
        return "{" + inside + f",{inside}".join(parts) + inside[:-1] + "}"
    if shapes.is_list(value) and value:
        return (
            "["
            + inside
            + f",{inside}".join(_lines(v, depth + 1) for v in value)
            + inside[:-1]
            + "]"
        )
    return flat


def _flat(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=0).decode()


def from_text(text: str) -> Lock:
    """Return the lock in a text. Raises ValueError for one that is not a lock or of a later
    format."""
    try:
        lock = msgspec.json.decode(text.encode(), type=Lock)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{LOCK_NAME} cannot be read: {error}") from error
    if lock.format != 1:
        raise ValueError(f"{LOCK_NAME} has format {lock.format}, this release knows format 1")
    for name, entry in lock.contracts.items():
        if entry.version not in entry.shapes:
            raise ValueError(f"{LOCK_NAME}: {name} has no shape of version {entry.version}")
    return lock


def read_lock(file: Path) -> Lock:
    """Return the lock in a file; an empty one when there is no file. Raises ValueError."""
    return from_text(file.read_text(encoding="utf-8")) if file.exists() else Lock()


# ---- reading what is stored


class Reader:
    """Reads stored rows of any released version as values of the current types."""

    def __init__(
        self,
        contracts: Sequence[Contract],
        upcasters: Mapping[tuple[str, int], Upcaster],
    ) -> None:
        """Take the contracts and upcasters of all services (`contracts_of`, `upcasters_of`).

        Raises TypeError for an upcaster of a contract or from a version that there is not.
        """
        self._contracts = {contract.name: contract for contract in contracts}
        self._upcasters = dict(upcasters)
        for name, version in self._upcasters:
            contract = self._contracts.get(name)
            if contract is None or not 1 <= version < contract.version:
                raise TypeError(f"upcaster of {name} from version {version} lifts nothing")

    def lift(self, name: str, version: int, data: Data) -> Data:
        """Return stored data as of the current version, without fields that it does not know.

        `data` is left as it is. Raises ContractUnknown, VersionUnknown and Unliftable.
        """
        contract = self._find(name, version)
        if version < contract.version:
            data = copy.deepcopy(data)
        for step in range(version, contract.version):
            upcaster = self._upcasters.get((name, step))
            if upcaster is None and contract.kind in ("request", "answer"):
                continue  # it did not change while its action's version rose (see `compare`)
            if upcaster is None:
                raise VersionUnknown(f"{name} has no upcaster from version {step}", newer=False)
            try:
                data = upcaster(data)
            except Exception as error:
                raise Unliftable(
                    f"{name}: the upcaster from version {step} failed: {error!r}"
                ) from error
        return shapes.prune(data, contract.shape)  # type: ignore[no-any-return]

    def read(self, name: str, version: int, stored: bytes) -> Any:
        """Return stored JSON as a value of the contract's current type. Raises as `lift`, and
        Unliftable too for what does not fit the type."""
        contract = self._find(name, version)
        if version == contract.version:
            try:
                return codec.decode(stored, contract.type)
            except msgspec.MsgspecError:
                pass  # a newer release may have added an optional field; read it the longer way
        try:
            lifted = self.lift(name, version, msgspec.json.decode(stored))
            return codec.decode(msgspec.json.encode(lifted), contract.type)
        except msgspec.ValidationError as error:
            raise Unliftable(f"{name} version {version} does not fit: {error}") from error
        except msgspec.DecodeError as error:
            raise Unliftable(f"{name} version {version} is not JSON: {error}") from error

    def is_newer(self, name: str, version: int) -> bool:
        """Tell whether what is stored so is only for a newer release."""
        contract = self._contracts.get(name)
        return contract is None or version > contract.version

    def _find(self, name: str, version: int) -> Contract:
        contract = self._contracts.get(name)
        if contract is None:
            raise ContractUnknown(f"{name} is stored, but no service here declares it")
        if version > contract.version:
            raise VersionUnknown(
                f"{name} is stored as version {version}; this release knows up to "
                f"{contract.version}",
                newer=True,
            )
        if version < 1:
            raise VersionUnknown(f"{name} has no version {version}", newer=False)
        return contract
