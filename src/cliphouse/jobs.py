"""Work that a service does for other processes of its owner: only it can write to the database that
it has open, and measure how fast searches are.

A job is a method of Table. What it is given, what it tells meanwhile and what it returns are JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from cliphouse.engine.served_connection import ServedConnection
from cliphouse.indexing.build import BuiltIndex
from cliphouse.indexing.captions import BuiltCaptionIndex
from cliphouse.loading.ingest import IngestReport
from cliphouse.loading.lease import ActiveLoad
from cliphouse.loading.load import ShardLoad
from cliphouse.loading.options import IngestOptions
from cliphouse.loading.scheduler import OnWait
from cliphouse.recall.measure import RecallSpec
from cliphouse.schema.index_spec import Extension, IndexSpec
from cliphouse.shards.roots import Root
from cliphouse.vocabulary import BuildProgress, Measured, Metric, Modality, Progress

_NOT_SENT = "settings"  # of a load: the service has its own


@dataclass(frozen=True)
class Listener:
    """Who is told of a job meanwhile: of its ``progress``, the ``shares`` of a build that are done,
    and the loads of others that a load is ``waiting`` for."""

    progress: Progress | None = None
    shares: BuildProgress | None = None
    waiting: OnWait | None = None

    def hear(self, event: Mapping[str, Any]) -> None:
        """Pass on what a job has told."""
        if self.progress is not None and "progress" in event:
            self.progress(*event["progress"])
        if self.shares is not None and "shares" in event:
            self.shares(event["shares"])
        if self.waiting is not None and "waiting" in event:
            self.waiting([ActiveLoad(**load) for load in event["waiting"]])


class TableJobs:
    """The jobs of one table, as its methods, done by the service that a connection goes through."""

    def __init__(self, connection: ServedConnection, table: str) -> None:
        self._connection = connection
        self._table = table

    def ingest(
        self,
        places: Sequence[str],
        options: IngestOptions,
        progress: Progress | None,
        waiting: OnWait | None,
    ) -> IngestReport:
        given = {"places": list(map(_absolute, places)), "options": options_to_json(options)}
        done = self._do("ingest", given, Listener(progress, waiting=waiting))
        return IngestReport(**done | {"loads": [ShardLoad(**load) for load in done["loads"]]})

    def settle(self, folder: Path, root: Root | None) -> Extension | None:
        given = {"folder": str(folder.absolute()), "root": None if root is None else asdict(root)}
        done = self._do("settle", given, Listener())
        return None if done is None else Extension(**done | {"names": tuple(done["names"])})

    def index(self, spec: IndexSpec, force: bool, progress: BuildProgress | None) -> BuiltIndex:
        given = {"spec": asdict(spec), "force": force}
        done = self._do("index", given, Listener(shares=progress))
        return BuiltIndex(**done | {"spec": IndexSpec(**done["spec"])})

    def index_captions(self, progress: BuildProgress | None) -> BuiltCaptionIndex:
        return BuiltCaptionIndex(**self._do("index_captions", {}, Listener(shares=progress)))

    def drop_index(self, what: Modality | Literal["captions"], metric: Metric) -> bool:
        return bool(self._do("drop_index", {"modality": what, "metric": metric}, Listener()))

    def recall(self, spec: RecallSpec, progress: Progress | None) -> tuple[Measured, ...]:
        given: dict[str, Any] = {"modality": spec.modality, "metric": spec.metric, "k": spec.ks}
        given |= {"queries": spec.queries, "target": spec.target}
        given |= {"save": spec.is_saved, "quick": spec.is_quick}
        done = self._do("recall", given, Listener(progress))
        return tuple(Measured(**entry) for entry in done)

    def _do(self, kind: str, given: Mapping[str, Any], listener: Listener) -> Any:
        job = {"kind": kind, "table": self._table, "given": given}
        return self._connection.do(job, listener.hear)


def options_to_json(options: IngestOptions) -> dict[str, Any]:
    """What a caller of ingest has chosen, as JSON."""
    given = {f.name: getattr(options, f.name) for f in fields(options) if f.name != _NOT_SENT}
    lists = ("shards", "keep", "add_columns")
    return given | {n: None if given[n] is None else list(given[n]) for n in lists}


def options_from_json(given: Mapping[str, Any]) -> IngestOptions:
    """The options that `options_to_json` has written."""
    return IngestOptions(**given)


def _absolute(place: str) -> str:
    """A folder or file by its whole path, since the service works elsewhere; or a URL."""
    path = Path(place)
    return str(path.absolute()) if path.exists() else place
