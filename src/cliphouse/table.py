"""The one object that carries the whole API; the command line only mirrors it."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliphouse.cluster.placement import find_placement, insist_on_all_shards
from cliphouse.engine.address import Address, FolderAddress, parse_address
from cliphouse.engine.answer import Answer
from cliphouse.engine.connection import Connection
from cliphouse.engine.database import AGAIN, Database
from cliphouse.engine.occupant import WAIT_SECONDS, Patience
from cliphouse.engine.quoting import identifier
from cliphouse.engine.retry import RETRY_TIMES, RetryTimes
from cliphouse.errors import CliphouseError, QueryError
from cliphouse.models import Device, Encoder
from cliphouse.schema.handle import described, open_table
from cliphouse.search.filter import Filter
from cliphouse.search.literal import literal_sql
from cliphouse.search.query.encoders import TableEncoders
from cliphouse.search.query.operand import Operand, Query, operands_of
from cliphouse.search.request import Request
from cliphouse.search.results import SearchResult
from cliphouse.search.rows import read_rows
from cliphouse.search.table_search import TableSearch
from cliphouse.search.user_sql import UserSql
from cliphouse.table_indexing import IndexingTable
from cliphouse.vocabulary import (
    DEFAULT_DB,
    DEFAULT_TABLE,
    Metric,
    Modality,
    Progress,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from cliphouse.export.exporter import ExportReport
    from cliphouse.inspection.check import CheckReport
    from cliphouse.inspection.duplicates import DuplicateGroup
    from cliphouse.inspection.facets import Facet
    from cliphouse.inspection.statistics import TableStatistics
    from cliphouse.inspection.summary import TableSummary


class Table(IndexingTable):
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
        retry: RetryTimes = RETRY_TIMES,
        device: Device = "auto",
        threads: int | None = None,
        wait: float | Patience = WAIT_SECONDS,
    ) -> None:
        """``model`` is the encoder if the table does not say which made it, or the folder of its
        files; ``model_dir`` holds models. It runs on ``device`` in at most ``threads`` threads.
        A folder that another process has open is waited for, for ``wait`` seconds."""
        identifier(table)
        self.name = table
        self._encoders = TableEncoders(model, model_dir, device, threads)
        patience = wait if isinstance(wait, Patience) else Patience(wait)
        self._database = Database(parse_address(str(db)), self._prepare, retry, patience)
        self._search = TableSearch(lambda: self.handle, self._encoders)
        self._user_sql = UserSql()

    @property
    def address(self) -> Address:
        """Where the database is."""
        return self._database.address

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
        min_score: float | None = None,
        oversampling: int | None = None,
        dedup: float | None = None,
        offset: int = 0,
        cursor: str | None = None,
        fields: str | Sequence[str] | None = None,
        sort: str | None = None,
        weak: bool = False,
        count: bool = False,
        **more: Any,
    ) -> SearchResult:
        """The ``k`` rows whose ``modality`` embedding is nearest to ``query``.

        ``query``, and what is added to it and subtracted from it, is text (see parse_operand in
        cliphouse.search.query.operand), the Path of a file, a PIL image or an array. ``where`` is a
        SQL condition and ``filter`` one made of plain values; ``min_score`` leaves out rows of a
        lower score. ``mode`` auto takes an approximate method only if its measured recall is good
        and it is faster; ``ef`` is the width of hnsw, ``oversampling`` that of codes. ``dedup``
        leaves out rows of that cosine similarity to a nearer one. ``cursor`` goes on after an
        earlier result's. Hits show the columns ``fields``, by default all, sorted by ``sort`` if
        given (see Request).

        Raises QueryError, PictureError, ModelError or TableError, each saying what to do.
        """
        given: dict[str, Any] = {"k": k, "modality": modality, "where": where, "metric": metric}
        given |= {"mode": mode, "ef": ef, "oversampling": oversampling, "filter": filter}
        given |= {"min_score": min_score, "dedup": dedup, "offset": offset, "cursor": cursor}
        request = Request.read(given | {"fields": fields, "sort": sort, "weak": weak} | more)
        return self.search_many([operands_of(query, add, subtract)], request, count)[0]

    def search_many(
        self,
        queries: Sequence[Query | Sequence[Operand]],
        request: Request | None = None,
        count: bool = False,
    ) -> list[SearchResult]:
        """A result for each query or sum of operands; all words are encoded together."""
        return self._search.search_many(queries, request or Request(), count)

    def sql(self, statement: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """The result of one SQL statement as an Arrow table, empty if it has none. A warning says
        so if the statement's own settings may cost it rows (see cliphouse.search.user_sql).

        ``parameters`` are for ``{name:Type}``. ``encode_text`` and ``encode_image`` use the model
        of the tables (see cliphouse.engine.encoding).

        Raises QueryError, TableError or EngineError if the engine refuses the statement, and
        ModelError or PictureError if a function cannot encode.
        """
        answer = self.run(statement, parameters)
        if answer.rows is None:
            raise QueryError("the result cannot be read: give the statement without FORMAT")
        if answer.warning is not None:
            warnings.warn(answer.warning, stacklevel=2)
        return answer.rows

    def run(
        self, statement: str, parameters: dict[str, Any] | None = None, metered: bool = False
    ) -> Answer:
        """Run a statement as ``sql`` does, also one with a FORMAT; the answer says what it took."""
        if self.connection.is_embedded:
            self._encoders.for_sql(self.connection)
        self.refresh()
        return self._user_sql.run(self.connection, statement, parameters, metered)

    def encode(self, query: str | Path) -> NDArray[np.float32]:
        """The vector of words (str) or of a picture's file (Path), float32 of shape (dim,), as
        encode_text and encode_image make it. Raises ModelError or PictureError."""
        return self._encoders.encode_as_sql(self.connection, query)

    def check_functions(self) -> float:
        """How far encode_text of a server differs (see cliphouse.engine.encoding.check_encoder)."""
        return self._encoders.check_sql(self.connection)

    def check(self, *places: str | Path, shards: Collection[int] | None = None) -> CheckReport:
        """Compare the table with its ledger and, if ``places`` are given, with their shards
        (see cliphouse.inspection.check)."""
        from cliphouse.inspection.check import check_table
        from cliphouse.shards.source import find_sources

        with self._database.long_retries(AGAIN):
            sources = find_sources(list(map(str, places)), shards) if places else ()
            return check_table(self.handle, sources)

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
        from cliphouse.export.exporter import Exporter

        with self._database.long_retries(AGAIN):
            return Exporter(self.handle, where, ids, progress).write(format, Path(output))

    @property
    def encoder(self) -> Encoder:
        """The encoder that the table was made with. Raises ModelError if there is none."""
        return self._encoders.of_table(self.name, self.info)

    def items(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Rows by their ids, without embeddings (see cliphouse.search.rows.read_rows)."""
        return read_rows(self.handle, ids)

    def count(self) -> int:
        """The number of rows."""
        return int(self.connection.command(f"SELECT count() FROM {self.handle.sql}"))

    def summary(self) -> TableSummary:
        """Rows, shards, disk, indexes and measured recall."""
        from cliphouse.inspection.summary import summarise

        return summarise(self.handle)

    def statistics(self) -> TableStatistics:
        """Histograms and frequent values of the columns (see cliphouse.inspection.statistics)."""
        from cliphouse.inspection.statistics import read_statistics

        return read_statistics(self.handle)

    def facets(self, columns: Sequence[str], request: Request, most: int = 20) -> tuple[Facet, ...]:
        """Counts by value, for a request's filters (see cliphouse.inspection.facets)."""
        from cliphouse.inspection.facets import read_facets

        known = self._search.known(request.modality)
        return read_facets(known.table, known.facts, columns, request, most)

    def duplicates(
        self,
        threshold: float = 0.97,
        where: str | None = None,
        progress: Progress | None = None,
    ) -> list[DuplicateGroup]:
        """Groups of rows with the same picture, or nearly (see
        cliphouse.inspection.duplicates.find_duplicates)."""
        from cliphouse.inspection.duplicates import find_duplicates

        with self._database.long_retries(AGAIN):
            return find_duplicates(self.handle, threshold, where, progress)

    def spell_out(self, operands: Sequence[Operand], request: Request) -> str:
        """The exact search for ``operands`` as a statement (see cliphouse.search.literal)."""
        return literal_sql(self._search.known(request.modality).facts, operands, request)

    def refresh(self) -> None:
        """Read the table anew for the next search."""
        self._search.forget()

    def close(self) -> None:
        """Let go of the database, so that another process can have it."""
        self._search.forget()
        self._database.close()

    def __repr__(self) -> str:
        """What the table is. A database that is not open is not opened for that: a process that has
        opened one cannot fork any more, and a log should not do that to it."""
        known = ""
        if self._database.is_open:
            try:
                known = f": {described(self.handle)}"
            except CliphouseError as error:
                known = f": {error}"
        return f"<table {self.name} in {self.address.shown}{known}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What the table is, in a notebook: a folder that nobody has open is opened for that, and
        closed again."""
        printer.text(repr(self) if self._database.is_open else self._at_a_glance())

    def _at_a_glance(self) -> str:
        """What a table is whose database is not open. Nothing is waited for."""
        known = ""
        if isinstance(self.address, FolderAddress):
            at_once = Patience(0, for_engine=True)
            database = Database(self.address, lambda connection: None, patience=at_once)
            with suppress(CliphouseError, OSError), closing(database):
                known = f": {described(open_table(database.connection, self.name))}"
        return f"<table {self.name} in {self.address.shown}{known}>"

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, connection: Connection) -> None:
        """What is done once when the database is opened."""
        if connection.is_embedded:
            self._encoders.for_sql(connection)
        elif find_placement(connection, self.name).cluster is not None:
            insist_on_all_shards(connection)
