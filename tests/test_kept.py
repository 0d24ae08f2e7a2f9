"""Columns of one's own: every type and name of parquet, from the file to hits, exports and back."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Iterator
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cliphouse.errors import QueryError, ShardError
from cliphouse.schema.columns import COLUMNS
from cliphouse.search.filter import Filter
from cliphouse.search.query.operand import Operand
from cliphouse.search.request import Request
from cliphouse.shards.fields import KeptColumn
from cliphouse.shards.kept import as_kept, sql_type
from cliphouse.table import Table
from conftest import OpenTable, Run
from shard_files import make_shard
from standin_cluster import StandInCluster
from thorough import examples

ROWS = 6
LAION = {"url": [f"https://e.org/{n}.jpg" for n in range(ROWS)], "caption": ["a cat"] * ROWS}
TAKEN = [datetime(2020, month, 1, 12, 30, tzinfo=timezone.utc) for month in range(1, ROWS + 1)]
OWN: dict[str, Any] = {
    "aesthetic": [1.5, 2.5, None, float("nan"), 5.5, 6.5],
    "punsafe": pa.array([0.1, 0.2, 0.3, 0.4, 0.5, None], pa.float32()),
    "original_width": pa.array([1, 2, 3, None, 2**40, -5], pa.int64()),
    "key": pa.array([0, 1, 2, 3, 2**32 - 1, None], pa.uint32()),
    "language": ["en", "de", None, "fr", "", "en"],
    "is_good": [True, False, None, True, False, True],
    "price": [Decimal("1.50"), None, Decimal("-3.25"), Decimal(0), Decimal("9.99"), Decimal(7)],
    "born": [date(1950, 1, 2), None, *(date(2000 + n, 3, 4) for n in range(4))],
    "taken": pa.array(TAKEN, pa.timestamp("us", "UTC")),
    "at": [time(1, 2, 3), None, *(time(4, 5, n, 500_000) for n in range(4))],
    "tags": [["a", "b"], [], None, [None, "c"], ["emoji 🙂"], ["a"]],
    "boxes": [[[1, 2]], [], None, [[], [3]], [[4]], [[5, None]]],
    "exif": [{"Make": "x", "ISO": n} if n else None for n in range(ROWS)],
}


def make(folder: Path, number: int = 0, **own: Any) -> Path:
    made = make_shard(folder, number, ROWS, metadata=LAION | own)
    return made.folder


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shard in s and a database that was loaded from it, to be copied."""
    folder = tmp_path_factory.mktemp("loaded")
    with Table(folder / "laion.chdb") as loaded:
        loaded.ingest(make(folder / "s", **OWN))
    return folder


@pytest.fixture
def table(loaded: Path, tmp_path: Path, open_table: OpenTable) -> Table:
    shutil.copytree(loaded, tmp_path, symlinks=True, dirs_exist_ok=True)
    return open_table()


def stored(table: Table, name: str) -> list[Any]:
    values = table.sql(f"SELECT `{name}` AS v FROM laion ORDER BY id").column("v").to_pylist()
    return [v.decode() if isinstance(v, bytes) else v for v in values]


def test_every_type_is_kept_with_its_values_and_nulls(table: Table) -> None:
    for name in ("punsafe", "original_width", "key", "language", "is_good", "price", "born"):
        column = OWN[name]
        expected = column.to_pylist() if isinstance(column, pa.Array) else column
        found = stored(table, name)
        if name == "punsafe":
            expected = [None if v is None else pytest.approx(v) for v in expected]
        assert found == expected, name
    assert stored(table, "aesthetic")[:3] == [1.5, 2.5, None]
    assert np.isnan(stored(table, "aesthetic")[3])
    assert stored(table, "taken") == TAKEN
    assert stored(table, "at")[:3] == ["01:02:03", None, "04:05:00.500000"]
    assert stored(table, "tags")[:3] == [["a", "b"], [], []]
    assert stored(table, "boxes") == [[[1, 2]], [], [], [[], [3]], [[4]], [[5, None]]]
    assert [v and json.loads(v) for v in stored(table, "exif")] == OWN["exif"]
    types = table.handle.columns
    assert types["language"] == "Nullable(String)"
    assert types["taken"] == "Nullable(DateTime64(6, 'UTC'))"
    assert types["tags"] == "Array(Nullable(String))"


def test_hits_show_them_and_arrow_has_their_types(table: Table) -> None:
    from cliphouse.search.arrow import hits_table

    found = table.search("id:0", k=ROWS, fields="url,taken,tags,price,language")
    hit = found[0]
    assert (hit.id, hit.price, hit.language, hit.tags) == (0, Decimal("1.50"), "en", ["a", "b"])
    assert hit.taken == TAKEN[0]
    assert set(hit.values) == {"url", "taken", "tags", "price", "language"}
    schema = hits_table(found, found.fields).schema
    assert schema.field("tags").type == pa.list_(pa.string())
    assert pa.types.is_timestamp(schema.field("taken").type)
    everything = table.search("id:0", k=1)[0].to_dict()
    assert set(OWN) < set(everything)


@pytest.mark.parametrize("form", ["parquet", "shards"])
def test_an_export_is_loaded_again_with_the_same_values(
    table: Table, tmp_path: Path, open_table: OpenTable, form: str
) -> None:
    before = {name: stored(table, name) for name in OWN}
    output = tmp_path / ("out.parquet" if form == "parquet" else "out")
    table.export(output, form)
    if form == "parquet":
        rows = pq.read_table(output).sort_by("id")
        assert rows.column("key").to_pylist() == before["key"]
        assert rows.column("tags").to_pylist() == before["tags"]
        return
    table.close()
    again = open_table(tmp_path / "again.chdb")
    again.ingest(output)
    for name, values in before.items():
        np.testing.assert_equal(stored(again, name), values)


def test_jsonl_and_a_list_of_pictures_have_them(table: Table, tmp_path: Path) -> None:
    table.export(tmp_path / "out.jsonl", "jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    read = {"taken": datetime.fromisoformat, "born": date.fromisoformat}
    for name in OWN:
        expected = [None if value != value else value for value in stored(table, name)]
        found = [line[name] for line in lines]
        if name in read:
            found = [value and read[name](value) for value in found]
        if name == "taken":
            found = [value.replace(tzinfo=timezone.utc) for value in found]
        if name in ("punsafe", "price"):  # JSON's numbers are decimal
            expected = [None if v is None else pytest.approx(float(v)) for v in expected]
        assert found == expected, name
    table.export(tmp_path / "list.parquet", "img2dataset")
    listed = pq.read_table(tmp_path / "list.parquet").sort_by("id")
    assert listed.column_names[:2] == ["url", "caption"]
    assert listed.column("original_width").to_pylist() == [1, 2, 3, None, 2**40, -5]


def test_hits_are_sorted_by_any_column(table: Table) -> None:
    def sorted_by(name: str, fields: str | None = "url") -> list[Any]:
        found = table.search("id:0", k=ROWS, sort=name, fields=fields)
        return [hit.values[name.removeprefix("-")] for hit in found]

    assert sorted_by("original_width") == [-5, 1, 2, 3, 2**40, None]
    assert sorted_by("-original_width") == [2**40, 3, 2, 1, -5, None]
    assert sorted_by("aesthetic", None)[:4] == [1.5, 2.5, 5.5, 6.5]
    assert sorted_by("-taken") == TAKEN[::-1]
    assert sorted_by("language") == ["", "de", "en", "en", "fr", None]
    nearest = table.search("id:0", k=3)
    by_price = table.search("id:0", k=3, sort="price")
    assert {hit.id for hit in by_price} == {hit.id for hit in nearest}
    assert by_price.cursor == nearest.cursor
    statement = table.spell_out([Operand(id=0)], Request(k=ROWS, sort="-original_width"))
    assert table.sql(statement).column("original_width").to_pylist() == [2**40, 3, 2, 1, -5, None]
    for name, error in (("nothing", "hits have no column nothing"), ("-tags", "has lists")):
        with pytest.raises(QueryError, match=f"sort: .*{error}"):
            table.search("id:0", sort=name)


def test_filters_by_any_column(table: Table) -> None:
    def ids(**columns: Any) -> set[int]:
        return {hit.id for hit in table.search("id:0", k=ROWS, filter=columns)}  # type: ignore[arg-type]

    assert ids(aesthetic={"min": 2.5}) == {1, 4, 5}
    assert ids(aesthetic={"min": 2, "max": 6}) == {1, 4}
    assert ids(language=["en", "de"]) == {0, 1, 5}
    assert ids(language={"not_in": ["en"]}) == {1, 2, 3, 4}
    assert ids(language=[None]) == {2}
    assert ids(original_width={"min": 2**40}) == {4}
    assert ids(taken={"min": "2020-03-01", "max": "2020-04-30"}) == {2, 3}
    assert ids(born={"max": date(1999, 1, 1)}) == {0}
    assert ids(price={"min": Decimal("1.5")}) == {0, 4, 5}
    assert ids(is_good=[True]) == {0, 3, 5}
    assert ids(tags=["a", "c"]) == {0, 3, 5}
    assert ids(tags={"contains": "EMOJI"}) == {4}
    assert ids(exif={"contains": '"ISO":3'}) == {3}
    assert ids(min_width=0, language=["fr"]) == {3}
    assert {h.id for h in table.search("id:0", k=9, where="aesthetic > 2 AND has(tags, 'a')")} == {
        5
    }


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"nothing": ["x"]}, "filter nothing: the table has no such column; it has id, "),
        ({"aesthetic": ["good"]}, "filter aesthetic: 'good' is no number"),
        ({"aesthetic": {"least": 3}}, "filter aesthetic: there is no 'least'; there are min, max"),
        ({"aesthetic": {"contains": "x"}}, "contains needs a column of text"),
        ({"tags": {"min": 3}}, "filter tags: a list has no bounds"),
        ({"taken": {"min": "yesterday"}}, "filter taken: 'yesterday' is no time"),
        ({"taken": {"min": "2020-13-45"}}, "annot read DateTime"),
        ({"born": ["32.1.2020"]}, "annot parse date"),
        ({"language": "en"}, "filter language: there is no such field"),
        ({"language": [["en"]]}, "is no value that a column could have"),
    ],
)
def test_a_filter_that_means_nothing_is_named(
    table: Table, columns: dict[str, Any], error: str
) -> None:
    with pytest.raises(QueryError, match=error):
        table.search("id:0", filter=columns)  # type: ignore[arg-type]


def test_a_filter_of_columns_is_written_and_read() -> None:
    given = {"aesthetic": {"min": 6}, "language": ["en", None], "min_width": 3}
    assert Filter(**given).to_dict() == {"min_width": 3} | given
    assert Filter(**Filter(**given).to_dict()) == Filter(**given)


def test_some_are_kept_or_none(tmp_path: Path, open_table: OpenTable) -> None:
    folder = make(tmp_path / "s", **OWN)
    for keep, expected in ((("aesthetic", "tags"), ["aesthetic", "tags"]), ((), [])):
        table = open_table(tmp_path / f"{len(keep)}.chdb")
        assert table.ingest(folder, keep=keep).notes == []
        plain = {column.name for column in COLUMNS}
        assert [name for name in table.handle.columns if name not in plain] == expected
        assert table.ingest(folder).notes == []  # they were left out on purpose
        table.close()
    other = open_table(tmp_path / "other.chdb")
    with pytest.raises(ShardError, match="--keep aesthetics: no metadata has such a column; there"):
        other.ingest(folder, keep=("aesthetics",))


def test_names_are_made_identifiers(tmp_path: Path, open_table: OpenTable) -> None:
    names = ["two words", "a.b", "🙂", "1st", "ID", "score", "Aesthetic", "aesthetic", "group"]
    table = open_table()
    table.ingest(make(tmp_path / "s", **{name: [name] * ROWS for name in names}))
    kept = {column.source: column.name for column in table.info.kept}
    assert kept == {
        "two words": "two_words",
        "a.b": "a_b",
        "🙂": "_",
        "1st": "_1st",
        "ID": "ID_2",
        "score": "score_2",
        "Aesthetic": "Aesthetic",
        "aesthetic": "aesthetic_2",
        "group": "group",
    }
    values = table.search("id:0", k=1)[0].values
    assert {name: values[kept[name]] for name in names} == {name: name for name in names}


def test_what_cannot_be_kept_is_named_once(tmp_path: Path, open_table: OpenTable) -> None:
    nothing, spans = pa.nulls(ROWS), pa.array([1] * ROWS, pa.duration("s"))
    folder = make(tmp_path / "s", nothing=nothing, lasted=spans)
    table = open_table()
    (note,) = table.ingest(folder).notes
    assert note == (
        "columns that a table cannot keep: nothing (of type null), lasted (of type duration[s])"
    )
    assert table.ingest(folder).notes == []


def test_columns_that_become_one_are_named_once(tmp_path: Path, open_table: OpenTable) -> None:
    for number in range(2):
        metadata = {"caption": [None, "b"], "TEXT": ["a", "c"], "url": ["u", "u"], "id2": [1, 2]}
        make_shard(tmp_path / "s", number, rows=2, metadata=metadata)
    table = open_table()
    assert table.ingest(tmp_path / "s").notes == [
        "caption: the metadata has the columns caption and TEXT; a row takes the first of them "
        "that is not null"
    ]
    assert table.sql("SELECT caption FROM laion ORDER BY id").column(0).to_pylist() == [*"ab"] * 2
    assert [column.name for column in table.info.kept] == ["id2"]


def test_lists_of_a_dictionary_are_kept(tmp_path: Path, open_table: OpenTable) -> None:
    words = pa.array(["x", "y", "x"]).dictionary_encode()
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 3]), words)
    sizes = pa.array([7, None]).dictionary_encode()
    make_shard(tmp_path / "s", rows=2, metadata={"tags": lists, "size": sizes})
    table = open_table()
    table.ingest(tmp_path / "s")
    assert table.sql("SELECT tags, size FROM laion ORDER BY id").to_pylist() == [
        {"tags": ["x", "y"], "size": 7},
        {"tags": ["x"], "size": None},
    ]


def test_later_shards_are_held_to_the_columns(tmp_path: Path, open_table: OpenTable) -> None:
    table = open_table()
    table.ingest(make(tmp_path / "a", 0, aesthetic=[1.0] * ROWS, size=[1] * ROWS))
    report = table.ingest(make(tmp_path / "b", 1, aesthetic=[2.0] * ROWS, new=["x"] * ROWS))
    assert report.notes == [
        "shard 1: no column size; the rows get null",
        "not kept, since the table has no such column: new; --add-column NAME adds one",
    ]
    assert stored(table, "size") == [1] * ROWS + [None] * ROWS
    wrong = make(tmp_path / "c", 2, aesthetic=["high"] * ROWS, size=[1] * ROWS)
    with pytest.raises(
        ShardError,
        match=r"metadata_2.parquet: column aesthetic is of type string, and the table "
        r"keeps it as Nullable\(Float64\)",
    ):
        table.ingest(wrong)
    narrow = pa.array([7] * ROWS, pa.int8())
    table.ingest(make(tmp_path / "d", 3, aesthetic=[3.0] * ROWS, size=narrow))
    assert stored(table, "size")[-ROWS:] == [7] * ROWS


def test_a_column_is_added_later(tmp_path: Path, open_table: OpenTable) -> None:
    table = open_table()
    table.ingest(make(tmp_path / "a", 0), keep=())
    folder = make(tmp_path / "b", 1, new=["x"] * ROWS)
    report = table.ingest(folder, add_columns=("new",))
    assert report.notes == []
    assert stored(table, "new") == [None] * ROWS + ["x"] * ROWS
    assert table.search(f"id:{2**32}", k=1)[0].new == "x"
    with pytest.raises(ShardError, match="--add-column older: no metadata has such a column"):
        table.ingest(folder, add_columns=("older",))


def test_a_cluster_keeps_them_on_all_shards(tmp_path: Path, two_shards: StandInCluster) -> None:
    folder = make(tmp_path / "a", 0, language=["en", "de", None] * 2, tags=[["a"], []] * 3)
    with Table(two_shards.fresh_url()) as table:
        table.ingest(folder, cluster="two", keep=("language",))
        assert stored(table, "language") == ["en", "de", None] * 2
        assert table.ingest(folder, add_columns=("tags",)).notes == []
        table.ingest(make(tmp_path / "b", 1, language=["fr"] * ROWS, tags=[["a"], []] * 3))
        assert stored(table, "tags") == [[]] * ROWS + [["a"], []] * 3
        found = table.search("id:0", k=20, filter={"tags": ["a"]})  # type: ignore[arg-type]
        assert {hit.id - 2**32 for hit in found} == {0, 2, 4}
        (languages,) = table.facets(["language"], Request())
        assert {each.value: each.rows for each in languages.values} == {"en": 2, "de": 2, "fr": 6}


def test_shards_of_one_load_agree_on_a_type(tmp_path: Path, open_table: OpenTable) -> None:
    folder = make(tmp_path / "s", 0, size=pa.array([1] * ROWS, pa.int16()))
    make(tmp_path / "s", 1, size=pa.array([2**40] * ROWS, pa.int64()))
    table = open_table()
    table.ingest(folder)
    assert stored(table, "size") == [1] * ROWS + [2**40] * ROWS
    make(tmp_path / "s", 2, size=["big"] * ROWS)
    other = open_table(tmp_path / "other.chdb", table="other")
    with pytest.raises(ShardError, match=r"metadata_2.parquet: column size is of type string, in "):
        other.ingest(folder)


def test_few_texts_are_kept_once(tmp_path: Path, open_table: OpenTable) -> None:
    rows = 100
    metadata = {
        "caption": [f"{n}" for n in range(rows)],
        "language": ["en", "de"] * (rows // 2),
        "sha256": [f"{n:064x}" for n in range(rows)],
    }
    table = open_table()
    table.ingest(make_shard(tmp_path / "s", 0, rows, metadata=metadata).folder)
    assert table.handle.columns["language"] == "LowCardinality(Nullable(String))"
    assert table.handle.columns["sha256"] == "Nullable(String)"
    assert len(table.search("id:0", k=100, filter={"language": ["de"]})) == 50  # type: ignore[arg-type]


def test_the_command_line(tmp_path: Path, run: Run) -> None:
    make(tmp_path / "s", **OWN)
    loaded = run("ingest", "s", "--keep", "aesthetic, taken")
    assert loaded.returncode == 0, loaded.stderr
    shown = run("search", "id:0", "--columns", "aesthetic,taken", "--format", "json", "-k", "1")
    hit = json.loads(shown.stdout)["hits"][0]
    assert hit["aesthetic"] == 1.5
    assert hit["taken"].startswith("2020-01-01 12:30:00")
    wider = run("ingest", "s", "--add-column", "language")
    assert wider.returncode == 0, wider.stderr
    assert "aesthetic" in run("info").stdout


def test_five_hundred_columns_and_a_long_text(tmp_path: Path, open_table: OpenTable) -> None:
    own: dict[str, Any] = {f"c{n}": pa.array(range(ROWS), pa.int32()) for n in range(499)}
    own["long"] = ["x" * 10**6] * ROWS
    table = open_table()
    table.ingest(make(tmp_path / "s", **own))
    assert stored(table, "c498") == list(range(ROWS))
    assert [len(text) for text in stored(table, "long")] == [10**6] * ROWS


numbers = itertools.count(1)
_SCALARS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    *((pa.type_for_alias(f"int{b}"), st.integers(-(2 ** (b - 1)), 2 ** (b - 1) - 1))
      for b in (8, 16, 32, 64)),
    *((pa.type_for_alias(f"uint{b}"), st.integers(0, 2**b - 1)) for b in (8, 16, 32, 64)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    (pa.large_string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    (pa.date32(), st.dates(date(1900, 1, 1), date(2299, 12, 31))),
    (pa.timestamp("ms"), st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(
        lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))),
    (pa.timestamp("us", "UTC"), st.datetimes(
        datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone.utc))),
    (pa.decimal128(12, 3), st.decimals(-(10**8), 10**8, places=3)),
]  # fmt: skip


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """A column of any kept type, with nulls."""
    kind, values = draw(st.sampled_from(_SCALARS))
    for _ in range(draw(st.integers(0, 2))):
        kind, values = pa.list_(kind), st.lists(st.none() | values, max_size=3)
    items = draw(st.lists(st.none() | values, min_size=ROWS, max_size=ROWS))
    return pa.array(items, kind)


def as_stored(value: Any, kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return [as_stored(v, kind.value_type) for v in value or []]
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    with Table(tmp_path_factory.mktemp("kept") / "db") as table:
        yield table


@settings(max_examples=examples(3, 6), deadline=None)
@given(st.lists(columns(), min_size=4, max_size=12))
def test_any_column_comes_back_from_exports_and_from_a_table_made_of_one(
    tmp_path_factory: pytest.TempPathFactory, shared: Table, drawn: list[pa.Array]
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    own = {f"c{n}": column for n, column in enumerate(drawn)}
    made = make_shard(folder / "s", 0, ROWS, metadata=LAION | own)
    first, second = f"t{next(numbers)}", f"t{next(numbers)}"
    with Table(shared.address.shown, first) as table, Table(table.address.shown, second) as again:
        table.ingest(made.folder)
        table.export(folder / "shards", "shards")
        again.ingest(folder / "shards")
        for n, source in enumerate((table, again)):
            source.export(folder / f"{n}.parquet", "parquet")
            source.sql(f"DROP TABLE {source.name} SYNC")
    for n in range(2):
        exported = pq.read_table(folder / f"{n}.parquet").sort_by("id")
        for column, values in own.items():
            if values.null_count == ROWS and n == 1 and column not in exported.column_names:
                continue  # a column without a single value is not kept
            expected = [as_stored(value, values.type) for value in values.to_pylist()]
            np.testing.assert_equal(exported.column(column).to_pylist(), expected)


def test_types_that_have_no_place() -> None:
    assert sql_type(pa.duration("s")) is None
    assert sql_type(pa.list_(pa.duration("s"))) is None
    assert sql_type(pa.null()) is None
    assert sql_type(pa.dictionary(pa.int8(), pa.string())) == "Nullable(String)"
    assert sql_type(pa.list_(pa.list_(pa.int8()))) == "Array(Array(Nullable(Int8)))"


_STRUCT = pa.struct(
    [
        ('a "name", 100%', pa.string()),
        ("small", pa.float32()),
        ("count", pa.uint64()),
        ("ok", pa.bool_()),
        ("bytes", pa.binary()),
        ("list", pa.list_(pa.struct([("x", pa.int8())]))),
        ("map", pa.map_(pa.string(), pa.int32())),
        ("inner", pa.struct([("deep", pa.string())])),
    ]
)
_TEXTS = st.none() | st.text(st.characters(codec="utf-8"))


@settings(  # making the first inputs is slow while other processes take the cores
    max_examples=examples(50, 200), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    st.lists(
        st.none()
        | st.fixed_dictionaries(
            {
                'a "name", 100%': _TEXTS,
                "small": st.none() | st.floats(width=32),
                "count": st.none() | st.integers(0, 2**64 - 1),
                "ok": st.none() | st.booleans(),
                "bytes": st.none() | st.text(st.characters(codec="ascii")).map(str.encode),
                "list": st.none() | st.lists(st.fixed_dictionaries({"x": st.integers(-128, 127)})),
                "map": st.none() | st.dictionaries(_TEXTS.filter(bool), st.just(7)),
                "inner": st.none() | st.fixed_dictionaries({"deep": _TEXTS}),
            }
        )
    )
)
def test_structs_become_the_json_of_their_values(rows: list[dict[str, Any] | None]) -> None:
    """NaN and infinity, which JSON does not have, are null; bytes are text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value.decode() if isinstance(value, bytes) else value

    values = pa.chunked_array([pa.array(map(_with_pairs, rows), _STRUCT)])
    texts = as_kept(values, KeptColumn("s", "s", "Nullable(String)")).to_pylist()
    found = [None if text is None else json.loads(text) for text in texts]
    assert found == [plain(row) for row in rows]


def _with_pairs(row: dict[str, Any] | None) -> dict[str, Any] | None:
    if row is None or row["map"] is None:
        return row
    return row | {"map": list(row["map"].items())}
