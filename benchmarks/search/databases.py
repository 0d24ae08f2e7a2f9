"""Other databases, and the ClickHouse guide's table: ids, urls and captions come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from clip_like import DIM
from ingest import GUIDE_TABLE, arrow_reader
from search.contender import DETAILS, Answer, Ask, Case, Contender, K, Step, Vector
from search.data import COMMON
from search.place import Place

_VECTOR = "image_embedding"
_SHOWN = ("id", "url", "caption")
_FLAT, _DEFAULT, _INDEX = "flat", "defaults", "index"
_REFINE = {"nprobes 64, refine 30": 30, "nprobes 256, refine 100": 100}


def _rows(place: Place) -> Any:
    """The shard in batches, with what is searched and shown."""
    reader = arrow_reader(place.shard)
    schema = pa.schema([reader.schema.field(name) for name in (*_SHOWN, _VECTOR)])
    batches = (batch.select(schema.names) for batch in reader)
    return pa.RecordBatchReader.from_batches(schema, batches)


def build_lancedb(place: Place) -> None:
    import lancedb

    lancedb.connect(place.fresh("lancedb")).create_table("laion", _rows(place))


def index_lancedb(place: Place) -> None:
    """IVF_PQ, with everything but the metric left as it is."""
    table = _lancedb(place)
    table.create_index(metric="cosine", vector_column_name=_VECTOR)


@contextmanager
def open_lancedb(place: Place) -> Iterator[Ask]:
    table = _lancedb(place)

    def ask(vector: Vector, case: Case) -> Answer:
        query = table.search(vector, vector_column_name=_VECTOR).distance_type("cosine")
        query = query.select([*_SHOWN, "_distance"]).limit(K)
        if case.mode == _FLAT:
            query = query.bypass_vector_index()
        elif case.width is not None:
            query = query.nprobes(case.width).refine_factor(_REFINE[case.name])
        return Answer(query.to_arrow().column("id").to_pylist())

    yield ask


def _lancedb(place: Place) -> Any:
    import lancedb

    return lancedb.connect(place.folder("lancedb")).open_table("laion")


def build_duckdb(place: Place) -> None:
    import duckdb

    with duckdb.connect(str(place.fresh("duckdb") / "laion.duckdb")) as connection:
        connection.execute(
            f"CREATE TABLE laion (id BIGINT, url VARCHAR, caption VARCHAR, {_VECTOR} FLOAT[{DIM}])"
        )
        connection.register("rows", _rows(place))
        connection.execute("INSERT INTO laion SELECT * FROM rows")
        connection.unregister("rows")


@contextmanager
def open_duckdb(place: Place) -> Iterator[Ask]:
    import duckdb

    path = str(place.folder("duckdb") / "laion.duckdb")
    statement = (
        f"SELECT id, url, caption FROM laion "
        f"ORDER BY array_cosine_distance({_VECTOR}, ?::FLOAT[{DIM}]) LIMIT {K}"
    )
    with duckdb.connect(path, read_only=True) as connection:

        def ask(vector: Vector, case: Case) -> Answer:
            rows = connection.execute(statement, [vector.tolist()]).fetchall()
            return Answer([row[0] for row in rows])

        yield ask


def build_guide(place: Place) -> None:
    """The guide's table, filled by Arrow, which is much faster than its CSV, and merged whole."""
    with _clickhouse(place.fresh("guide")) as client:
        client.command(GUIDE_TABLE)
        client.command("SYSTEM STOP MERGES laion")  # one merge at the end costs less disk
        columns = client.query("DESCRIBE TABLE laion").result_columns[0]
        for batch in arrow_reader(place.shard):
            client.insert_arrow("laion", pa.Table.from_batches([batch.select(columns)]))
        client.command("SYSTEM START MERGES laion")
        client.command("OPTIMIZE TABLE laion FINAL")


def index_guide(place: Place) -> None:
    """The guide's index on images, with its parameters."""
    with _clickhouse(place.folder("guide")) as client:
        client.command(
            f"ALTER TABLE laion ADD INDEX IF NOT EXISTS image_index {_VECTOR} "
            f"TYPE vector_similarity('hnsw', 'cosineDistance', {DIM}, 'bf16', 64, 256)"
        )
        client.command(
            "ALTER TABLE laion MATERIALIZE INDEX image_index", settings={"mutations_sync": 2}
        )


@contextmanager
def open_guide(place: Place) -> Iterator[Ask]:
    """The engine's defaults; without the index, the search is kept from it by a setting."""
    statement = (
        f"SELECT id, url, caption FROM laion "
        f"ORDER BY cosineDistance({_VECTOR}, {{target:Array(Float32)}}) LIMIT {K}"
    )
    with _clickhouse(place.folder("guide")) as client:

        def ask(vector: Vector, case: Case) -> Answer:
            settings = {} if case.mode == _INDEX else {"query_plan_try_use_vector_search": 0}
            found = client.query(statement, {"target": vector.tolist()}, settings)
            return Answer(list(found.result_columns[0]))

        yield ask


@contextmanager
def _clickhouse(folder: Path) -> Iterator[Any]:
    import clickhouse_connect

    client = clickhouse_connect.get_client(dsn=f"chdb://{folder}")
    try:
        yield client
    finally:
        client.close()


_LANCE_ROWS = Step("lancedb", build_lancedb)
_GUIDE_ROWS = Step("guide", build_guide)

LANCEDB_FLAT = Contender(
    "lancedb-flat",
    "LanceDB flat",
    DETAILS,
    (*COMMON, _LANCE_ROWS),
    (Case("", mode=_FLAT),),
    open_lancedb,
)
LANCEDB_INDEX = Contender(
    "lancedb-index",
    "LanceDB IVF_PQ",
    DETAILS,
    (*COMMON, _LANCE_ROWS, Step("lancedb-index", index_lancedb)),
    (
        Case("defaults", mode=_DEFAULT),
        Case("nprobes 64, refine 30", 64),
        Case("nprobes 256, refine 100", 256),
    ),
    open_lancedb,
)
DUCKDB = Contender(
    "duckdb",
    "DuckDB flat",
    DETAILS,
    (*COMMON, Step("duckdb", build_duckdb)),
    (Case(""),),
    open_duckdb,
)
GUIDE_FLAT = Contender(
    "guide-flat",
    "the guide's table, brute force at defaults",
    DETAILS,
    (*COMMON, _GUIDE_ROWS),
    (Case("", mode=_FLAT),),
    open_guide,
)
GUIDE_INDEX = Contender(
    "guide-index",
    "the guide's index at defaults",
    DETAILS,
    (*COMMON, _GUIDE_ROWS, Step("guide-index", index_guide)),
    (Case("", mode=_INDEX),),
    open_guide,
)
