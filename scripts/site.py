"""What `mkdocs.yml` cannot say: the order of the pages, those from elsewhere, and the reference.

The order is that of the tables in docs/README.md, so that a page that is not named there, or is not
there, breaks the build.
"""

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from pygments.formatters import HtmlFormatter

ROOT: Final = Path(__file__).parent.parent

ELSEWHERE: Final = {
    "README.md": "first-screen.md",
    "benchmarks/RESULTS.md": "figures.md",
}
"""Pages that lie beside docs/, and what they are called in the site."""

OWN_STYLE: Final = """
.doc-contents { margin-left: 1rem; }
.highlight .filename { display: block; font-family: monospace; opacity: 0.7; }
"""

SECTIONS: Final = ("Build", "Run", "Change")
"""What the tables of the index are called in the navigation."""

REFERENCE: Final = {
    "Declaring": [
        "hansa.kernel.service", "hansa.kernel.operation", "hansa.kernel.structs",
        "hansa.kernel.columns", "hansa.kernel.ids",
    ],
    "Handling": [
        "hansa.kernel.context", "hansa.kernel.database", "hansa.kernel.compiler",
        "hansa.kernel.actions", "hansa.kernel.relations", "hansa.kernel.problems",
    ],
    "Testing": ["hansa.testing", "hansa.testing.cell", "hansa.testing.looking",
                "hansa.testing.fixtures"],
    "Sites, mail, files and webhooks": [
        "hansa.platform.sites.api", "hansa.platform.mail.api", "hansa.platform.blobs.api",
        "hansa.platform.webhooks.api",
    ],
    "The shop": ["hansa.business.commerce", "hansa.business.commerce.api",
                 "hansa.business.commerce.events"],
    "Putting a process together": ["hansa.assembly", "hansa.project"],
}  # fmt: skip
"""The pages of the reference, and the modules that each has."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Order the pages as the index does, with the reference behind them."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    nav: list[Any] = [{"Documentation": "README.md"}, {"First screen": "first-screen.md"}]
    tables = re.findall(r"^For [^\n]+:\n\n((?:\|[^\n]*\n)+)", index, re.M)
    for title, rows in zip(SECTIONS, tables, strict=True):
        pages = re.findall(r"\| \[[^]]+\]\(([^)]+)\)", rows)
        nav.append({title: [_inside(page) for page in pages]})
    reference = [{title: _reference(title)} for title in REFERENCE]
    config.nav = [*nav, {"Reference": reference}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from elsewhere, those of the reference, and the colours of code."""
    files.append(File.generated(config, "site.css", content=_style()))
    for source, name in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_linked(text, Path(source).parent)))
    for title, modules in REFERENCE.items():
        missing = [module for module in modules if not _is_there(module)]
        if missing:
            raise PluginError(f"scripts/site.py: there is no {', '.join(missing)}")
        text = f"# {title}\n\n" + "\n".join(f"::: {module}\n" for module in modules)
        files.append(File.generated(config, _reference(title), content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links out of docs/ at the pages that stand in for what they name."""
    if page.file.generated_by:
        return markdown
    return _linked(markdown, Path("docs"))


def _linked(text: str, folder: Path) -> str:
    """Return Markdown of a file in `folder` with the links that it has in the site."""

    def link(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        inside = _inside((folder / target).as_posix())
        return f"]({inside}{anchor})"

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", link, text)


def _inside(path: str) -> str:
    """Return the page of the site that a path of the repository, or of docs/, is."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    whole = "/".join(parts)
    return ELSEWHERE.get(whole, whole.removeprefix("docs/"))


def _style() -> str:
    """Return the colours of code, by day and by night, and what else the theme lacks."""
    night = HtmlFormatter(style="github-dark").get_style_defs("[data-bs-theme=dark] .highlight")
    return "\n".join(
        [HtmlFormatter(style="default").get_style_defs(".highlight"), night, OWN_STYLE]
    )


def _reference(title: str) -> str:
    return f"reference/{re.sub(r'[^a-z]+', '-', title.lower())}.md"


def _is_there(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
