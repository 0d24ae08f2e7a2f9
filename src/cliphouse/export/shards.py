"""Shards in clip-retrieval's layout, which ingest reads again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cliphouse.errors import TableError
from cliphouse.export.format import ExportFormat
from cliphouse.export.rows import ChosenRows, Part, vectors_of
from cliphouse.schema.columns import embedding_column


class ShardsExport(ExportFormat):
    """Shards in clip-retrieval's layout: float16 if that keeps every bit, else float32."""

    name = "shards"
    help = ".npy and .parquet files in clip-retrieval's layout"
    output = "folder"
    needs = (embedding_column("image"),)

    def write(self, rows: ChosenRows, output: Path) -> list[Path]:
        from cliphouse.shards.manifest import Manifest, write_manifest

        info = rows.table.info
        if rows.parts[0].shard < 0:
            raise TableError(f"table {rows.table.name} has negative ids, which shards cannot have")
        if any(output.glob("**/metadata_*.parquet")) or any(output.glob("**/*_emb_*.npy")):
            raise TableError(f"{output}: holds shards already; name another folder")
        dtype: Literal["float16", "float32"] = "float16" if _fits_float16(rows) else "float32"
        paths = [_write_shard(rows, part, output, dtype) for part in rows.parts]
        if info.model:
            write_manifest(output, Manifest(info.model, info.dim))
        return paths


def _write_shard(
    rows: ChosenRows, part: Part, folder: Path, dtype: Literal["float16", "float32"]
) -> Path:
    """Write one shard and return the path of its metadata."""
    from cliphouse.shards.writer import ShardWriter

    info = rows.table.info
    with_text = "text" in info.modalities
    vectors = {embedding_column(modality) for modality in info.modalities}
    described = [name for name in rows.columns if name not in {"id", *vectors}]
    with ShardWriter(folder, part.shard, info.dim, with_text, dtype) as writer:
        for batch in rows.batches(rows.columns, part):
            text = vectors_of(batch, "text") if with_text else None
            writer.append(vectors_of(batch, "image"), text, batch.select(described))
            rows.advance(batch.num_rows)
    return folder / "metadata" / f"metadata_{part.shard}.parquet"


def _fits_float16(rows: ChosenRows) -> bool:
    """Whether float16 keeps every bit of every chosen vector."""
    import numpy as np

    modalities = rows.table.info.modalities
    for batch in rows.batches(["id", *map(embedding_column, modalities)]):
        for modality in modalities:
            vectors = vectors_of(batch, modality)
            with np.errstate(over="ignore"):
                if not np.array_equal(vectors.astype(np.float16).astype(np.float32), vectors):
                    return False
    return True
