"""Binding: from the values of a request to the arguments of a handler.

Made once per operation from its declaration; what it refuses is named with what it knows instead.
"""

import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from hansa.kernel.http.conversion import Convert, converter, is_text, optional_converter
from hansa.kernel.http.faults import shorten
from hansa.kernel.http.limits import Limits
from hansa.kernel.http.refusals import TooLong
from hansa.kernel.operation import Operation, Parameter
from hansa.kernel.problems import Invalid
from hansa.kernel.structs import PageRequest

PAGE_LIMIT_MAX: Final = 100
_LIMIT = re.compile(r"[0-9]{1,3}")
_NOTHING: Final[dict[str, Any]] = {}
"""What operations without parameters share; nobody writes to it."""
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Binding:
    """The arguments of one operation, but for its body: from the path and the query."""

    __slots__ = ("_defaults", "_limits", "_page", "_path", "_query", "body", "raw")

    def __init__(self, operation: Operation[..., Any], limits: Limits) -> None:
        """Prepare what each request needs. Raises TypeError for a type that no text can give."""
        self._limits = limits
        self._page = ""
        path: list[tuple[str, Convert | None]] = []
        query: dict[str, tuple[Convert, bool]] = {}
        defaults: dict[str, Any] = {}
        self.body: Parameter | None = None
        self.raw = ""
        by_name = {parameter.name: parameter for parameter in operation.parameters}
        for part in operation.path.split("/"):
            if part.startswith("{"):
                wanted = by_name[part[1:-1]].type
                convert = None if is_text(wanted) else converter(wanted)
                path.append((part[1:-1], convert))
        for parameter in operation.parameters:
            if not parameter.required:
                defaults[parameter.name] = parameter.default
            if parameter.source == "query":
                query[parameter.name] = optional_converter(parameter.type), parameter.required
            elif parameter.source == "page":
                self._page = parameter.name
            elif parameter.source == "raw":
                self.raw = parameter.name
            elif parameter.source == "body":
                self.body = parameter
        self._path = tuple(path)
        self._query = query or _NOTHING
        self._defaults = defaults or _NOTHING
        if self._page and self._query.keys() & {"limit", "cursor"}:
            raise TypeError(f"{operation.id}: limit and cursor belong to the page")

    @property
    def known(self) -> list[str]:
        """The query parameters that there are, sorted."""
        return sorted([*self._query, *(("limit", "cursor") if self._page else ())])

    def arguments(self, values: list[str], query: str) -> dict[str, Any]:
        """Return the arguments from the path's values and the query. Raises Invalid or TooLong."""
        arguments = self._defaults.copy()
        for (name, convert), value in zip(self._path, values, strict=True):
            if not value.isascii():
                _refuse_undecodable(name, value)
            if "\0" in value:
                raise _bad("path", name, "U+0000 cannot be kept")
            arguments[name] = value if convert is None else _converted("path", name, value, convert)
        if query or self._query or self._page:
            self._bind_query(arguments, query)
        return arguments

    def _bind_query(self, arguments: dict[str, Any], query: str) -> None:
        sent = self._sent(query) if query else {}
        if self._page:
            arguments[self._page] = _page_request(sent)
        for name, (convert, required) in self._query.items():
            texts = sent.pop(name, None)
            if texts is not None:
                arguments[name] = _converted("query", name, texts, convert)
            elif required:
                raise _bad("query", name, "it is required")
        if sent:
            known = ", ".join(self.known) or "none"
            unknown = shorten(", ".join(sorted(sent)))
            raise Invalid(
                f"Unknown query parameters: {unknown}. Known here: {known}.",
                slug="unknown-parameter",
            )

    def _sent(self, query: str) -> dict[str, str]:
        """Return the query's values by name, each once. Raises Invalid or TooLong."""
        if len(query) > self._limits.query_length_max:
            raise TooLong(f"The query may have {self._limits.query_length_max} characters.")
        pairs = query.split("&")
        if len(pairs) > self._limits.query_values_max:
            raise Invalid(f"The query may have {self._limits.query_values_max} values.")
        sent: dict[str, str] = {}
        for pair in pairs:
            if not pair:
                continue
            name, _, text = pair.partition("=")
            name = decoded(name)
            if name in sent:
                raise _bad("query", name, "it stands there more than once")
            sent[name] = decoded(text)
        return sent


def decoded(text: str) -> str:
    """Return a part of a query decoded: '+' is a space, percent signs are strict, text is UTF-8.

    Raises Invalid.
    """
    if not text.isascii():
        raise Invalid("The query holds characters that must be percent-encoded.")
    if "+" in text:
        text = text.replace("+", " ")
    if "%" in text:
        if _BAD_PERCENT.search(text):
            raise Invalid("The query has a '%' without two hexadecimal digits.")
        try:
            text = unquote_to_bytes(text).decode()
        except UnicodeDecodeError:
            raise Invalid("The query is not UTF-8 when percent-decoded.") from None
    if "\0" in text:
        raise Invalid("The query holds U+0000, which cannot be kept.")
    return text


def _refuse_undecodable(name: str, value: str) -> None:
    if "\ufffd" in value:
        raise _bad("path", name, "it is not UTF-8 when percent-decoded")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _bad("path", name, "it holds half a surrogate pair")


def _bad(where: str, name: str, what: str, slug: str | None = None) -> Invalid:
    text = f"{where.capitalize()} parameter {shorten(name)}: {shorten(what)}."
    return Invalid(text, slug=slug, parameter=shorten(name), source=where)


def _converted(where: str, name: str, text: str, convert: Convert) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise _bad(where, name, str(error).rstrip(".")) from None


def _page_request(sent: dict[str, str]) -> PageRequest:
    text = sent.pop("limit", None)
    cursor = sent.pop("cursor", None)
    if text is None:
        return PageRequest(cursor=cursor)
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= PAGE_LIMIT_MAX:
        raise _bad("query", "limit", f"it must be 1 to {PAGE_LIMIT_MAX}", slug="invalid-limit")
    return PageRequest(int(text), cursor)
