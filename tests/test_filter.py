"""The filter for programs, against the same conditions in Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cliphouse import Filter, QueryError, Table
from cliphouse.schema.facts import read_facts
from cliphouse.search.condition import Condition
from cliphouse.search.selectivity import estimate_selectivity
from conftest import OpenTable
from shard_files import make_shard
from thorough import examples

ROWS = 40
HOSTS = ("example.org", "img.example.org", "badexample.org", "EXAMPLE.org:8080", "other.net")
CAPTIONS = ("A red Cat", "ÜBER den Wolken", "100% wool's \\ best", "", "a\tdog\nand more")
NSFW = ("UNLIKELY", "NSFW", "UNSURE", "")


def rows_of(number: int) -> list[dict[str, object]]:
    return [
        {
            "id": number * 2**32 + row,
            "url": f"https://{HOSTS[row % 5]}/a/{row}.jpg",
            "caption": CAPTIONS[row % 5],
            "NSFW": NSFW[row % 4],
            "similarity": round(row / ROWS, 3),
            "width": 100 + row,
            "height": 500 - row,
            "license": "?" if row % 3 else "CC0",
        }
        for row in range(ROWS)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filter")
    for number in (0, 1, 7):
        rows = rows_of(number)
        metadata = {name: [row[name] for row in rows] for name in rows[0] if name != "id"}
        metadata["LICENSE"] = metadata.pop("license")
        make_shard(folder / "s", number, ROWS, metadata=metadata)
    with Table(folder / "db") as table:
        table.ingest(folder / "s")
    return folder


@pytest.fixture
def table(folder: Path) -> Iterator[Table]:
    with Table(folder / "db") as opened:
        yield opened


def is_below(url: object, host: str) -> bool:
    found = (urlsplit(str(url)).hostname or "").lower()
    return found == host.lower() or found.endswith("." + host.lower())


def passes(row: dict[str, object], wanted: Filter) -> bool:
    """The filter's meaning, said again in Python."""
    f = wanted
    tests = [
        f.min_similarity is None or row["similarity"] >= f.min_similarity - 1e-6,
        f.max_similarity is None or row["similarity"] <= f.max_similarity + 1e-6,
        f.min_width is None or row["width"] >= f.min_width,
        f.max_width is None or row["width"] <= f.max_width,
        f.min_height is None or row["height"] >= f.min_height,
        f.max_height is None or row["height"] <= f.max_height,
        f.nsfw_in is None or row["NSFW"] in f.nsfw_in,
        f.nsfw_not_in is None or row["NSFW"] not in f.nsfw_not_in,
        f.license_in is None or row["license"] in f.license_in,
        f.caption_contains is None or f.caption_contains.lower() in str(row["caption"]).lower(),
        f.url_host is None or is_below(row["url"], f.url_host),
        f.shards is None or int(row["id"]) >> 32 in f.shards,  # type: ignore[call-overload]
    ]
    return all(tests)


optional_bounds = {
    "min_similarity": st.sampled_from([0.1, 0.5]),
    "max_similarity": st.sampled_from([0.7, 0.9]),
    "min_width": st.integers(90, 120),
    "max_width": st.integers(120, 150),
    "min_height": st.integers(440, 470),
    "max_height": st.integers(470, 510),
    "nsfw_in": st.lists(st.sampled_from(NSFW), max_size=3).map(tuple),
    "nsfw_not_in": st.lists(st.sampled_from(NSFW), max_size=2).map(tuple),
    "license_in": st.just(("CC0",)),
    "caption_contains": st.sampled_from(["red cat", "über", "100% wool's \\", "\t", "%", "_"]),
    "url_host": st.sampled_from(["example.org", "Example.ORG", "img.example.org", "org"]),
    "shards": st.lists(st.integers(0, 8), max_size=4).map(tuple),
}


@settings(
    max_examples=examples(12, 40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(values=st.fixed_dictionaries({}, optional=optional_bounds))
def test_a_filter_means_what_it_says(table: Table, values: dict[str, object]) -> None:
    wanted = Filter(**values)  # type: ignore[arg-type]
    expected = [row["id"] for n in (0, 1, 7) for row in rows_of(n) if passes(row, wanted)]
    found = table.search("id:3", k=500, filter=wanted)
    assert sorted(hit.id for hit in found) == expected


def test_where_and_filter_hold_together(table: Table) -> None:
    wanted = Filter(min_width=110, shards=(0, 1))
    found = table.search("id:3", k=500, where="width < 112 -- wide", filter=wanted)
    assert sorted(hit.id for hit in found) == [10, 11, 2**32 + 10, 2**32 + 11]


def test_an_empty_filter_is_none(table: Table) -> None:
    assert not Filter()
    assert len(table.search("id:3", k=500, filter=Filter())) == 3 * ROWS


def test_fields_are_read_and_misspelled_ones_named() -> None:
    wanted = Filter(max_width=7.0, shards=[1, 2], min_width=None)
    assert (wanted.max_width, wanted.shards, wanted.min_width) == (7, (1, 2), None)
    assert wanted == Filter(shards=(1, 2), max_width=7) != Filter(shards=(1, 2))
    assert repr(wanted) == "Filter(shards=(1, 2), max_width=7)"
    with pytest.raises(AttributeError, match="no field max_with"):
        _ = wanted.max_with
    with pytest.raises(QueryError, match=r"filter max_with: there is no such field; .*max_width"):
        Filter(max_with=7)


def test_a_missing_column_is_named(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s")
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("ALTER TABLE laion DROP COLUMN height")
    with pytest.raises(QueryError, match="filter min_height: the table has no column height"):
        table.search("id:1", filter=Filter(min_height=3))


def test_selectivity_is_estimated_from_a_few_rows(tmp_path: Path, open_table: OpenTable) -> None:
    make_shard(tmp_path / "s", rows=60_000, dim=2, metadata={"width": list(range(60_000))})
    table = open_table()
    table.ingest(tmp_path / "s")
    table.sql("OPTIMIZE TABLE laion FINAL")
    facts = read_facts(table.handle)
    for condition, share in (
        ("width % 4 = 1", 0.25),
        ("width >= 30000", 0.5),
        ("id % 50 = 7", 0.02),
    ):
        found = estimate_selectivity(table.handle, facts, Condition(condition))
        assert found == pytest.approx(share, rel=0.15)
    none = estimate_selectivity(table.handle, facts, Condition("width < 0"))
    assert 0 < none < 1e-4
