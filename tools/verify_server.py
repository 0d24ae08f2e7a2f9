"""Do the whole journey on a ClickHouse server or cluster of yours, and report each step.

    CLIPHOUSE_PASSWORD=... python tools/verify_server.py --db https://user@host:8443/database

It draws its own pictures, embeds them with the bundled tiny model, and works in a table of its own
name, which it drops at the end. What the server answers is compared with NumPy and with the files.
Exits with 1 where a step failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cliphouse.cli.title import hide_passwords
from cliphouse.errors import TableError
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.pictures.embed import embed_folder
from cliphouse.pictures.files import open_picture
from cliphouse.search.results import SearchResult
from cliphouse.table import Table
from verify_report import LeftOutError, Report, WrongError, expect

MODEL = "tiny"
WORDS = "a red circle"
CLOSE = 1e-4  # what distances in float32 may differ by
GOOD = 0.9  # the least recall of a wide search of the index
EF = 512
# A load in small batches, so that it can be killed in the middle.
SLOW_LOAD = (
    "from cliphouse.cli.app import main; from cliphouse.loading.options import LoadSettings; "
    "from cliphouse.shards.reader import BatchLimits; main(LoadSettings(BatchLimits(rows=20)))"
)


@dataclass(frozen=True)
class Pictures:
    """Drawn pictures and their shard: ``image`` and ``text`` are float32 of shape (rows, 512)."""

    folder: Path
    image: NDArray[np.float32]
    text: NDArray[np.float32]
    captions: list[str]
    widths: NDArray[np.int64]

    @classmethod
    def draw(cls, folder: Path, rows: int, seed: int) -> Pictures:
        write_pictures(folder / "pictures", rows, seed)
        embed_folder(folder / "pictures", folder / "shards", load_encoder(MODEL))
        metadata = pq.read_table(folder / "shards" / "metadata" / "metadata_0.parquet")
        return cls(
            folder,
            np.load(folder / "shards" / "img_emb" / "img_emb_0.npy").astype("f4"),
            np.load(folder / "shards" / "text_emb" / "text_emb_0.npy").astype("f4"),
            metadata.column("caption").to_pylist(),
            metadata.column("width").to_numpy(),
        )

    @property
    def shards(self) -> Path:
        return self.folder / "shards"


# Without these there is nothing to look at.
_NEEDED = ("connect", "draw pictures", "a load that ends it")
_LEAST_ROWS = 70


class Journey:
    """The steps; each raises, or returns what it found in a few words."""

    def __init__(self, db: str, reader: str | None, cluster: str | None, folder: Path) -> None:
        self.name = f"cliphouse_verify_{uuid.uuid4().hex[:8]}"
        self._db, self._reader = db, reader
        self._where: dict[str, Any] = {"cluster": cluster} if cluster else {}
        self._on = f" ON CLUSTER '{cluster}'" if cluster else ""
        self._folder = folder
        self._table = Table(db, self.name, MODEL)
        self._made: Pictures | None = None

    def steps(self, rows: int) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("connect", self.connect),
            ("draw pictures", lambda: self.draw(rows)),
            ("a load that is killed", self.kill_a_load),
            ("a load that ends it", self.load),
            ("load again", self.load_again),
            ("check", self.check),
            ("search by words", self.search_words),
            ("search by picture", self.search_picture),
            ("search captions by row, l2", self.search_captions),
            ("filter", self.filter),
            ("pages", self.pages),
            ("index", self.index),
            ("search the index", self.search_index),
            ("recall", self.recall),
            ("export", self.export),
            ("SQL with parameters", self.sql),
            ("a user who may only read", self.read_only),
            ("encode_text on the server", self.functions),
            ("replace", self.replace),
            ("drop", self.drop),
        ]

    @property
    def made(self) -> Pictures:
        if self._made is None:
            raise LeftOutError("there are no pictures")
        return self._made

    def connect(self) -> str:
        features = self._table.connection.features
        if self._reader:
            with closing(Table(self._reader, self.name, MODEL)) as reader:
                reader.connection.command("SELECT 1")
        lacks = f"; without {', '.join(features.lacking)}" if features.lacking else ""
        fixed = f"; may not set {', '.join(features.forbidden)}" if features.forbidden else ""
        return f"{self._table.address.shown} is ClickHouse {features.version}{lacks}{fixed}"

    def draw(self, rows: int) -> str:
        self._made = Pictures.draw(self._folder / "first", rows, seed=77)
        return f"{len(self.made.captions)} pictures"

    def kill_a_load(self) -> str:
        """SIGKILL once the first rows are there, or leave it where it was quicker than that."""
        command = [sys.executable, "-c", SLOW_LOAD, "ingest", str(self.made.shards)]
        command += ["--table", self.name]
        if self._where:
            command += ["--cluster", self._where["cluster"]]
        process = subprocess.Popen(
            command,
            env=os.environ | {"CLIPHOUSE_DB": self._db},  # a password is not for the command line
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            while process.poll() is None and not self._rows():
                time.sleep(0.02)
        finally:
            process.kill()
            said = process.communicate()[1].decode()
        if process.returncode > 0:
            raise WrongError(said)
        return f"killed after {self._rows()} rows"

    def load(self) -> str:
        report = self._table.ingest(self.made.shards, **self._where)
        self._compare_rows()
        return (
            f"{report.inserted} of {report.rows} rows were missing; all are as the files have them"
        )

    def load_again(self) -> str:
        inserted = self._table.ingest(self.made.shards, **self._where).inserted
        expect(inserted == 0, f"{inserted} rows were inserted a second time")
        return "nothing was inserted"

    def check(self) -> str:
        report = self._table.check(self.made.shards)
        expect(report.is_good, "; ".join(f"{f.where} {f.what}" for f in report.findings))
        return f"{report.rows} rows are good"

    def search_words(self) -> str:
        query = load_encoder(MODEL).encode_text([WORDS])[0]
        found = self._table.search(WORDS, 10, mode="exact")
        self._compare(found, query, self.made.image)
        return f"{WORDS!r} finds {found[0].caption!r}, as NumPy does"

    def search_picture(self) -> str:
        path = sorted((self.made.folder / "pictures").glob("*.jpg"))[3]
        encoder = load_encoder(MODEL)
        (query,) = encoder.encode_image([encoder.shrink(open_picture(path))])
        found = self._table.search(str(path), 10, mode="exact")
        self._compare(found, np.asarray(query), self.made.image)
        return f"a picture finds itself at distance {found[0].distance:.2g}, as NumPy does"

    def search_captions(self) -> str:
        found = self._table.search("id:5", 10, "text", metric="l2", mode="exact")
        self._compare(found, self.made.text[5], self.made.text, "l2")
        return "as NumPy does"

    def filter(self) -> str:
        middle = int(np.median(self.made.widths))
        found = self._table.search("id:5", 10, where=f"width > {middle}", mode="exact")
        wide = np.flatnonzero(self.made.widths > middle)
        self._compare(found, self.made.image[5], self.made.image, among=wide)
        return f"width > {middle} leaves {len(wide)} rows; the nearest of them as NumPy has them"

    def pages(self) -> str:
        first = self._table.search("id:5", 10, mode="exact")
        second = self._table.search("id:5", 10, mode="exact", cursor=first.cursor)
        whole = self._table.search("id:5", 20, mode="exact")
        expect(first.hits + second.hits == whole.hits, "two pages are not the one of twice as many")
        return "two pages are one of twice as many rows"

    def index(self) -> str:
        features = self._table.connection.features
        if not features.has_index:
            raise LeftOutError(f"ClickHouse {features.version} has none")
        built = self._table.index("image")
        return f"{built.rows} rows in {built.seconds:.1f} s"

    def search_index(self) -> str:
        if not self._table.connection.features.has_index:
            raise LeftOutError("there is none")
        found = self._table.search("id:5", 10, mode="hnsw", ef=EF)
        truth = np.argsort(_distances(self.made.image[5], self.made.image))[:10]
        share = len({hit.id for hit in found} & {int(i) for i in truth}) / 10
        expect(share >= GOOD, f"only {share:.0%} of the nearest ten are found at width {EF}")
        self._compare_distances(found, self.made.image[5], self.made.image)
        few = self._table.search("id:5", 10, mode="hnsw", ef=EF, where="id % 7 = 3")
        expect(len(few) == 10, f"{len(few)} rows with a filter, where 10 are there")
        expect(all(hit.id % 7 == 3 for hit in few), "rows that do not pass the filter")
        return f"{share:.0%} of NumPy's, at their true distances; ten with a filter"

    def recall(self) -> str:
        measured = self._table.recall(queries=min(30, len(self.made.captions) // 8))
        best = max(measured, key=lambda e: (e.mode == "hnsw", e.recall))
        return f"{best.mode} reaches {best.recall:.3f} at width {best.width}"

    def export(self) -> str:
        path = self._folder / "export.parquet"
        self._table.export(path, "parquet")
        written = pq.read_table(path)
        rows = np.array(written.column("image_embedding").to_pylist(), "f4")
        expect(np.array_equal(rows, self.made.image), "other vectors than the files'")
        expect(written.column("caption").to_pylist() == self.made.captions, "other captions")
        return f"{written.num_rows} rows, as the files have them"

    def sql(self) -> str:
        vector = self.made.image[8].tolist()
        found = self._table.sql(
            f"SELECT id FROM {self.name} "
            "ORDER BY cosineDistance(image_embedding, {v:Array(Float32)}), id LIMIT 1",
            {"v": vector},
        )
        expect(found.column("id").to_pylist() == [8], "row 8 is not the nearest to itself")
        return "a vector as a parameter finds its row"

    def read_only(self) -> str:
        if self._reader is None:
            raise LeftOutError("give --reader URL to try one")
        with Table(self._reader, self.name, MODEL) as table:
            found = table.search("id:5", 10)
            self._compare(found, self.made.image[5], self.made.image)
            try:
                table.sql(f"INSERT INTO {self.name} (id) VALUES (-1)")
            except TableError:
                return f"searches ({found.stats.mode}) as NumPy does, and may not write"
        raise WrongError("may write")

    def functions(self) -> str:
        there = self._table.sql("SELECT name FROM system.functions WHERE name = 'encode_text'")
        if not there.num_rows:
            raise LeftOutError("not installed: cliphouse udf install")
        found = self._table.sql(f"SELECT encode_text('{WORDS}') AS v").column("v")[0].as_py()
        own = load_encoder(MODEL).encode_text([WORDS])[0]
        if len(found) != len(own) or float(np.abs(np.array(found) - own).max()) > 1e-3:
            return f"{len(found)} numbers, of another model than {MODEL}"
        return f"the same as model {MODEL} here"

    def replace(self) -> str:
        self._made = Pictures.draw(self._folder / "second", len(self.made.captions) // 2, seed=78)
        report = self._table.ingest(self.made.shards, replace=True, **self._where)
        self._compare_rows()
        return f"{report.inserted} new rows instead of the old ones"

    def drop(self) -> str:
        """The table and its ledger, and whatever else was made under this name."""
        like = (
            "SELECT name FROM system.tables "
            f"WHERE database = currentDatabase() AND startsWith(name, '{self.name}')"
        )
        for name in self._table.sql(f"{like} ORDER BY name").column("name").to_pylist():
            self._table.sql(f"DROP TABLE IF EXISTS {name}{self._on} SYNC")
        left = self._table.sql(like).column("name").to_pylist()
        expect(not left, f"{', '.join(left)} could not be dropped")
        return f"{self.name} is gone"

    def close(self) -> None:
        self._table.close()

    def _rows(self) -> int:
        """How many rows are there; none where the table is not."""
        there = self._table.sql(f"EXISTS TABLE {self.name}").to_pylist()[0]["result"]
        if not there:
            return 0
        return int(self._table.sql(f"SELECT count() AS n FROM {self.name}").to_pylist()[0]["n"])

    def _compare_rows(self) -> None:
        rows = self._table.sql(
            f"SELECT id, caption, image_embedding, text_embedding FROM {self.name} ORDER BY id"
        )
        expect(
            rows.column("id").to_pylist() == list(range(len(self.made.captions))),
            f"{rows.num_rows} rows, or other ids, where there are {len(self.made.captions)}",
        )
        expect(rows.column("caption").to_pylist() == self.made.captions, "other captions")
        for modality, expected in (("image", self.made.image), ("text", self.made.text)):
            stored = np.array(rows.column(f"{modality}_embedding").to_pylist(), "f4")
            expect(np.array_equal(stored, expected), f"other {modality} vectors than the files'")

    def _compare(
        self,
        found: SearchResult,
        query: NDArray[Any],
        rows: NDArray[np.float32],
        metric: str = "cosine",
        among: NDArray[np.int64] | None = None,
    ) -> None:
        """The nearest rows, by their distances: of rows as near as each other any will do."""
        distances = _distances(query, rows, metric)
        if among is not None:
            strangers = {hit.id for hit in found} - {int(i) for i in among}
            expect(not strangers, f"row {min(strangers, default=0)} does not pass the filter")
        expected = np.sort(distances if among is None else distances[among])[: len(found)]
        expect(len(found) == 10, f"{len(found)} rows where 10 are there")
        self._compare_distances(found, query, rows, metric)
        told = [hit.distance for hit in found]
        expect(bool(np.allclose(told, expected, atol=CLOSE)), "nearer rows are there")

    def _compare_distances(
        self,
        found: SearchResult,
        query: NDArray[Any],
        rows: NDArray[np.float32],
        metric: str = "cosine",
    ) -> None:
        own = _distances(query, rows, metric)[[hit.id for hit in found]]
        told = [hit.distance for hit in found]
        expect(bool(np.allclose(told, own, atol=CLOSE)), "distances are not the rows' own")


def _distances(
    query: NDArray[Any], rows: NDArray[np.float32], metric: str = "cosine"
) -> NDArray[np.float64]:
    exact, one = rows.astype("f8"), np.asarray(query, "f8")
    if metric == "l2":
        return np.asarray(np.linalg.norm(exact - one, axis=1))
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(one)
    return np.asarray(1 - exact @ one / lengths)


@contextmanager
def _journey(db: str, reader: str | None, cluster: str | None) -> Iterator[Journey]:
    """A journey whose table is dropped also where it is interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        journey = Journey(db, reader, cluster, Path(folder))
        try:
            yield journey
        except BaseException:
            journey.drop()
            raise
        finally:
            journey.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--db", default=os.environ.get("CLIPHOUSE_DB"), help="the server's address")
    parser.add_argument("--cluster", help="a cluster of it, to lay the table out on")
    parser.add_argument("--reader", help="the address for a user who may only read")
    parser.add_argument("--rows", type=int, default=400, help="how many pictures are drawn")
    given = parser.parse_args(arguments)
    if given.rows < _LEAST_ROWS:
        parser.error(f"--rows is at least {_LEAST_ROWS}, or filters find too few to compare")
    if not given.db:
        parser.error("--db, or CLIPHOUSE_DB, names the server")
    hide_passwords()
    report = Report()
    with _journey(given.db, given.reader, given.cluster) as journey:
        for name, step in journey.steps(given.rows):
            report.run(name, step)
            if name in _NEEDED and report.failed:
                if name != "connect":
                    report.run("drop", journey.drop)
                break
    print(f"{len(report.outcomes)} steps, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    # Told to end, it drops its tables first, as it does when it is interrupted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; its tables are dropped")
