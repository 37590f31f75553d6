"""Lines of the log are written and kept with the trace of the code that logs them."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.observe.archive import Archive
from hansa.kernel.observe.logs import JsonHandler, LineHandler, TextHandler
from hansa.kernel.observe.reading import Reader
from hansa.kernel.observe.spans import current
from tests.kernel.observe.making import segment


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.observe.lines")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)


def test_lines_are_kept_with_their_trace(tmp_path: Path) -> None:
    one = segment()
    archive = Archive(tmp_path / "observed.db")
    archive.start()
    with logging_to(LineHandler(archive.keep_line)) as logger:
        token = current.set((one, 0))
        logger.info("sold %s", "a mug")
        current.reset(token)
        logger.warning("outside %s", "of all", "wrong")
    archive.stop()
    reader = Reader(archive.file)
    assert [line.text for line in reader.lines(trace=one.trace.id)] == ["sold a mug"]
    (line,) = reader.lines(level=logging.WARNING)
    assert "cannot be formatted" in line.text and not line.trace
    reader.close()


def test_json_says_what_it_is_about() -> None:
    out, one = io.StringIO(), segment()
    with logging_to(JsonHandler(out)) as logger:
        token = current.set((one, 0))
        logger.error("sold %s", 'a "mug"\nor two')
        current.reset(token)
        try:
            raise ValueError("no")
        except ValueError:
            logger.exception("lost")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["level"], first["message"]) == ("error", 'sold a "mug"\nor two')
    assert (first["trace_id"], first["span_id"]) == (one.trace.id, one.trace.span)
    assert (first["operation"], first["site"]) == ("shop.get_product", "site_1")
    assert first["time"].endswith("Z") and "trace_id" not in second
    assert second["message"].startswith("lost\nTraceback")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_one_line_of_json(text: str) -> None:
    out = io.StringIO()
    with logging_to(JsonHandler(out)) as logger:
        logger.info("%s", text)
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue())["message"] == text


def test_text_has_the_trace_at_the_end_of_its_first_line() -> None:
    out, one = io.StringIO(), segment()
    with logging_to(TextHandler(out)) as logger:
        logger.info("ready")
        token = current.set((one, 0))
        logger.info("sold\ntwo")
        current.reset(token)
    name = "tests.observe.lines"
    assert out.getvalue() == f"INFO {name}: ready\nINFO {name}: sold [{one.trace.id}]\ntwo\n"
