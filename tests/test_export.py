"""Export and the guide's CSV: what comes out is what went in, whichever way."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cliphouse.errors import ShardError, TableError
from cliphouse.export.exporter import Exporter
from cliphouse.table import Table
from conftest import OpenTable
from shard_files import MadeShard, make_shard

AWKWARD = ["it's", 'a "quoted" one', "comma, and\nnew line", "tab\t back\\slash", "🐈", "", "None"]
_ALL = (
    "SELECT count() AS rows, sum(cityHash64(id, url, caption, NSFW, similarity, image_embedding, "
    "text_embedding)) AS checksum FROM laion"
)


@pytest.fixture
def made(tmp_path: Path) -> list[MadeShard]:
    shards = []
    for number in (0, 3):
        metadata = {
            "url": [f"http://e.org/{row}?a=b,c" for row in range(len(AWKWARD))],
            "caption": AWKWARD,
            "NSFW": ["UNLIKELY", "NSFW", "", "UNSURE", "x", "y", "z"],
            "similarity": np.linspace(0.1, 0.4, 7).astype("f4").tolist(),
        }
        shards.append(make_shard(tmp_path / "s", number, 7, metadata=metadata))
    return shards


@pytest.fixture
def table(made: list[MadeShard], open_table: OpenTable) -> Table:
    opened = open_table()
    opened.ingest(made[0].folder)
    return opened


def write_like_the_guide(made: MadeShard, path: Path, numbers_as: str = "tolist") -> None:
    """The guide's recipe in our words: pandas, embeddings as lists, no header, an index first."""
    frame = pd.DataFrame(made.metadata)[["url", "caption", "NSFW", "similarity"]]
    for column, vectors in (("image_embedding", made.image), ("text_embedding", made.text)):
        assert vectors is not None
        frame[column] = [row.tolist() if numbers_as == "tolist" else list(row) for row in vectors]
    frame.to_csv(path, header=False)


def test_csv_is_what_the_guide_s_recipe_writes(
    tmp_path: Path, table: Table, made: list[MadeShard]
) -> None:
    report = table.export(tmp_path / "out", "csv")
    assert [path.name for path in report.files] == ["0.csv", "3.csv"]
    for shard in made:
        path = tmp_path / "out" / f"{shard.number}.csv"
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
        assert [len(row) for row in rows] == [7] * 7
        assert [int(row[0]) for row in rows] == list(range(7))
        assert [row[1] for row in rows] == shard.metadata["url"]
        assert [row[2] for row in rows] == AWKWARD
        assert [row[3] for row in rows] == shard.metadata["NSFW"]
        assert [np.float32(row[4]) for row in rows] == [
            np.float32(value) for value in shard.metadata["similarity"]
        ]
        images = np.array([json.loads(row[5]) for row in rows], np.float32)
        assert np.array_equal(images, shard.image.astype("f4"))
        frame = pd.read_csv(path, header=None, keep_default_na=False)
        assert frame[2].tolist() == AWKWARD


@pytest.mark.parametrize("numbers_as", ["tolist", "list"])
def test_the_guide_s_csv_is_read(
    tmp_path: Path, made: list[MadeShard], open_table: OpenTable, numbers_as: str
) -> None:
    """Today's recipe writes plain numbers, an older one numpy's own."""
    for shard in made:
        write_like_the_guide(shard, tmp_path / f"{shard.number}.csv", numbers_as)
    table = open_table()
    paths = [tmp_path / "0.csv", tmp_path / "3.csv"]
    assert table.ingest(*paths).inserted == 14
    found = table.sql("SELECT id, caption, similarity, image_embedding AS v FROM laion ORDER BY id")
    assert found.column("id").to_pylist() == [i for shard in made for i in shard.ids.tolist()]
    assert found.column("caption").to_pylist() == AWKWARD * 2
    vectors = np.array(found.column("v").to_pylist(), np.float32)
    expected = np.concatenate([shard.image for shard in made]).astype("f4")
    if numbers_as == "list":  # a float16 printed short, as in 0.0675
        printed = [[str(number) for number in row] for s in made for row in s.image]
        expected = np.array(printed, np.float32)
    assert np.array_equal(vectors, expected)
    assert table.ingest(*paths).inserted == 0


def test_csv_there_and_back_is_the_same(
    tmp_path: Path, table: Table, open_table: OpenTable
) -> None:
    before = table.sql(_ALL).to_pylist()
    table.export(tmp_path / "out", "csv")
    table.close()
    again = open_table(tmp_path / "again")
    again.ingest(tmp_path / "out" / "0.csv", tmp_path / "out" / "3.csv")
    assert again.sql(_ALL).to_pylist() == before


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_shards_there_and_back_are_the_same(
    tmp_path: Path, open_table: OpenTable, dtype: str, precision: str
) -> None:
    made = make_shard(tmp_path / "s", 5, rows=50, dtype=dtype)
    table = open_table()
    table.ingest(tmp_path / "s", precision=precision)
    before = table.sql(_ALL).to_pylist()
    table.export(tmp_path / "out", "shards")
    written = np.load(tmp_path / "out" / "img_emb" / "img_emb_5.npy")
    if precision == "float32":
        assert written.dtype == made.image.dtype
        assert np.array_equal(written, made.image)
    table.close()
    again = open_table(tmp_path / "again")
    again.ingest(tmp_path / "out", precision=precision)
    assert again.sql(_ALL).to_pylist() == before


def test_parquet_holds_every_column(tmp_path: Path, table: Table, made: list[MadeShard]) -> None:
    exporter = Exporter(table.handle, batch_rows=3)
    assert exporter.write("parquet", tmp_path / "all.parquet").rows == 14
    written = pq.read_table(tmp_path / "all.parquet")
    assert written.column("id").to_pylist() == [i for s in made for i in s.ids.tolist()]
    assert written.column("caption").to_pylist() == AWKWARD * 2
    images = np.array(written.column("image_embedding").to_pylist(), np.float32)
    assert np.array_equal(images, np.concatenate([s.image for s in made]).astype("f4"))


def test_json_lines_are_read_back(tmp_path: Path, table: Table) -> None:
    table.export(tmp_path / "all.jsonl", "jsonl")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["caption"] for line in lines] == AWKWARD * 2
    assert len(lines[0]["image_embedding"]) == 8


def test_a_list_for_img2dataset(tmp_path: Path, table: Table) -> None:
    table.export(tmp_path / "list.parquet", "img2dataset")
    written = pq.read_table(tmp_path / "list.parquet")
    assert written.column_names == ["url", "caption", "similarity", "NSFW", "id"]
    assert written.column("caption").to_pylist() == AWKWARD * 2


def test_a_part_of_the_table(tmp_path: Path, table: Table) -> None:
    condition = "NSFW = 'NSFW' OR id = 2 -- any condition"
    assert table.export(tmp_path / "some.jsonl", "jsonl", where=condition).rows == 3
    found = table.search("id:4", k=5)
    report = table.export(tmp_path / "found.parquet", "parquet", ids=[hit.id for hit in found])
    assert report.rows == 5
    written = pq.read_table(tmp_path / "found.parquet").column("id").to_pylist()
    assert written == sorted(hit.id for hit in found)
    with pytest.raises(TableError, match="no rows to export"):
        table.export(tmp_path / "none.jsonl", "jsonl", where="0")
    assert not (tmp_path / "none.jsonl").exists()


def test_doubled_and_negative_ids_are_exported_too(tmp_path: Path, open_table: OpenTable) -> None:
    """The guide's own ids repeat in every file."""
    make_shard(tmp_path / "s", rows=10)
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("INSERT INTO laion SELECT * FROM laion")
    table.sql("INSERT INTO laion SELECT * REPLACE (id - 5 AS id) FROM laion")
    Exporter(table.handle, batch_rows=4).write("parquet", tmp_path / "all.parquet")
    ids = pq.read_table(tmp_path / "all.parquet").column("id").to_pylist()
    assert sorted(ids) == sorted(2 * [*range(10), *range(-5, 5)])
    with pytest.raises(TableError, match="negative ids, which shards cannot have"):
        table.export(tmp_path / "shards", "shards")


def test_many_ids_and_a_folder_with_shards(tmp_path: Path, table: Table) -> None:
    report = table.export(tmp_path / "x.jsonl", "jsonl", ids=[*range(50_000)])
    assert report.rows == 7
    with pytest.raises(TableError, match="holds shards already"):
        table.export(tmp_path / "s", "shards")


def test_text_that_is_no_utf8_keeps_its_bytes(tmp_path: Path, open_table: OpenTable) -> None:
    texts = pa.array([b"\xff\xfe", b"plain"], pa.binary()).view(pa.string())
    make_shard(tmp_path / "s", rows=2, metadata={"caption": texts})
    table = open_table()
    table.ingest(tmp_path / "s")
    before = table.sql(_ALL).to_pylist()
    table.export(tmp_path / "out", "shards")
    table.export(tmp_path / "csv", "csv")
    table.close()
    for name in (("out",), ("csv", "0.csv")):
        again = open_table(tmp_path / f"again-{name[0]}")
        again.ingest(tmp_path.joinpath(*name))
        assert again.sql(_ALL).to_pylist() == before
        again.close()


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("laion.csv", "0,u,c,n,0.1,[1],[1]\n", "name the file after its shard, as in 12.csv"),
        ("0.csv", "", "not the guide's CSV"),
        ("0.csv", "a,b\n", "not the guide's CSV"),
        ("0.csv", '0,u,c,n,0.1,"[1, 2]","[1, x]"\n', "an embedding is not a list of numbers"),
        ("0.csv", '0,u,c,n,0.1,"[1, 2]","[1, 2', "row 0: an embedding is not a list of numbers"),
        ("0.csv", '0,u,c,n,0.1,"[1, 2]","[1]"\n', "row 0 has an embedding of another length"),
        ("0.csv", '0,u,c,n,high,"[1, 2]","[1, 2]"\n', "not the guide's CSV"),
        ("0.csv", '0,u,c,n,0.1,"[1, 2]","[0, 0]"\n', "/0.csv: .*row 0 holds only zeros"),
    ],
)
def test_bad_csv_is_named(
    tmp_path: Path, open_table: OpenTable, name: str, text: str, match: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ShardError, match=match):
        open_table().ingest(tmp_path / name)
    with pytest.raises(ShardError, match="no such file"):
        open_table().ingest(tmp_path / "9.csv")
