"""The documentation becomes a site: no link is broken, nothing is fetched, all is there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_it_is_built_strictly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT, text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {page.relative_to(tmp_path).as_posix(): page.read_text()
             for page in tmp_path.rglob("*.html")}  # fmt: skip
    written = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"README"}
    assert {f"{name}.html" for name in written} <= pages.keys()
    assert 'id="hansa.kernel.service.Service.command"' in pages["reference/declaring.html"]
    for name, page in pages.items():
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', page), name
