"""The demo, as a person runs it: what it prints, what it leaves, and running it again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from cliphouse.demo import SENTENCES
from cliphouse.table import Table
from conftest import Run


def test_the_demo_walks_the_whole_way(tmp_path: Path, run: Run) -> None:
    first = run("demo", "--dir", "d", "--rows", 100)
    assert first.returncode == 0, first.stderr
    steps = re.findall(r"^(\w+) +[\d.]+ s  ", first.stdout, re.MULTILINE)
    assert steps == ["draw", "embed", "ingest", "index", "recall"]
    for sentence in SENTENCES:
        assert f"search '{sentence}'" in first.stdout
    assert len(re.findall(r"^  -?0\.\d{3}  \w", first.stdout, re.MULTILINE)) == 40
    assert 'cliphouse search "two yellow hearts" --db d/laion.chdb' in first.stdout
    folder = tmp_path / "d"
    assert len(list((folder / "pictures").glob("*.jpg"))) == 100
    assert sum(len(np.load(p)) for p in (folder / "shards/img_emb").iterdir()) == 100
    sheets = sorted(folder.glob("found_*.png"))
    assert len(sheets) == 4
    for sheet in sheets:
        with Image.open(sheet) as opened:
            assert opened.width > 1000
            assert len(opened.getcolors(1 << 24)) > 1000
    with Table(folder / "laion.chdb") as table:
        captions = table.sql("SELECT caption FROM laion ORDER BY id").column("caption").to_pylist()
    written = [
        caption
        for path in sorted((folder / "shards/metadata").iterdir())
        for caption in pq.read_table(path).column("caption").to_pylist()
    ]
    assert captions == written

    again = run("demo", "--dir", "d", "--rows", 100)
    assert again.returncode == 0, again.stderr
    assert "0 pictures of shapes" in again.stdout
    assert "0 pictures and captions into d/shards/, 100 unchanged" in again.stdout
    assert "0 rows into" in again.stdout
