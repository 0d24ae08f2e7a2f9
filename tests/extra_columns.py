"""The house with two columns more: run as a program, it says where they are found, as JSON.

The columns are added before anything reads the list, as entries of schema/columns.py would be.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cliphouse.schema import columns
from cliphouse.schema.columns import LABEL, NUMBER, RANGE, Column, Scale

AESTHETIC = Column(
    "aesthetic",
    NUMBER,
    "Aesthetic score",
    spellings=("aesthetic", "aesthetic_score"),
    filters=RANGE,
    statistic="histogram",
    scale=Scale(0, 10, 0.1),
    picture_list=6,
)
LANGUAGE = Column(
    "language",
    LABEL,
    "Language",
    spellings=("language",),
    filters=("in", "not_in"),
    statistic="values",
)
COLUMNS = (*columns.COLUMNS, AESTHETIC, LANGUAGE)


def main(shards: Path, folder: Path) -> None:
    import pyarrow.parquet as pq

    import cliphouse
    from cliphouse.search.arrow import hits_table
    from cliphouse.server.settings import ServeSettings
    from serving import serving

    wanted = cliphouse.Filter(min_aesthetic=5, language_not_in=["de"])
    with cliphouse.Table(folder / "db", model="tiny") as table:
        table.ingest(shards)
        hits = table.search("id:3", k=100, mode="exact")
        for name in ("parquet", "img2dataset", "jsonl"):
            table.export(folder / name, name)
        table.export(folder / "shards", "shards")
        statistics = table.statistics()
        found = {
            "types": {c.name: c.type for c in table.summary().columns},
            "created": table.sql("SHOW CREATE TABLE laion").to_pylist(),
            "rows": table.sql("SELECT id, aesthetic, language FROM laion ORDER BY id").to_pylist(),
            "hit": hits[0].to_dict(),
            "attributes": [hits[0].aesthetic, hits[0].language],
            "arrow": {field.name: str(field.type) for field in hits_table(hits).schema},
            "filtered": sorted(hit.id for hit in table.search("id:3", k=100, filter=wanted)),
            "parquet": pq.read_table(folder / "parquet").select(["id", "aesthetic"]).to_pylist(),
            "img2dataset": pq.read_table(folder / "img2dataset").column_names,
            "jsonl": [json.loads(line) for line in (folder / "jsonl").read_text().splitlines()][:1],
            "shards": pq.read_schema(folder / "shards/metadata/metadata_0.parquet").names,
            "aesthetic": [bin.rows for bin in statistics.aesthetic],
            "language": {share.value: share.rows for share in statistics.language},
        }
    with serving(ServeSettings(db=str(folder / "db"), model="tiny")) as served:
        body = {"id": 3, "k": 100, "filter": wanted.to_dict()}
        answers = {
            "document": served.http.get("/openapi.json"),
            "search": served.http.post("/api/search", json=body),
            "refused": served.http.post("/api/search", json=body | {"filter": {"min_x": 1}}),
            "statistics": served.http.get("/api/stats"),
            "fields": served.http.get("/api/info"),
            "code": served.http.post("/api/search/code", json=body),
            "results": served.http.post(
                "/knn-service", json={"text": "a star", "num_images": 1, "indice_name": "laion"}
            ),
        }
        found |= {name: answer.json() for name, answer in answers.items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    columns.COLUMNS = COLUMNS
    main(Path(sys.argv[1]), Path(sys.argv[2]))
