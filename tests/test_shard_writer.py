"""Writing shards: what numpy and pyarrow read back, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cliphouse.errors import ShardError
from cliphouse.shards.writer import ShardWriter


@pytest.mark.parametrize("batches", [[1], [3, 9, 88], [7] * 20])
def test_written_files_are_what_numpy_and_pyarrow_read(tmp_path: Path, batches: list[int]) -> None:
    rng = np.random.default_rng(1)
    image = rng.standard_normal((sum(batches), 16)).astype("f4")
    text = rng.standard_normal((sum(batches), 16)).astype("f4")
    captions = [f"caption {row}" for row in range(sum(batches))]
    with ShardWriter(tmp_path, 4, 16) as writer:
        start = 0
        for count in batches:
            rows = slice(start, start + count)
            writer.append(image[rows], text[rows], pa.table({"caption": captions[rows]}))
            start += count
    assert np.array_equal(np.load(tmp_path / "img_emb/img_emb_4.npy"), image.astype("f2"))
    assert np.array_equal(np.load(tmp_path / "text_emb/text_emb_4.npy"), text.astype("f2"))
    table = pq.read_table(tmp_path / "metadata/metadata_4.parquet")
    assert table.to_pydict() == {"caption": captions}


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    class StopHereError(Exception):
        pass

    with pytest.raises(StopHereError), ShardWriter(tmp_path, 0, 4) as writer:
        writer.append(np.ones((2, 4)), np.ones((2, 4)), pa.table({"caption": ["a", "b"]}))
        raise StopHereError
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_rows_that_do_not_line_up_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ShardError, match="same number of rows"),
        ShardWriter(tmp_path, 0, 4) as writer,
    ):
        writer.append(np.ones((2, 4)), np.ones((3, 4)), pa.table({"caption": ["a", "b"]}))
    with pytest.raises(ShardError, match=r"expected \(rows, 4\)"), ShardWriter(tmp_path, 0, 4) as w:
        w.append(np.ones((1, 5)), np.ones((1, 4)), pa.table({"caption": ["a"]}))
