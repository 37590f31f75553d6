"""The pure rules of blobs: links mean what was signed, and strangers' bytes run nowhere."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.platform.blobs import delivery, links
from hansa.platform.blobs.delivery import RangeEmpty, check_name, check_type, headers_for, range_of

KEY, OTHER = b"k" * 32, b"o" * 32
NOW = 1_777_000_000
texts = st.text(max_size=30).filter(lambda text: not any(0xD800 <= ord(x) < 0xE000 for x in text))


# ---- links


@given(
    st.sampled_from(["GET", "PUT"]),
    st.dictionaries(st.sampled_from(["name", "type", "bytes_max"]), texts),
)
def test_a_link_says_what_was_signed(method: str, values: dict[str, str]) -> None:
    made = urlsplit(links.link(KEY, method, "/files/site_a/blob_b", NOW + 60, values))
    assert links.is_link(made.query)
    path, query = made.path, made.query
    assert links.read([OTHER, KEY], method, path, query, NOW) == values
    with pytest.raises(links.LinkExpired):
        links.read([KEY], method, path, query, NOW + 60)
    wrong = "PUT" if method == "GET" else "GET"
    for keys, verb, where in (
        ([OTHER], method, path), ([KEY], wrong, path), ([KEY], method, path + "c"),
    ):  # fmt: skip
        with pytest.raises(links.LinkInvalid):
            links.read(keys, verb, where, query, NOW)


@given(st.text(max_size=40), st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_no_change_of_a_link_is_believed(junk: str, place: int, change: bytes) -> None:
    made = urlsplit(links.link(KEY, "PUT", "/files/site_a", NOW + 60, {"bytes_max": "7"}))
    at = place % len(made.query)
    query = made.query[:at] + change.decode("latin-1") + made.query[at:]
    for one in (query, junk, made.query + "&" + junk, made.query + "&bytes_max=9"):
        try:
            said = links.read([KEY], "PUT", made.path, one, NOW)
        except links.LinkInvalid:
            continue
        assert said == {"bytes_max": "7"}


def test_head_may_use_a_link_for_get() -> None:
    made = urlsplit(links.link(KEY, "GET", "/files/a/b", NOW + 1, {}))
    assert links.read([KEY], "HEAD", made.path, made.query, NOW) == {}


# ---- headers


@pytest.mark.parametrize(
    "type",
    ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf",
     "application/javascript", "text/css", "application/octet-stream"],
)  # fmt: skip
def test_what_a_browser_could_run_is_downloaded(type: str) -> None:
    headers = dict(headers_for("a", check_type(type), '"x"'))
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


def test_pictures_are_shown() -> None:
    headers = dict(headers_for("größe.png", "image/png", '"x"'))
    assert headers["content-disposition"] == (
        "inline; filename=\"gr__e.png\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.png"
    )


@given(st.text(max_size=60), st.text(max_size=30))
def test_no_name_or_type_adds_a_header(name: str, type: str) -> None:
    try:
        name, type = check_name(name), check_type(type)
    except ValueError:
        return
    for key, value in headers_for(name, type, '"x"'):
        assert value.isascii() and value.isprintable()
        assert key.isascii()
    assert "/" not in name and "\\" not in name


@pytest.mark.parametrize(
    ("text", "kept"),
    [("", delivery.UNKNOWN), ("Image/PNG", "image/png"),
     ("text/plain; charset=UTF-8", "text/plain"),
     ('text/plain;charset="utf-8"', "text/plain")],
)  # fmt: skip
def test_types(text: str, kept: str) -> None:
    assert check_type(text) == kept


@pytest.mark.parametrize(
    "text", ["png", "a/b/c", "text/plain; charset=utf-7", "a/b\r\nx: y", "a/b, c/d", "x" * 101]
)
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(ValueError):
        check_type(text)


# ---- ranges


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=0-0", (0, 1)), ("bytes=0-", (0, 10)), ("bytes=5-99", (5, 10)), ("bytes=-3", (7, 10)),
     ("bytes=-99", (0, 10)), ("", None), ("bytes=3-1", None), ("bytes=0-1,3-4", None),
     ("lines=1-2", None), ("bytes=a-b", None), ("bytes=-", None)],
)  # fmt: skip
def test_ranges(header: str, part: Any) -> None:
    assert range_of(header, 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_ranges_without_anything(header: str) -> None:
    with pytest.raises(RangeEmpty):
        range_of(header, 10)


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d{0,5}-\d{0,5}", fullmatch=True),
       st.integers(0, 9_999))  # fmt: skip
def test_a_range_is_within(header: str, size: int) -> None:
    try:
        part = range_of(header, size)
    except RangeEmpty:
        return
    if part is not None:
        assert 0 <= part[0] < part[1] <= size
