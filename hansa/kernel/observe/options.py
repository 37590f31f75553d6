"""Options: what is recorded and kept, by the environment of the process.

HANSA_OBSERVE             "off" records nothing
HANSA_TRACE_SAMPLE        the share of requests that is kept in any case: 0 to 1
HANSA_TRACE_PAYLOADS      "on" keeps arguments and answers, secrets hidden
HANSA_TRACE_FILE          where; observed.db in the folder of the cell
HANSA_TRACE_MB            how large it may be, and HANSA_TRACE_DAYS how old
HANSA_LOG                 "json" writes the log as JSON objects, one a line; else as text
HANSA_METRICS             host:port of a port of its own where /metrics needs no key
OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _TIMEOUT, and OTEL_SERVICE_NAME, as OpenTelemetry has them
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

FILE: Final = "observed.db"


class OptionInvalid(ValueError):
    """A variable of the environment that says nothing of use."""


@dataclass(frozen=True)
class Options:
    """What is recorded and kept."""

    file: Path
    enabled: bool = True
    sample: float = 0.01
    payloads: bool = False
    bytes_max: int = 256 << 20
    age_max_s: float = 3 * 86_400.0
    metrics: tuple[str, int] | None = None
    otlp_endpoint: str = ""
    otlp_headers: tuple[tuple[str, str], ...] = ()
    otlp_timeout_s: float = 10.0
    service_name: str = "hansa"


def read_options(environment: Mapping[str, str], folder: Path, *, developing: bool) -> Options:
    """Return the options of a process; `developing` keeps everything, unless told otherwise.

    Raises OptionInvalid with the name of the variable that is wrong.
    """
    get = environment.get
    endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    if not endpoint and (base := get("OTEL_EXPORTER_OTLP_ENDPOINT", "")):
        endpoint = base.rstrip("/") + "/v1/traces"
    if endpoint and not _is_address(endpoint):
        raise OptionInvalid("OTEL_EXPORTER_OTLP_ENDPOINT is an address such as http://host:4318")
    return Options(
        Path(get("HANSA_TRACE_FILE") or folder / FILE),
        _switch(environment, "HANSA_OBSERVE", default=True),
        _number(environment, "HANSA_TRACE_SAMPLE", 1.0 if developing else 0.01, 0, 1),
        _switch(environment, "HANSA_TRACE_PAYLOADS", default=developing),
        int(_number(environment, "HANSA_TRACE_MB", 256, 8, 1 << 20)) << 20,
        _number(environment, "HANSA_TRACE_DAYS", 3, 0.01, 366) * 86_400,
        _metrics(get("HANSA_METRICS", "")),
        endpoint,
        _headers(get("OTEL_EXPORTER_OTLP_HEADERS", "")),
        _number(environment, "OTEL_EXPORTER_OTLP_TIMEOUT", 10_000, 1, 600_000) / 1000,
        get("OTEL_SERVICE_NAME", "hansa"),
    )


def read_log_format(environment: Mapping[str, str]) -> Literal["text", "json"]:
    """Return how the log is written. Raises OptionInvalid."""
    text = environment.get("HANSA_LOG", "").lower() or "text"
    if text not in ("text", "json"):
        raise OptionInvalid("HANSA_LOG is text or json")
    return "json" if text == "json" else "text"


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _metrics(text: str) -> tuple[str, int] | None:
    """Return where to listen from ``host:port`` or ``[::1]:port``."""
    if not text:
        return None
    host, sign, port = text.rpartition(":")
    if not sign or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise OptionInvalid("HANSA_METRICS is an address and a port such as 127.0.0.1:9464")
    return host.strip("[]") or "127.0.0.1", int(port)


def _switch(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environment.get(name, "").lower()
    if text not in ("", "on", "off", "1", "0", "true", "false"):
        raise OptionInvalid(f"{name} is on or off")
    return text in ("on", "1", "true") if text else default


def _number(
    environment: Mapping[str, str], name: str, default: float, low: float, high: float
) -> float:
    text = environment.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise OptionInvalid(f"{name} is a number from {low:g} to {high:g}")
    return value


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    """Return headers from ``name=value,name=value``, percent-encoded (W3C Baggage, section 3.3)."""
    pairs = [one.partition("=") for one in text.split(",") if one.strip()]
    headers = [(name.strip(), unquote(value.strip())) for name, sign, value in pairs if sign]
    if len(headers) != len(pairs) or any(not (n + v).isprintable() or not n for n, v in headers):
        raise OptionInvalid("OTEL_EXPORTER_OTLP_HEADERS is name=value,name=value")
    return tuple(headers)
