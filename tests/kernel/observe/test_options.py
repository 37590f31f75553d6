"""Options are read from the environment, and what is wrong is named."""

from pathlib import Path

import pytest

from hansa.kernel.observe.options import OptionInvalid, Options, read_options

FOLDER = Path("cell")


def test_defaults() -> None:
    assert read_options({}, FOLDER, developing=False) == Options(FOLDER / "observed.db")
    assert read_options({}, FOLDER, developing=True) == Options(
        FOLDER / "observed.db", sample=1.0, payloads=True
    )


def test_all_of_them() -> None:
    environment = {
        "HANSA_OBSERVE": "off", "HANSA_TRACE_SAMPLE": "0.5", "HANSA_TRACE_PAYLOADS": "on",
        "HANSA_TRACE_FILE": "/var/traces.db", "HANSA_TRACE_MB": "8", "HANSA_TRACE_DAYS": "0.5",
        "HANSA_METRICS": "[::1]:9464", "OTEL_SERVICE_NAME": "town",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4318/",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, other=c", "OTEL_EXPORTER_OTLP_TIMEOUT": "500",
    }  # fmt: skip
    assert read_options(environment, FOLDER, developing=False) == Options(
        Path("/var/traces.db"), False, 0.5, True, 8 << 20, 43_200.0, ("::1", 9464),
        "https://collector:4318/v1/traces", (("api-key", "a b"), ("other", "c")), 0.5, "town",
    )  # fmt: skip
    environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = "http://other/traces"
    found = read_options(environment, FOLDER, developing=False)
    assert found.otlp_endpoint == "http://other/traces"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HANSA_OBSERVE", "perhaps"),
        ("HANSA_TRACE_SAMPLE", "1.1"),
        ("HANSA_TRACE_SAMPLE", "nan"),
        ("HANSA_TRACE_SAMPLE", "many"),
        ("HANSA_TRACE_MB", "0"),
        ("HANSA_TRACE_DAYS", "-1"),
        ("HANSA_METRICS", "9464"),
        ("HANSA_METRICS", "127.0.0.1:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "nothing"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0aInjected: yes"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(OptionInvalid, match=name):
        read_options({name: value}, FOLDER, developing=False)
