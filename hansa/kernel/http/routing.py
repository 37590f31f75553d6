"""Routing: from a method and a path to an endpoint and the values in the path.

A path without parameters is one lookup, and so is one whose last part alone is a parameter. Others
walk a tree by segment; where a literal and a parameter both match, the literal wins, and the
parameter is tried when the literal leads nowhere.
A path is one resource, whatever the method: one that its template lacks is not looked for in
templates that fit less well (OpenAPI 3.1.1, section 4.8.8.2, matches paths in the same way).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from hansa.kernel.http.refusals import MethodNotAllowed
from hansa.kernel.problems import NotFound

E = TypeVar("E")

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
"""What lies below a node where nothing does: most nodes are the last of their path."""


class _Node(Generic[E]):
    __slots__ = ("literals", "methods", "parameter")

    def __init__(self) -> None:
        self.literals: Mapping[str, _Node[E]] = _NOTHING
        self.parameter: _Node[E] | None = None
        self.methods: dict[str, E] = {}

    def below(self, part: str) -> "_Node[E]":
        """Return the node that a literal leads to, made where there is none."""
        if not isinstance(self.literals, dict):
            self.literals = {}
        found: _Node[E] = self.literals.setdefault(part, _Node())
        return found


class Router(Generic[E]):
    """Endpoints by method and path template, such as ``/products/{handle}``."""

    def __init__(self, more: Callable[[str], bool] = lambda _: False) -> None:
        """`more` is asked when a path leads nowhere: it adds what begins with a part, and tells
        whether there was anything."""
        self._more = more
        self._static: dict[str, dict[str, E]] = {}
        self._last: dict[str, dict[str, E]] = {}
        """By what stands before the last part, where that alone is a parameter."""
        self._root: _Node[E] = _Node()

    def add(self, method: str, template: str, endpoint: E) -> None:
        """Add an endpoint. Raises ValueError for a bad template or a route that is taken."""
        node = self._root
        parts = template.split("/")
        if parts[0] or "" in parts[1:]:
            raise ValueError(f"route {template!r}: begins with '/', has no empty part")
        plain = True
        for part in parts[1:]:
            if part.startswith("{") and part.endswith("}") and part[1:-1].isidentifier():
                plain = False
                if node.parameter is None:
                    node.parameter = _Node()
                node = node.parameter
            elif "{" in part or "}" in part:
                raise ValueError(f"route {template!r}: {part!r} must be a parameter as a whole")
            else:
                node = node.below(part)
        if method in node.methods:
            raise ValueError(f"route {method} {template} is taken by another operation")
        node.methods[method] = endpoint
        if method == "GET":
            node.methods["HEAD"] = endpoint
        before, _, last = template.rpartition("/")
        if plain:
            self._static[template] = node.methods
        elif last.startswith("{") and "{" not in before:
            self._last[before] = node.methods

    def find(self, method: str, path: str) -> tuple[E, list[str]]:
        """Return the endpoint and the values of its parameters, in order.

        Raises NotFound, or MethodNotAllowed with the methods that there are.
        """
        values: list[str] = []
        methods = self._static.get(path)
        if methods is None:
            before, slash, last = path.rpartition("/")
            methods = self._last.get(before) if slash and last else None
            if methods is not None:
                values.append(last)
            else:
                methods = self._resource(path.split("/"), values)
        endpoint = methods.get(method)
        if endpoint is None:
            raise MethodNotAllowed(method, ", ".join(sorted({*methods, "OPTIONS"})))
        return endpoint, values

    def _resource(self, parts: list[str], values: list[str]) -> dict[str, E]:
        """Return the methods of a path and append its values. Raises NotFound."""
        if not parts[0]:
            methods = self._straight(parts, values)
            if methods:
                return methods
            values.clear()
            methods = self._walk(self._root, parts, 1, values)
            if methods:
                return methods
            if len(parts) > 1 and self._more(parts[1]):
                values.clear()
                return self._resource(parts, values)
        raise NotFound("No resource has this path.", slug="no-such-path")

    def _straight(self, parts: list[str], values: list[str]) -> dict[str, E] | None:
        """Walk without a way back: nearly always right, and twice as fast."""
        node = self._root
        for part in parts[1:]:
            below = node.literals.get(part)
            if below is None:
                below = node.parameter
                if below is None or not part:
                    return None
                values.append(part)
            node = below
        return node.methods

    def _walk(
        self, node: _Node[E], parts: list[str], at: int, values: list[str]
    ) -> dict[str, E] | None:
        if at == len(parts):
            return node.methods
        part = parts[at]
        below = node.literals.get(part)
        if below is not None:
            found = self._walk(below, parts, at + 1, values)
            if found:
                return found
        if node.parameter is None or not part:
            return None
        values.append(part)
        found = self._walk(node.parameter, parts, at + 1, values)
        if not found:
            values.pop()
        return found
