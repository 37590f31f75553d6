"""Buckets: how one is named, and what their errors tell."""

from pathlib import Path

import pytest

from hansa.kernel.buckets import cause, parse_bucket
from hansa.kernel.keeping.depot import parse_depot
from tests.platform.blobs.conftest import KEYS, s3_server

__all__ = ["s3_server"]


@pytest.mark.parametrize(
    "url",
    [
        "s3://", "s3://two words", "s3://b?speed=1", "s3://b?region=a b", "s3://b?endpoint=host:1",
        "s3://b?endpoint=ftp://host", "s3://b?endpoint=http://", "s3://b?endpoint=http://a b",
        "s3://b?endpoint=http://host:port",
    ],
)  # fmt: skip
def test_a_bucket_that_can_never_be_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="a bucket"):
        parse_bucket(url)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "https://[::1]:9/s3", "https://a.b-c"])
def test_a_bucket_is_named_with_its_server(endpoint: str) -> None:
    assert parse_bucket(f"s3://b.c-1/x/y?region=eu-1&endpoint={endpoint}") == (
        "b.c-1",
        {"region": "eu-1", "endpoint": endpoint, "prefix": "x/y"}
        | ({"client": {"allow_http": True}} if endpoint.startswith("http:") else {}),
    )


def test_why_a_bucket_cannot_be_used_is_told(
    s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    nope = parse_depot(f"s3://nope?region=eu-central-1&endpoint={s3_server}")
    for ask in (lambda: nope.find("x"), nope.names, lambda: nope.put("x", Path(__file__))):
        with pytest.raises(OSError, match="NoSuchBucket: The specified bucket does not exist"):
            ask()
    there = parse_depot(f"s3://bucket/{tmp_path.name}?endpoint={s3_server}")
    assert there.find("x") is None
    assert not there.has("x")
    there.put("x", Path(__file__))
    assert there.has("x")
    assert (there.find("x") or b"").startswith(b'"""Buckets')
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    with pytest.raises(OSError, match="InvalidAccessKeyId: The Access Key Id you provided"):
        parse_depot(f"s3://bucket?endpoint={s3_server}").find("x")


def test_a_server_that_cannot_be_asked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:1/nope/x: Connection refused"):
        parse_depot("s3://nope?endpoint=http://127.0.0.1:1").find("x")


def test_missing_keys_are_told_as_such() -> None:
    said = (
        "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 3.1ms -"
        " Server returned non-2xx status code: 403 Forbidden: no\n\nDebug source:\nGeneric {}"
    )
    assert "set AWS_ACCESS_KEY_ID" in cause(Exception(said))
    assert cause(Exception("something else " * 100)).startswith("something else")
    assert len(cause(Exception("x" * 10_000))) <= 200
