"""The documentation: its links and anchors, on a forge and in the site; the help of commands."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from forked import python

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
]
_READER = MarkdownIt("commonmark").enable("table")


def tokens(page: Path) -> list[Token]:
    return _READER.parse(page.read_text())


def anchors(page: Path) -> Counter[str]:
    """The anchors of a page's headings, by the rule that forges and the site's builder have."""
    found: Counter[str] = Counter()
    listed = tokens(page)
    for token, inline in pairwise(listed):
        if token.type == "heading_open":
            parts = inline.children or []
            text = "".join(p.content for p in parts if p.type in ("text", "code_inline"))
            found[re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")] += 1
    return found


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        for part in token.children or []:
            target = part.attrGet("href" if part.type == "link_open" else "src")
            if part.type in ("link_open", "image") and isinstance(target, str):
                yield unquote(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if anchor:
            assert anchors(there)[anchor] == 1, f"{target}: no such heading, or several"


def test_pictures_are_small() -> None:
    """All that the pages show, and nothing else."""
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in links(page)
        if Path(target).suffix in (".png", ".webp", ".svg")
    }
    images = set((ROOT / "docs" / "images").iterdir())
    assert images <= shown
    assert sum(path.stat().st_size for path in images) < 500_000


def test_every_page_is_in_the_site_and_in_the_readme() -> None:
    class Loader(yaml.SafeLoader):
        """Builds nothing of a YAML file but plain values."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    configured = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
    in_nav = Counter(pages_of(configured["nav"]))
    assert set(in_nav.values()) == {1}
    docs = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    others = {"index.md", "contributing.md", "changelog.md", "notebook.md"}
    deployed = {"deploy/index.md", "deploy/cluster/index.md"}
    assert set(in_nav) == docs | others | deployed
    in_readme = {target.partition("#")[0] for target in links(ROOT / "README.md")}
    assert {f"docs/{page}" for page in docs} <= in_readme


def pages_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for item in nav if isinstance(nav, list) else []:
        for value in item.values():
            yield from pages_of(value)


def test_the_command_page_is_up_to_date(tmp_path: Path) -> None:
    """If this fails, run: make docs"""
    written = tmp_path / "commands.md"
    command = [*python(), "-m", "typer", "cliphouse.cli.app", "utils", "docs"]
    command += ["--name", "cliphouse", "--output", str(written)]
    subprocess.run(command, check=True, capture_output=True)
    assert (ROOT / "docs" / "commands.md").read_text() == written.read_text()
