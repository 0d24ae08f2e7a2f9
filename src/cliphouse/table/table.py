"""The one object that carries the whole API; the command line only mirrors it."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cliphouse.errors import ModelError, QueryError, TableError
from cliphouse.models import DEFAULT_MODEL, Encoder, load_encoder, model_spec
from cliphouse.pictures import open_picture
from cliphouse.shards.source import find_sources
from cliphouse.table import index as index_module
from cliphouse.table.answer import Answer, run_statement
from cliphouse.table.check import CheckReport, check_table
from cliphouse.table.connection import Address, Connection, identifier
from cliphouse.table.encoding import choose_encoder, encoder_difference, reload_functions
from cliphouse.table.export import Exporter, ExportFormat, ExportReport
from cliphouse.table.index import BuiltIndex, IndexSpec
from cliphouse.table.ingest import IngestReport, ingest
from cliphouse.table.recall import measure_recall
from cliphouse.table.schema import (
    MODALITIES,
    Measured,
    Modality,
    Precision,
    TableInfo,
    column_types,
    read_info,
    with_measured,
    write_info,
)
from cliphouse.table.search import (
    METRICS,
    MODES,
    Metric,
    Mode,
    Plan,
    Request,
    SearchResult,
    SearchStats,
    choose,
    index_name,
    run_search,
    search_sql,
)
from cliphouse.table.summary import TableSummary, summarise
from cliphouse.table.vector import Query, QueryReader
from cliphouse.udf import EncoderSettings

DEFAULT_DB = "laion.chdb"
DEFAULT_TABLE = "laion"
MAX_K = 100_000
MAX_EF = 100_000


class Table:
    """A table of image-text pairs, in an embedded folder or on a ClickHouse server.

    The database is opened, and the encoder loaded, when first needed. A Table serves one thread.

    >>> with cliphouse.open("laion.chdb") as laion:
    ...     laion.ingest("shards/")
    ...     hits = laion.search("a dog and a cat", k=10, where="similarity > 0.3")
    """

    def __init__(
        self,
        db: str | Path = DEFAULT_DB,
        table: str = DEFAULT_TABLE,
        model: str | None = None,
        model_dir: str | None = None,
    ) -> None:
        """``model`` is the encoder for words and pictures where the table does not say which made
        it; ``model_dir`` the folder of its files, offline."""
        identifier(table)
        self.address = Address.parse(str(db))
        self.name = table
        self._model = model
        self._model_dir = model_dir
        self._encode_with = model
        self._open: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The open database. Raises TableError where there is none, or another process has it."""
        if self._open is None:
            self._open = Connection(self.address)
            if self._open.is_embedded:
                self._choose_encoder()
        return self._open

    @property
    def info(self) -> TableInfo:
        """What the table was made with. Raises TableError where there is no such table."""
        info = read_info(self.connection, self.name)
        if info is None:
            raise TableError(
                f"{self.address.shown}: no table {self.name}; make it with: cliphouse ingest DIR"
            )
        return info

    def ingest(
        self,
        *folders: str | Path,
        shards: Collection[int] | None = None,
        precision: Precision | None = None,
        replace: bool = False,
        progress: Any = None,
    ) -> IngestReport:
        """Load the shards below ``folders`` (see cliphouse.table.ingest.ingest), making the
        database and the table where they are not there."""
        report = ingest(
            self._create,
            self.name,
            [str(folder) for folder in folders],
            shards,
            self._model,
            precision,
            replace,
            progress,
        )
        if self._open is not None and self._open.is_embedded:
            self._choose_encoder()  # the table may say now which model it is
        return report

    def index(self, spec: IndexSpec | Modality = "image", progress: Any = None) -> BuiltIndex:
        """Build an HNSW index (see cliphouse.table.index.build_index)."""
        spec = spec if isinstance(spec, IndexSpec) else IndexSpec(spec)
        built = index_module.build_index(self.connection, self.name, self.info, spec, progress)
        if built.seconds and spec.metric == "cosine":
            self._forget_recall(spec.modality)
        return built

    def drop_index(self, modality: Modality = "image", metric: Metric = "cosine") -> bool:
        """Drop an index; returns whether there was one."""
        dropped = index_module.drop_index(self.connection, self.name, modality, metric)
        if dropped and metric == "cosine":
            self._forget_recall(modality)
        return dropped

    def recall(
        self, modality: Modality = "image", k: int = 10, queries: int = 100, progress: Any = None
    ) -> tuple[Measured, ...]:
        """Measure recall@k of the index on ``modality`` and keep it with the table, for ``auto``
        (see cliphouse.table.recall.measure_recall)."""
        info = self._searchable(modality)
        indexes = index_module.existing_indexes(self.connection, self.name)
        measured = measure_recall(
            self.connection,
            self.name,
            info,
            self._columns(),
            modality,
            indexes.get(index_name(modality, "cosine")),
            k,
            queries,
            progress,
        )
        write_info(self.connection, self.name, with_measured(info, modality, measured))
        return measured

    def search(
        self,
        query: Query,
        k: int = 10,
        modality: Modality = "image",
        where: str | None = None,
        metric: Metric = "cosine",
        mode: Mode = "auto",
        ef: int | None = None,
    ) -> SearchResult:
        """The ``k`` rows whose ``modality`` embedding is nearest to ``query``.

        ``query`` is words, the path of a picture or of a .npy vector, ``id:N``, a PIL image or an
        array. ``where`` is a SQL condition. ``mode`` auto uses the index only where its measured
        recall is good and it is faster; ``ef`` is the search width of mode hnsw.

        Raises QueryError, PictureError, ModelError or TableError, each saying what to do.
        """
        _one_of("mode", mode, MODES)
        _one_of("metric", metric, METRICS)
        if not 1 <= k <= MAX_K:
            raise QueryError(f"k is {k}; it must be 1 to {MAX_K:,}")
        if ef is not None and not 1 <= ef <= MAX_EF:
            raise QueryError(f"ef is {ef}; it must be 1 to {MAX_EF:,}")
        info = self._searchable(modality)
        started = time.perf_counter()
        vector = QueryReader(self.connection, self.name, info).read(
            query, modality, lambda: self._encoder_for(info)
        )
        encode_ms = (time.perf_counter() - started) * 1000
        request = Request(k, modality, where, metric, mode, ef)
        indexes = index_module.existing_indexes(self.connection, self.name)
        plan = choose(request, vector.kind, info, indexes)
        sql = search_sql(
            self.name, self._columns(), info, request, plan, self.connection.is_embedded
        )
        hits, search_ms = run_search(self.connection, sql, info, vector)
        if plan.mode == "hnsw" and len(hits) < k:
            # Deleted rows are still in the graph and take the places of others.
            plan = Plan("exact", None, 1.0, "the index gave too few rows")
            sql = search_sql(
                self.name, self._columns(), info, request, plan, self.connection.is_embedded
            )
            hits, more_ms = run_search(self.connection, sql, info, vector)
            search_ms += more_ms
        stats = SearchStats(
            plan.mode,
            plan.ef,
            plan.recall,
            plan.reason,
            metric,
            modality,
            vector.kind,
            k,
            encode_ms,
            search_ms,
        )
        return SearchResult(hits, stats, sql)

    def sql(self, statement: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The result of one SQL statement as an Arrow table, empty where it has none.

        ``parameters`` are for ``{name:Type}`` in the statement. ``encode_text`` and
        ``encode_image`` use the model that the tables were made with (see
        cliphouse.table.encoding).

        Raises QueryError, TableError or EngineError where the engine refuses the statement, and
        ModelError or PictureError where a function cannot encode.
        """
        answer = self.run(statement, parameters)
        if answer.rows is None:
            raise QueryError("the result cannot be read: give the statement without FORMAT")
        return answer.rows

    def run(
        self, statement: str, parameters: dict[str, Any] | None = None, metered: bool = False
    ) -> Answer:
        """The same with what it took, and for statements with a FORMAT of their own too."""
        if self.connection.is_embedded:
            self._choose_encoder()
        return run_statement(self.connection, statement, parameters, metered)

    def encode(self, query: str | Path) -> NDArray[np.float32]:
        """The vector of words (str) or of a picture's file (Path), float32 of shape (dim,), as
        encode_text and encode_image make it in SQL.

        Raises ModelError where no model can be chosen or loaded, PictureError for a bad picture.
        """
        settings = self._choose_encoder()
        if settings.problem is not None:
            raise ModelError(settings.problem)
        encoder = load_encoder(settings.model, settings.model_dir)
        if isinstance(query, Path):
            (vector,) = encoder.encode_image([encoder.shrink(open_picture(query))])
        else:
            (vector,) = encoder.encode_text([query])
        return np.asarray(vector, np.float32)

    def check_functions(self) -> float:
        """Let a server read its functions again, and compare its encode_text with the encoder of
        this process: the largest difference in any dimension (see
        cliphouse.table.encoding.encoder_difference)."""
        reload_functions(self.connection)
        return encoder_difference(
            self.connection, self._encode_with or DEFAULT_MODEL, self._model_dir
        )

    def check(
        self,
        *places: str | Path,
        shards: Collection[int] | None = None,
    ) -> CheckReport:
        """Compare the table with its ledger and, where ``places`` are given, with their shards
        (see cliphouse.table.check)."""
        info = self.info
        sources = find_sources([str(place) for place in places], shards) if places else ()
        return check_table(self.connection, self.name, info, sources)

    def export(
        self,
        output: str | Path,
        format: ExportFormat,
        where: str | None = None,
        ids: Sequence[int] | None = None,
        progress: Any = None,
    ) -> ExportReport:
        """Write rows to files (see cliphouse.table.export.Exporter)."""
        exporter = Exporter(self.connection, self.name, self.info, where, ids, progress)
        return exporter.write(format, Path(output))

    def summary(self) -> TableSummary:
        """Rows, shards, disk, indexes and measured recall."""
        return summarise(self.connection, self.name, self.info)

    def close(self) -> None:
        """Let go of the database, so that another process can have it."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def __enter__(self) -> Table:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _default_encoder(self) -> Encoder:
        return load_encoder(self._model or DEFAULT_MODEL, self._model_dir)

    def _encoder_for(self, info: TableInfo) -> Encoder:
        """The encoder the table was made with, which is the only one whose vectors mean anything
        in it."""
        if info.model is not None:
            if self._model and model_spec(self._model).name != info.model:
                raise ModelError(
                    f"table {self.name} was made with model {info.model}; words and pictures "
                    f"encoded with {model_spec(self._model).name} would find nothing in it"
                )
            self._model = info.model
        encoder = self._default_encoder
        if encoder.dim != info.dim:
            raise ModelError(
                f"table {self.name} has vectors of dimension {info.dim}, model {encoder.name} of "
                f"{encoder.dim}: it was made with another model; search with a .npy vector or id:N"
            )
        return encoder

    def _searchable(self, modality: Modality) -> TableInfo:
        _one_of("modality", modality, MODALITIES)
        info = self.info
        if modality not in info.modalities:
            raise TableError(f"table {self.name} has no {modality} embeddings")
        if not self.connection.command(f"SELECT 1 FROM {identifier(self.name)} LIMIT 1"):
            raise TableError(f"table {self.name} is empty; load it with: cliphouse ingest DIR")
        return info

    def _choose_encoder(self) -> EncoderSettings:
        """Before every statement, since the one before may have made or dropped a table."""
        return choose_encoder(self.connection, self._encode_with, self._model_dir)

    def _create(self) -> Connection:
        if self._open is None:
            self._open = Connection(self.address, create=True)
        return self._open

    def _columns(self) -> list[str]:
        return list(column_types(self.connection, self.name))

    def _forget_recall(self, modality: Modality) -> None:
        info = self.info
        kept = tuple(entry for entry in info.measured if entry.modality != modality)
        if kept != info.measured:
            write_info(self.connection, self.name, replace(info, measured=kept))


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise QueryError(f"{option} {value!r}: it must be one of {', '.join(allowed)}")
