"""Finding shards: names, layouts, numbers, and what is missing or there twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cliphouse.errors import ShardError, UserError
from cliphouse.shards.files import find_shards
from cliphouse.shards.guide_csv import GuideCsv
from cliphouse.shards.manifest import read_manifest
from cliphouse.shards.numbering import format_shard_numbers, parse_shard_numbers
from cliphouse.shards.reader import ShardReader
from shard_files import make_shard


@pytest.mark.parametrize(
    "layout",
    [("", "", ""), ("img_emb", "text_emb", "metadata"), ("images", "texts", "metadata")],
)
@pytest.mark.parametrize("digits", [0, 4])
def test_finds_every_layout_and_numbering(
    tmp_path: Path, layout: tuple[str, str, str], digits: int
) -> None:
    for number in (0, 7, 11):
        make_shard(tmp_path, number, layout=layout, digits=digits)
    shards = find_shards([str(tmp_path)])
    assert [shard.number for shard in shards] == [0, 7, 11]
    for shard in shards:
        assert shard.image.path.endswith(f"img_emb_{shard.number:0{digits}d}.npy")
        assert shard.text is not None
        assert shard.image.size == Path(shard.image.path).stat().st_size


@pytest.mark.parametrize("name", ["a::b", "file:x", "data:img", "s3:", "memory:x", "a b#c%20"])
def test_a_folder_that_is_here_is_no_url(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shard(tmp_path / name, 4, rows=3)
    monkeypatch.chdir(tmp_path)
    (shard,) = find_shards([name])
    assert shard.image.is_local
    assert ShardReader.open(shard).rows == 3
    assert read_manifest(name) is None
    (tmp_path / name / "4.csv").write_text('0,u,c,n,0.5,"[1,2]","[3,4]"\n')
    assert GuideCsv.open(f"{name}/4.csv").dim == 2


def test_text_embeddings_may_be_absent(tmp_path: Path) -> None:
    make_shard(tmp_path, with_text=False)
    assert find_shards([str(tmp_path)])[0].text is None


def test_finds_shards_behind_a_url(tmp_path: Path) -> None:
    made = make_shard(tmp_path, 3)
    remote = fsspec.filesystem("memory")
    remote.put(str(tmp_path) + "/", "/find-shards/", recursive=True)
    shard = find_shards(["memory://find-shards"])[0]
    assert shard.number == 3
    with shard.image.open() as stream:
        assert stream.read() == (made.folder / "img_emb" / "img_emb_3.npy").read_bytes()


def test_several_folders_and_a_selection(tmp_path: Path) -> None:
    make_shard(tmp_path / "a", 1)
    make_shard(tmp_path / "b", 2)
    make_shard(tmp_path / "b", 3)
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [shard.number for shard in find_shards(folders)] == [1, 2, 3]
    assert [shard.number for shard in find_shards(folders, {1, 3})] == [1, 3]
    with pytest.raises(ShardError, match="shard 9 is missing"):
        find_shards(folders, {1, 9})


def test_other_files_are_no_shards(tmp_path: Path) -> None:
    make_shard(tmp_path, 0)
    for name in ("img_emb_1.npy.part", "img_emb_x.npy", "metadata_2.npy", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [shard.number for shard in find_shards([str(tmp_path)])] == [0]


def test_an_empty_or_missing_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no shards here; expected img_emb_N\.npy"):
        find_shards([str(tmp_path)])
    with pytest.raises(ShardError, match="nowhere: no such folder"):
        find_shards([str(tmp_path / "nowhere")])


def test_two_files_for_one_shard_are_both_named(tmp_path: Path) -> None:
    make_shard(tmp_path, 5)
    shutil.copy(tmp_path / "img_emb" / "img_emb_5.npy", tmp_path / "img_emb" / "img_emb_0005.npy")
    with pytest.raises(ShardError, match=r"two img_emb files, .*img_emb_0005.npy and .*_5.npy"):
        find_shards([str(tmp_path)])


@pytest.mark.parametrize(
    ("removed", "named"),
    [("metadata/metadata_2.parquet", "metadata_2.parquet"), ("img_emb/img_emb_2.npy", "img_emb_2")],
)
def test_an_incomplete_shard_names_the_missing_file(
    tmp_path: Path, removed: str, named: str
) -> None:
    make_shard(tmp_path, 2)
    (tmp_path / removed).unlink()
    with pytest.raises(ShardError, match=f"shard 2 is incomplete: {named}.* is missing"):
        find_shards([str(tmp_path)])


def test_shard_numbers() -> None:
    assert parse_shard_numbers("all") is None
    assert parse_shard_numbers("0-3,12, 7") == {0, 1, 2, 3, 7, 12}
    assert format_shard_numbers([0, 1, 2, 3, 7, 12]) == "0-3,7,12"


@given(st.sets(st.integers(0, 2000), min_size=1, max_size=30))
def test_any_list_of_numbers_is_read_back(numbers: set[int]) -> None:
    assert parse_shard_numbers(",".join(map(str, numbers))) == numbers
    assert parse_shard_numbers(format_shard_numbers(sorted(numbers))) == numbers


@pytest.mark.parametrize("text", ["", "x", "5-2", "1,,2", "-3", "1-", "99999999", "٣"])
def test_bad_shard_numbers_are_named(text: str) -> None:
    with pytest.raises(UserError, match="not a shard number or range"):
        parse_shard_numbers(text)
