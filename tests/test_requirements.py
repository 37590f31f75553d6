"""A skip is a failure where everything is required, so that CI cannot be green by leaving out."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
SKIPS: Final = {
    "test_body.py": "def test_it(): pytest.skip('no harbour')",
    "test_mark.py": "@pytest.mark.skip('no harbour')\ndef test_it(): pass",
    "test_fixture.py": "@pytest.fixture\ndef f(): pytest.skip('no harbour')\ndef test_it(f): pass",
    "test_module.py": "pytest.skip('no harbour', allow_module_level=True)",
}
FINE: Final = {
    "test_fine.py": "@pytest.mark.xfail\ndef test_it(): assert 0\ndef test_other(): pass"
}


def run(folder: Path, files: dict[str, str], required: str) -> subprocess.CompletedProcess[str]:
    for name, body in files.items():
        (folder / name).write_text(f"import pytest\n{body}\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--rootdir", str(folder)]
    command += ["-c", str(ROOT / "pyproject.toml"), "--continue-on-collection-errors", str(folder)]
    return subprocess.run(
        command,
        cwd=ROOT,
        # pytest tells reasons twice where CI is set.
        env={
            **{name: value for name, value in os.environ.items() if name != "CI"},
            "HANSA_REQUIRE_ALL": required,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_kind_of_skip_fails_and_says_why(tmp_path: Path) -> None:
    done = run(tmp_path, SKIPS | FINE, "1")
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed, 1 xfailed, 3 errors" in done.stdout
    assert done.stdout.count("HANSA_REQUIRE_ALL=1, but: Skipped: no harbour") == 4


def test_without_the_wish_a_skip_is_a_skip(tmp_path: Path) -> None:
    done = run(tmp_path, SKIPS | FINE, "")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 4 skipped, 1 xfailed" in done.stdout
