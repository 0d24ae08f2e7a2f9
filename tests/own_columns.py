"""A table with columns of its own: texts, numbers, lists, truth values and times, some without a
value."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa

from cliphouse.table import Table
from shard_files import make_shard

ROWS = 60
PICTURES = "https://pictures.example/"  # what the browser's tests answer
START = datetime(2020, 1, 1, tzinfo=timezone.utc)
LANGUAGES = [("en", "de", "fr", None)[n % 4] for n in range(ROWS)]
SCORES = [None if n % 10 == 9 else n / 4 for n in range(ROWS)]
TAGS = [["a"] * (n % 3) + ["b"] * (n % 2) for n in range(ROWS)]
GOOD = [n % 3 == 0 for n in range(ROWS)]
BORN = [date(1990, 1, 1) + timedelta(days=n) for n in range(ROWS)]
DAYS = [START + timedelta(days=n) for n in range(ROWS)]


def load_own_columns(folder: Path) -> Path:
    """Load them; returns the database's folder."""
    metadata = {
        "url": [f"{PICTURES}{n}.png" for n in range(ROWS)],
        "caption": [f"picture {n}" for n in range(ROWS)],
        "language": LANGUAGES,
        "aesthetic": SCORES,
        "tags": TAGS,
        "is_good": GOOD,
        "born": BORN,
        "taken": pa.array(DAYS, pa.timestamp("ms", "UTC")),
    }
    made = make_shard(folder / "s", 0, ROWS, dim=512, metadata=metadata)
    with Table(folder / "laion.chdb", model="tiny") as table:
        table.ingest(made.folder)
    return folder / "laion.chdb"
