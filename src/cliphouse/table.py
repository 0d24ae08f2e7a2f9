"""The one object that carries the whole API; the command line only mirrors it."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cliphouse.cluster.placement import find_placement, insist_on_all_shards
from cliphouse.engine.address import parse_address
from cliphouse.engine.answer import Answer, run_statement
from cliphouse.engine.connection import Connection
from cliphouse.engine.encoding import choose_encoder, encoder_difference, reload_functions
from cliphouse.engine.opening import open_connection
from cliphouse.engine.quoting import identifier
from cliphouse.engine.retry import LONG_RETRY_SECONDS, RETRY_SECONDS
from cliphouse.errors import ModelError, QueryError, TableError, UnreachableError
from cliphouse.export.exporter import Exporter, ExportReport
from cliphouse.indexing.build import BuiltIndex, build_index, drop_index
from cliphouse.indexing.forecast import forecast
from cliphouse.inspection.check import CheckReport, check_table
from cliphouse.inspection.statistics import TableStatistics, read_statistics
from cliphouse.inspection.summary import TableSummary, summarise
from cliphouse.loading.ingest import IngestReport, ingest
from cliphouse.loading.options import IngestOptions
from cliphouse.loading.scheduler import OnWait
from cliphouse.models import DEFAULT_MODEL, Encoder, load_encoder, model_spec
from cliphouse.pictures import open_picture
from cliphouse.planning.build import BuildForecast, forecast_build
from cliphouse.recall.measure import RecallSpec, measure_recall
from cliphouse.recall.rounding import RoundingCost, measure_rounding
from cliphouse.schema.facts import TableFacts, read_facts
from cliphouse.schema.handle import TableHandle, open_table
from cliphouse.schema.index_spec import IndexSpec
from cliphouse.schema.info import KnownModels, TableInfo, read_models, with_measured, write_info
from cliphouse.search.filter import Filter
from cliphouse.search.literal import literal_sql
from cliphouse.search.option import one_of
from cliphouse.search.query.operand import Operand, Query, one_query, operands_of
from cliphouse.search.query.reader import QueryReader
from cliphouse.search.query.vector import QueryVector, mean_vectors, recognise
from cliphouse.search.request import Request
from cliphouse.search.results import SearchResult
from cliphouse.search.rows import read_rows
from cliphouse.search.run import Searcher
from cliphouse.shards.source import find_sources
from cliphouse.udf import EncoderSettings
from cliphouse.vocabulary import (
    DEFAULT_DB,
    DEFAULT_TABLE,
    MODALITIES,
    BuildProgress,
    Codes,
    Measured,
    Metric,
    Modality,
    Precision,
    Progress,
)

AUTO_KS = (10, 100)  # what mode auto is measured for when an index is built
_KNOWN_SECONDS = 2.0
_GOES_ON = "run the same command again: it goes on where it stopped"
_AGAIN = "run the same command again"


@dataclass(frozen=True)
class _Known:
    """A table and its facts as they were read, taken to hold ``until`` (monotonic seconds)."""

    table: TableHandle
    facts: TableFacts
    until: float


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
        self.address = parse_address(str(db))
        self.name = table
        self._model = model
        self._model_dir = model_dir
        self._encoders: dict[str, Encoder] = {}
        self._open: Connection | None = None
        self._retry_seconds = RETRY_SECONDS
        self._cached: _Known | None = None
        self._means: dict[Modality, NDArray[np.float32]] | None = None

    @property
    def connection(self) -> Connection:
        """The open database. Raises TableError where there is none, or another process has it."""
        if self._open is None:
            self._open = open_connection(self.address, retry_seconds=self._retry_seconds)
            if self._open.is_embedded:
                self._choose_encoder()
            else:
                # On a cluster, lets no answer be without the rows of a shard that is down.
                if find_placement(self._open, self.name).cluster is not None:
                    insist_on_all_shards(self._open)
        return self._open

    @property
    def info(self) -> TableInfo:
        """What the table was made with. Raises TableError where there is no such table."""
        return self.handle.info

    @property
    def handle(self) -> TableHandle:
        """The table as it is now, for the functions of the rooms above.

        On a cluster, no answer leaves out the rows of a shard that is down from then on. Raises
        TableError if there is no such table, or the user's profile would leave such rows out.
        """
        table = open_table(self.connection, self.name)
        if table.placement.cluster is not None:
            insist_on_all_shards(self.connection)
        return table

    def ingest(
        self,
        *folders: str | Path,
        shards: Collection[int] | None = None,
        precision: Precision | None = None,
        replace: bool = False,
        progress: Progress | None = None,
        codes: Codes | None = None,
        cluster: str | None = None,
        waiting: OnWait | None = None,
    ) -> IngestReport:
        """Load the shards below ``folders`` (see cliphouse.loading.ingest.ingest), making the
        database and the table where they are not there: on every node of ``cluster``, where one
        is named."""
        self._cached = self._means = None
        options = IngestOptions(shards, self._model, precision, codes, replace, cluster)

        def connect() -> Connection:
            connection = self._create()
            if not connection.is_embedded:
                shown = self.address.shown
                connection.features.require(shown, precision or "float32", codes or "none")
            return connection

        with self._long_retries(_GOES_ON):
            report = ingest(
                connect,
                self.name,
                [str(folder) for folder in folders],
                options,
                progress,
                waiting,
            )
        if self._open is not None and self._open.is_embedded:
            self._choose_encoder()  # the table may say now which model it is
        return report

    def index(
        self,
        spec: IndexSpec | Modality = "image",
        progress: BuildProgress | None = None,
        measure: bool = False,
        force: bool = False,
    ) -> BuiltIndex:
        """Build an HNSW index (see cliphouse.indexing.build.build_index); ``measure`` has its
        recall measured and kept for mode auto, at k of 10 and of 100. ``force`` builds it even
        where its graph does not fit into memory."""
        spec = spec if isinstance(spec, IndexSpec) else IndexSpec(spec)
        with self._long_retries(_GOES_ON):
            self._require_index()
            built = build_index(self.handle, spec, progress, force)
        if built.seconds:
            self._forget_recall(spec.modality, spec.metric)
        self._cached = None
        if measure:
            self.recall(spec.modality, AUTO_KS, metric=spec.metric, save=True)
        return built

    def forecast(self, spec: IndexSpec) -> BuildForecast:
        """The memory and the time that an index will take, built on this machine, and the memory
        that there is. Raises TableError if the engine has no such index."""
        self._require_index()
        graph = forecast(self._known(spec.modality).table, spec)
        return forecast_build(graph, os.cpu_count() or 1)

    def drop_index(self, modality: Modality = "image", metric: Metric = "cosine") -> bool:
        """Drop an index; returns whether there was one."""
        dropped = drop_index(self.handle, modality, metric)
        if dropped:
            self._forget_recall(modality, metric)
        return dropped

    def recall(
        self,
        modality: Modality = "image",
        k: int | Sequence[int] = 10,
        queries: int = 200,
        target: float | None = None,
        metric: Metric = "cosine",
        save: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Measured, ...]:
        """Measure recall@k and latency of every way to search ``modality`` (see
        cliphouse.recall.measure.measure_recall); ``save`` keeps the figures with the table, for
        mode auto. ``target`` is the recall that auto must reach, by default 0.95 for text queries
        and 0.99 for image queries.

        Raises TableError where they should be kept and the table's comment is its owner's.
        """
        ks = (k,) if isinstance(k, int) else tuple(k)
        spec = RecallSpec(modality, metric, ks, queries, target, save)
        with self._long_retries(_AGAIN):
            known = self._known(modality)
            measured = measure_recall(known.table, known.facts, spec, progress)
        if save:
            # Measuring takes minutes, in which others may have written.
            now = self.handle
            info = with_measured(now.info, measured)
            kept = write_info(now.connection, now.placement, info)
            self._cached = None
            if not kept:
                raise TableError(
                    f"table {self.name} has a comment of its own, where the figures are kept; "
                    f"clear it with: ALTER TABLE {self.name} MODIFY COMMENT ''"
                )
        return measured

    def rounding_cost(
        self,
        *places: str | Path,
        modality: Modality = "image",
        k: int = 10,
        queries: int = 200,
        metric: Metric = "cosine",
    ) -> tuple[RoundingCost, ...]:
        """What bfloat16 rounding costs: the share of the exact top k over the shards' own vectors
        that is in the exact top k of the table (see cliphouse.recall.rounding)."""
        sources = find_sources([str(place) for place in places], None)
        known, request = self._known(modality), Request(k=k, modality=modality, metric=metric)
        return measure_rounding(known.table, known.facts, sources, request, queries)

    def search(
        self,
        query: Query,
        k: int = 10,
        modality: Modality = "image",
        where: str | None = None,
        metric: Metric = "cosine",
        mode: str = "auto",
        ef: int | None = None,
        *,
        add: Sequence[Query] = (),
        subtract: Sequence[Query] = (),
        filter: Filter | None = None,
        oversampling: int | None = None,
        dedup: float | None = None,
        offset: int = 0,
        cursor: str | None = None,
        count: bool = False,
        **more: Any,
    ) -> SearchResult:
        """The ``k`` rows whose ``modality`` embedding is nearest to ``query``.

        ``query``, and what is added to it and subtracted from it, is words, the path or URL of a
        picture, the path of a .npy vector, ``id:N``, a PIL image or an array; text may begin with
        a weight as in ``2:cat``. ``where`` is a SQL condition and ``filter`` one made of plain
        values. ``mode`` auto takes an approximate way only where its measured recall is good and
        it is faster; ``ef`` is the search width of mode hnsw, ``oversampling`` that of mode codes.
        ``dedup`` leaves out rows of that cosine similarity to a nearer one (0.94 is usual).
        ``offset`` skips rows; ``cursor`` goes on after an earlier result's ``cursor``. ``count``
        has the rows counted that the engine reads; ``more`` are other fields of Request.

        Raises QueryError, PictureError, ModelError or TableError, each saying what to do.
        """
        request = Request.read(
            {
                "k": k,
                "modality": modality,
                "where": where,
                "metric": metric,
                "mode": mode,
                "ef": ef,
                "filter": filter,
                "oversampling": oversampling,
                "dedup": dedup,
                "offset": offset,
                "cursor": cursor,
                **more,
            }
        )
        return self.search_many([operands_of(query, add, subtract)], request, count)[0]

    def search_many(
        self,
        queries: Sequence[Query | Sequence[Operand]],
        request: Request | None = None,
        count: bool = False,
    ) -> list[SearchResult]:
        """A result for each query, or sum of operands, all asked alike; words are encoded
        together."""
        request = request or Request()
        known = self._known(request.modality)
        asked = [one_query(query) for query in queries]
        started = time.perf_counter()
        reader = QueryReader(known.table, lambda: self._encoder_for(known.table.info))
        vectors = [self._recognised(v, known.table) for v in reader.read(asked, request.modality)]
        encode_ms = (time.perf_counter() - started) * 1000 / max(len(vectors), 1)
        searcher = Searcher(known.table, known.facts)
        return [searcher.search(vector, request, encode_ms, count) for vector in vectors]

    def sql(self, statement: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The result of one SQL statement as an Arrow table, empty where it has none.

        ``parameters`` are for ``{name:Type}`` in the statement. ``encode_text`` and
        ``encode_image`` use the model that the tables were made with (see
        cliphouse.engine.encoding).

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
        self._cached = self._means = None
        return run_statement(self.connection, statement, parameters, metered)

    def encode(self, query: str | Path) -> NDArray[np.float32]:
        """The vector of words (str) or of a picture's file (Path), float32 of shape (dim,), as
        encode_text and encode_image make it in SQL.

        Raises ModelError where no model can be chosen or loaded, PictureError for a bad picture.
        """
        settings = self._choose_encoder()
        if settings.problem is not None:
            raise ModelError(settings.problem)
        encoder = self._encoder(settings.model)
        if isinstance(query, Path):
            (vector,) = encoder.encode_image([encoder.shrink(open_picture(query))])
        else:
            (vector,) = encoder.encode_text([query])
        return np.asarray(vector, np.float32)

    def check_functions(self) -> float:
        """Let a server read its functions again, and compare its encode_text with the encoder of
        this process: the largest difference in any dimension (see
        cliphouse.engine.encoding.encoder_difference)."""
        reload_functions(self.connection)
        return encoder_difference(self.connection, self._model or DEFAULT_MODEL, self._model_dir)

    def check(
        self,
        *places: str | Path,
        shards: Collection[int] | None = None,
    ) -> CheckReport:
        """Compare the table with its ledger and, where ``places`` are given, with their shards
        (see cliphouse.inspection.check)."""
        with self._long_retries(_AGAIN):
            table = self.handle
            sources = find_sources([str(place) for place in places], shards) if places else ()
            return check_table(table, sources)

    def export(
        self,
        output: str | Path,
        format: str,
        where: str | None = None,
        ids: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> ExportReport:
        """Write rows to files in a format of cliphouse.export.FORMATS, such as "parquet" (see
        cliphouse.export.exporter.Exporter)."""
        with self._long_retries(_AGAIN):
            exporter = Exporter(self.handle, where, ids, progress)
            return exporter.write(format, Path(output))

    @property
    def encoder(self) -> Encoder:
        """The encoder that the table was made with. Raises ModelError where there is none that
        fits; its files are looked for on first use."""
        return self._encoder_for(self.info)

    def items(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Rows by their ids, without embeddings (see cliphouse.search.rows.read_rows)."""
        return read_rows(self.handle, ids)

    def summary(self) -> TableSummary:
        """Rows, shards, disk, indexes and measured recall."""
        return summarise(self.handle)

    def statistics(self) -> TableStatistics:
        """Histograms and frequent values of the columns (see cliphouse.inspection.statistics)."""
        return read_statistics(self.handle)

    def spell_out(self, operands: Sequence[Operand], request: Request) -> str:
        """The exact search for ``operands`` as a statement to copy (see
        cliphouse.search.literal)."""
        return literal_sql(self._known(request.modality).facts, operands, request)

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

    def _encoder(self, model: str) -> Encoder:
        """The encoder of that name, loaded once with the files of this object's ``model_dir``."""
        name = model_spec(model).name
        if name not in self._encoders:
            self._encoders[name] = load_encoder(name, self._model_dir)
        return self._encoders[name]

    def _encoder_for(self, info: TableInfo) -> Encoder:
        """The encoder the table was made with, which is the only one whose vectors mean anything
        in it."""
        wanted = model_spec(self._model).name if self._model else None
        if info.model is not None and wanted not in (None, info.model):
            raise ModelError(
                f"table {self.name} was made with model {info.model}; words and pictures "
                f"encoded with {wanted} would find nothing in it"
            )
        encoder = self._encoder(info.model or wanted or DEFAULT_MODEL)
        if encoder.dim != info.dim:
            raise ModelError(
                f"table {self.name} has vectors of dimension {info.dim}, model {encoder.name} of "
                f"{encoder.dim}: it was made with another model; search with a .npy vector or id:N"
            )
        return encoder

    def _known(self, modality: Modality) -> _Known:
        """What a search must know of the table. What was read a moment ago is taken to hold, since
        a search stays right even if it does not."""
        one_of("modality", modality, MODALITIES)
        if self._cached is None or time.monotonic() > self._cached.until:
            table = self.handle
            until = time.monotonic() + _KNOWN_SECONDS
            self._cached = _Known(table, read_facts(table), until)
        known = self._cached
        if modality not in known.table.info.modalities:
            raise TableError(f"table {self.name} has no {modality} embeddings")
        if known.facts.rows == 0:
            raise TableError(f"table {self.name} is empty; load it with: cliphouse ingest DIR")
        return known

    def _recognised(self, vector: QueryVector, table: TableHandle) -> QueryVector:
        if vector.kind != "vector" or table.info.modalities != MODALITIES:
            return vector
        if self._means is None:
            self._means = mean_vectors(table)
        return recognise(vector, self._means)

    def _choose_encoder(self) -> EncoderSettings:
        """Before every statement, since the one before may have made or dropped a table."""
        known = KnownModels() if self._model else read_models(self.connection)
        return choose_encoder(
            self.connection, self._model, self._model_dir, known.by_table, known.problem
        )

    def _create(self) -> Connection:
        if self._open is None:
            self._open = open_connection(
                self.address, create=True, retry_seconds=self._retry_seconds
            )
        return self._open

    @contextmanager
    def _long_retries(self, advice: str) -> Iterator[None]:
        """Long work, which survives that a server is away for a while; where it stays away, the
        error gives ``advice``."""
        self._set_retry_seconds(LONG_RETRY_SECONDS)
        try:
            yield
        except UnreachableError as error:
            raise UnreachableError(f"{error}; {advice}", error.may_have_run) from error
        finally:
            self._set_retry_seconds(RETRY_SECONDS)

    def _set_retry_seconds(self, seconds: float) -> None:
        self._retry_seconds = seconds
        if self._open is not None:
            self._open.retry_seconds = seconds

    def _require_index(self) -> None:
        if not self.connection.is_embedded:
            self.connection.features.require_index(self.address.shown)

    def _forget_recall(self, modality: Modality, metric: Metric) -> None:
        table = self.handle
        measured = table.info.measured
        kept = tuple(e for e in measured if (e.modality, e.metric) != (modality, metric))
        if kept != measured:
            info = replace(table.info, measured=kept)
            write_info(table.connection, table.placement, info)
        self._cached = None
