"""Interface: the operations of a release as the lock keeps them, and what a change of them breaks.

Callers are clients outside and services that run an older release. What must never happen here: a
released operation that answers its callers differently, with nobody told.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hansa.kernel import shapes
from hansa.kernel.compatibility import Misfit, input_misfits, output_misfits
from hansa.kernel.operation import DENIED, INTERNAL, PUBLIC, Operation

if TYPE_CHECKING:
    from hansa.kernel.service import Service


class Promise(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What an operation promises its callers. `input` and `output` are shapes."""

    kind: Literal["query", "command", "action"]
    needs: str
    input: Any
    output: Any
    route: str = ""
    status: int = 200
    scope: str = "site"
    deprecated: str = ""


def promises_of(services: "Iterable[Service]") -> dict[str, Promise]:
    """Return what all operations promise, by id. Raises TypeError for a type without a shape."""
    return {
        operation.id: _promise(operation)
        for service in services
        for operation in service.operations.values()
        if operation.needs is not DENIED
    }


def _promise(operation: Operation[..., Any]) -> Promise:
    fields: dict[str, shapes.Shape] = {}
    for part in operation.parameters:
        if part.source == "page":
            continue  # the same for all lists
        shape = "any" if part.source == "raw" else _shape(operation, part.type)
        if not part.required:
            default = msgspec.json.decode(msgspec.json.encode(part.default, enc_hook=str))
            shape = {"optional": shape, "default": default}
        fields[f"{part.source}.{part.name}" if part.source == "path" else part.name] = shape
    return Promise(
        operation.kind,
        str(operation.needs),
        {"struct": fields},
        _shape(operation, operation.returns),
        f"{operation.method} /{operation.service}{operation.path}" if operation.path else "",
        operation.status,
        operation.scope,
        operation.deprecated,
    )


def _shape(operation: Operation[..., Any], wanted: Any) -> shapes.Shape:
    try:
        return shapes.shape_of(wanted)
    except TypeError as error:
        raise TypeError(f"{operation.id}: {error}") from error


class Break(msgspec.Struct, frozen=True):
    """A broken promise: `what` is wrong and `todo` what mends it."""

    name: str
    what: str
    todo: str


BESIDE = (
    "declare a second operation beside it, on a route of its own, and mark this one deprecated="
)


def breaks(old: Mapping[str, Promise], new: Mapping[str, Promise]) -> list[Break]:
    """Return what `new` breaks of what `old` has promised; nothing when it may be released.

    Free: new operations, optional inputs, wider inputs, new fields of answers, narrower answers, a
    permission that is not needed any more, and the end of what was released as deprecated.
    """
    found: list[Break] = []
    for name, before in sorted(old.items()):
        now = new.get(name)
        if now is not None:
            found += _broken(name, before, now)
        elif not before.deprecated:
            todo = "release it as deprecated= before you remove it"
            found.append(Break(f"{name}{_at(before)}", "is gone", todo))
    return found


def _broken(name: str, old: Promise, new: Promise) -> Iterator[Break]:
    full = f"{name}{_at(old)}"
    for attribute, text in (("kind", "is a {} and was a {}"), ("scope", "has the scope {}, not {}"),
                            ("status", "answers {}, not {}")):  # fmt: skip
        before, now = getattr(old, attribute), getattr(new, attribute)
        if before != now:
            yield Break(full, text.format(now, before), BESIDE)
    if old.route and new.route != old.route:
        what = f"moved to {new.route}" if new.route else "has no route any more"
        yield Break(full, what, BESIDE)
    if not _still_allowed(old.needs, new.needs):
        what = f"needs {new.needs}, which who called it with {old.needs} may not have"
        yield Break(full, what, BESIDE)
    for misfit in input_misfits(old.input, new.input):
        yield Break(full, f"its input {misfit}", _mend_input(misfit))
    for misfit in output_misfits(old.output, new.output):
        yield Break(full, f"in its answer {misfit}", BESIDE)


def _still_allowed(old: str, new: str) -> bool:
    return new in (old, str(PUBLIC)) or old == str(INTERNAL)


def _mend_input(misfit: Misfit) -> str:
    easier = "give it a default, or " if "no default" in misfit.what else ""
    return easier + BESIDE


def _at(promise: Promise) -> str:
    return f" ({promise.route})" if promise.route else ""
