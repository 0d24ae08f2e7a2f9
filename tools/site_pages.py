"""Gathers the pages of the documentation's site in build/site-pages, for `make site`.

    python tools/site_pages.py           # before the site is built
    python tools/site_pages.py --check   # after it: does it load anything from elsewhere?

The files are those that a forge shows: README.md at the top, docs/ and deploy/ below. A site has
one folder, so each link is written anew. The notebook is run and becomes a page, and the page on
Python gets a reference made from the docstrings.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "site-pages"
SITE = ROOT / "build" / "site"
PICTURES = 400  # of the demo that the notebook searches
_TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
# What a browser fetches by itself: scripts, pictures and frames, style sheets, fonts.
_LOADED = re.compile(
    r"""(?:<(?:script|img|iframe|source)\b[^>]*?\bsrc=|<link\b[^>]*?\brel="?(?:stylesheet|preload|icon)"?"""
    r"""[^>]*?\bhref=|url\(|@import\s+)["']?((?:https?:)?//[^"')\s>]+)"""
)
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")


def main() -> int:
    """Gather the pages, or check the site; the exit code."""
    if "--check" in sys.argv[1:]:
        found = [f"{page.name}: {address}" for page in _built() for address in outside(page)]
        print(*(found or ["the site loads nothing from elsewhere"]), sep="\n")
        return 1 if found else 0
    shutil.rmtree(PAGES, ignore_errors=True)
    for source in sources():
        target = PAGES / place(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(relinked(source))
        elif source.suffix == ".ipynb":
            target.write_text(_notebook_page(source))
        else:
            shutil.copyfile(source, target)
    with (PAGES / "python.md").open("a") as page:
        page.write(_reference())
    return 0


def sources() -> list[Path]:
    """The files of the site, in the source tree."""
    below = [path for name in ("docs", "deploy") for path in sorted((ROOT / name).rglob("*"))]
    return [*(ROOT / name for name in _TOP), *(path for path in below if path.is_file())]


def place(source: Path) -> Path:
    """Where a file of the source tree is in the site."""
    path = source.relative_to(ROOT)
    if str(path) in _TOP:
        return Path(_TOP[str(path)])
    if path.name == "README.md":
        path = path.with_name("index.md")
    if path.parts[0] == "docs":
        path = Path(*path.parts[1:])
    return path.with_suffix(".md") if path.suffix == ".ipynb" else path


def relinked(source: Path) -> str:
    """The text of a page, with its links as they lead within the site."""

    def link(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        there = (source.parent / target).resolve()
        if there.is_dir():
            there /= "README.md"
        here = place(source).parent
        return f"]({Path(os.path.relpath(place(there), here)).as_posix()}{anchor})"

    pieces = _CODE.split(source.read_text())
    return "".join(piece if n % 2 else _LINK.sub(link, piece) for n, piece in enumerate(pieces))


def outside(page: Path) -> list[str]:
    """The addresses of others that a built page loads something from."""
    return _LOADED.findall(page.read_text())


def _built() -> list[Path]:
    """The pages and style sheets of the built site."""
    pages = sorted(SITE.rglob("*.html"))
    if not pages:
        raise SystemExit(f"{SITE}: no site here; run make site")
    return [*pages, *sorted(SITE.rglob("*.css"))]


def _notebook_page(source: Path) -> str:
    """The notebook with what its cells show, run beside a small demo."""
    notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        demo = ["-m", "cliphouse", "demo", "--rows", str(PICTURES), "--dir", "demo"]
        subprocess.run([sys.executable, *demo], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    return "\n\n".join(map(_cell, notebook.cells)) + "\n"


def _cell(cell: Any) -> str:
    if cell.cell_type == "markdown":
        return str(cell.source)
    shown = [_output(output) for output in cell.get("outputs", ())]
    return "\n\n".join([f"```python\n{cell.source}\n```", *filter(None, shown)])


def _output(output: Any) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        lines = (line for line in data["text/html"].splitlines() if line.strip())
        return "<div class='output'>\n" + "\n".join(lines) + "\n</div>"
    text = data.get("text/plain", output.get("text", "")).rstrip()
    return f"```text\n{text}\n```" if text else ""


def _reference() -> str:
    """A directive for each name that the package offers, which the site's builder fills in."""
    import cliphouse

    names = [name for name in cliphouse.__all__ if name not in ("open", "__version__")]
    errors = {name for name in names if name.endswith("Error")}
    listed = ["Table", *sorted({*names} - errors - {"Table"}), "client.Client", *sorted(errors)]
    return "".join(f"\n::: cliphouse.{name}\n" for name in listed)


if __name__ == "__main__":
    sys.exit(main())
