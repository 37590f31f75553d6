"""Where blobs are in these tests: rows on each engine, bytes in a folder and on an S3 server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hansa.assembly import Place
from hansa.testing.postgres import Dsns

KEYS = {"AWS_ACCESS_KEY_ID": "harbour", "AWS_SECRET_ACCESS_KEY": "lantern"}


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3-compatible server (`rclone serve s3`) that wants signed requests; its endpoint."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    command = [
        str(Path(sys.executable).with_name("rclone")), "serve", "s3", "--addr", "127.0.0.1:0",
        "--auth-key", ",".join(KEYS.values()), "--config", os.devnull, str(folder),
    ]  # fmt: skip
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        found = None
        while found is None:
            line = server.stderr.readline()
            assert line, "the server ended before it listened"
            found = re.search(r"\[(http://127\.0\.0\.1:\d+)/\]", line)
        yield found[1]
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(params=["folder", "s3"])
def store_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What names a store: nothing for the cell's own folder, or a bucket."""
    if request.param == "folder":
        return ""
    endpoint = request.getfixturevalue("s3_server")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/blobs?region=eu-central-1&endpoint={endpoint}"


@pytest.fixture(params=["sqlite", "postgres"])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """An empty place on each engine, with each store."""
    monkeypatch.setenv("HANSA_BLOBS", store_url)
    if request.param == "sqlite":
        return Place(tmp_path, synchronous="OFF")
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    return Place(tmp_path, dsns.application, dsns.owner)
