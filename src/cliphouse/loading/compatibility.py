"""Whether shards fit one another and the table that they are to be loaded into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cliphouse.errors import ShardError, TableError
from cliphouse.loading.columns import Wanted
from cliphouse.loading.options import IngestOptions
from cliphouse.models import DEFAULT_MODEL, known_model
from cliphouse.schema.info import TableInfo
from cliphouse.shards.manifest import Manifest, read_manifest
from cliphouse.shards.roots import joined
from cliphouse.shards.source import Source
from cliphouse.vocabulary import Modality


def table_for(
    sources: Sequence[Source], places: Sequence[str], options: IngestOptions, columns: Wanted
) -> TableInfo:
    """The description of a new table for the shards ``sources``, found in ``places``, that keeps
    ``columns``.

    Raises ShardError if they differ in dimension, modalities or model.
    """
    first = sources[0]
    for source in sources:
        if (source.dim, source.has_text) != (first.dim, first.has_text):
            raise ShardError(
                f"shards {first.number} and {source.number} differ: {first.describe()} against "
                f"{source.describe()}; ingest them into separate tables"
            )
    manifests = {m for m in map(read_manifest, places) if m is not None}
    name = _model_name(options.model, manifests, first.dim)
    modalities: tuple[Modality, ...] = ("image", "text") if first.has_text else ("image",)
    precision, codes = options.precision or "float32", options.codes or "none"
    left_out = (*(each.name for each in columns.left_out), *columns.unwanted)
    info = TableInfo(name, first.dim, precision, modalities, (), codes, columns.kept, left_out)
    return replace(info, roots=joined(*(manifest.roots for manifest in manifests)))


def check_fit(
    table: str, info: TableInfo, wanted: TableInfo, first: Source, options: IngestOptions
) -> None:
    """Raises TableError if ``table``, made with ``info``, cannot take shards that want a table made
    with ``wanted``. ``first`` is the shard that the error names."""
    shard = first.number
    if info.dim and info.dim != wanted.dim:
        raise TableError(
            f"table {table} has vectors of dimension {info.dim}, shard {shard} of {wanted.dim}; "
            "name another table with --table"
        )
    if info.modalities != wanted.modalities:
        raise TableError(
            f"table {table} holds {' and '.join(info.modalities)} embeddings, shard {shard} "
            f"{' and '.join(wanted.modalities)}; name another table with --table"
        )
    if info.model and wanted.model and info.model != wanted.model:
        raise TableError(
            f"table {table} was made with model {info.model}, shard {shard} with {wanted.model}; "
            "name another table with --table"
        )
    if options.precision and options.precision != info.precision:
        raise TableError(
            f"table {table} keeps {info.precision}; it cannot take {options.precision} rows"
        )
    if options.codes and options.codes != info.codes:
        raise TableError(
            f"table {table} was made with codes {info.codes}; codes are chosen when a table is "
            "made, so name another table with --table"
        )


def _model_name(model: str | None, manifests: set[Manifest], dim: int) -> str | None:
    named = {manifest.model for manifest in manifests}
    if len(named) > 1:
        raise ShardError(f"the folders hold shards of different models: {', '.join(sorted(named))}")
    if named and model and model not in named:
        raise ShardError(f"these shards were made with {named.pop()}, not with {model}")
    if named or model:
        return model or named.pop()
    # Shards that do not name their model are LAION's or clip-retrieval's, made with ViT-B/32.
    default = known_model(DEFAULT_MODEL)
    return DEFAULT_MODEL if default is not None and dim == default.dim else None
