"""Vector databases within the process, each with an HNSW graph: zvec, Qdrant Edge, Milvus Lite and
Chroma. Ids, urls and captions come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

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

_NAME = "laion"
_SHOWN = ["url", "caption"]
_BATCH = 1000  # rows handed over at once
_ZVEC_MOST_EF = 2048
_QDRANT_FULL_SCAN = 10_000  # kB below which a segment is scanned; the server's default
_CHROMA_SYNC = 10_000  # rows after which the graph is written; all of it, each time

# Contenders run in processes of their own, which shall not load what only the others need:
# libraries are imported where they are used.


def build_zvec(place: Place) -> None:
    """Inner products of unit vectors, its default metric, in one piece of memory."""
    import zvec

    schema = zvec.CollectionSchema(
        name=_NAME,
        fields=[zvec.FieldSchema(name, zvec.DataType.STRING) for name in _SHOWN],
        vectors=zvec.VectorSchema(
            "image",
            zvec.DataType.VECTOR_FP32,
            DIM,
            zvec.HnswIndexParam(
                metric_type=zvec.MetricType.IP,
                m=HNSW_M,
                ef_construction=HNSW_EF_CONSTRUCTION,
                use_contiguous_memory=True,
            ),
        ),
    )
    folder = str(place.fresh("zvec") / "laion.zvec")
    collection = zvec.create_and_open(path=folder, schema=schema)
    for rows in rows_in_batches(place, _BATCH):
        documents = [
            zvec.Doc(str(id), vectors={"image": vector}, fields={"url": url, "caption": caption})
            for id, url, caption, vector in rows.each()
        ]
        for status in collection.insert(documents):
            if not status.ok():
                raise RuntimeError(f"zvec: {status}")
    collection.close()


def index_zvec(place: Place) -> None:
    import zvec

    collection = zvec.open(str(place.folder("zvec") / "laion.zvec"))
    collection.optimize()
    collection.close()


@contextmanager
def open_zvec(place: Place) -> Iterator[Ask]:
    import zvec

    path = str(place.folder("zvec") / "laion.zvec")
    collection = zvec.open(path, zvec.CollectionOption(read_only=True))

    def ask(vector: Vector, case: Case) -> Answer:
        query = zvec.Query("image", vector=vector, param=zvec.HnswQueryParam(ef=case.width))
        found = collection.query(query, topk=K, output_fields=_SHOWN)
        return Answer([int(document.id) for document in found])

    yield ask
    collection.close()


def build_qdrant(place: Place) -> None:
    import qdrant_edge as qdrant

    config = qdrant.EdgeConfig(
        vectors=qdrant.EdgeVectorParams(size=DIM, distance=qdrant.Distance.Cosine),
        hnsw_config=qdrant.HnswIndexConfig(
            m=HNSW_M, ef_construct=HNSW_EF_CONSTRUCTION, full_scan_threshold=_QDRANT_FULL_SCAN
        ),
    )
    shard = qdrant.EdgeShard.create(str(place.fresh("qdrant")), config)
    for rows in rows_in_batches(place, _BATCH):
        points = [
            qdrant.Point(id, vector.tolist(), {"url": url, "caption": caption})
            for id, url, caption, vector in rows.each()
        ]
        shard.update(qdrant.UpdateOperation.upsert_points(points))
    shard.flush()
    shard.close()


def index_qdrant(place: Place) -> None:
    import qdrant_edge as qdrant

    shard = qdrant.EdgeShard.load(str(place.folder("qdrant")))
    shard.optimize()
    shard.flush()
    shard.close()


@contextmanager
def open_qdrant(place: Place) -> Iterator[Ask]:
    import qdrant_edge as qdrant

    shard = qdrant.EdgeShard.load(str(place.folder("qdrant")))

    def ask(vector: Vector, case: Case) -> Answer:
        request = qdrant.QueryRequest(
            limit=K,
            query=qdrant.Query.Nearest(vector.tolist()),
            with_payload=True,
            params=qdrant.SearchParams(hnsw_ef=case.width),
        )
        return Answer([point.id for point in shard.query(request)])

    yield ask
    shard.close()


def build_milvus(place: Place) -> None:
    from pymilvus import DataType

    place.fresh("milvus")
    with _milvus(place) as client:
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("image", DataType.FLOAT_VECTOR, dim=DIM)
        for name in _SHOWN:
            schema.add_field(name, DataType.VARCHAR, max_length=65_535)
        client.create_collection(_NAME, schema=schema)
        for rows in rows_in_batches(place, _BATCH):
            client.insert(
                _NAME,
                [
                    {"id": id, "url": url, "caption": caption, "image": vector}
                    for id, url, caption, vector in rows.each()
                ],
            )
        client.flush(_NAME)


def index_milvus(place: Place) -> None:
    with _milvus(place) as client:
        index = client.prepare_index_params()
        index.add_index(
            "image",
            index_type="HNSW",
            metric_type="COSINE",
            params={"M": HNSW_M, "efConstruction": HNSW_EF_CONSTRUCTION},
        )
        client.create_index(_NAME, index)
        client.load_collection(_NAME)  # this is when it is built


@contextmanager
def open_milvus(place: Place) -> Iterator[Ask]:
    with _milvus(place) as client:
        client.load_collection(_NAME)

        def ask(vector: Vector, case: Case) -> Answer:
            found = client.search(
                _NAME,
                [vector],
                limit=K,
                output_fields=_SHOWN,
                search_params={"params": {"ef": case.width}},
            )
            return Answer([hit["id"] for hit in found[0]])

        yield ask


@contextmanager
def _milvus(place: Place) -> Iterator[Any]:
    """The client of a server in threads of this process, on a port of 127.0.0.1."""
    from pymilvus import MilvusClient

    client = MilvusClient(str(place.folder("milvus") / "laion.db"))
    try:
        yield client
    finally:
        client.close()


def build_chroma(place: Place) -> None:
    """Captions are its documents, urls metadata. The graph is built as rows come in."""
    place.fresh("chroma")
    hnsw = {
        "space": "cosine",
        "max_neighbors": HNSW_M,
        "ef_construction": HNSW_EF_CONSTRUCTION,
        "sync_threshold": _CHROMA_SYNC,
    }
    with closing(_chroma(place)) as client:
        collection = client.create_collection(
            _NAME, configuration={"hnsw": hnsw}, embedding_function=None
        )
        for rows in rows_in_batches(place, _BATCH):
            collection.add(
                ids=[str(id) for id in rows.ids],
                embeddings=rows.vectors,
                documents=rows.captions,
                metadatas=[{"url": url} for url in rows.urls],
            )


@contextmanager
def open_chroma(place: Place) -> Iterator[Ask]:
    client = _chroma(place)
    collection: Any = None
    width: int | None = None

    def ask(vector: Vector, case: Case) -> Answer:
        nonlocal client, collection, width
        if case.width != width:
            # It is read when the graph is loaded, which the first queries of the warm-up pay for.
            changed = client.get_collection(_NAME, embedding_function=None)
            changed.modify(configuration={"hnsw": {"ef_search": case.width}})
            client.close()
            client = _chroma(place)
            collection = client.get_collection(_NAME, embedding_function=None)
            width = case.width
        found = collection.query(
            query_embeddings=[vector], n_results=K, include=["documents", "metadatas"]
        )
        return Answer([int(id) for id in found["ids"][0]])

    yield ask
    client.close()


def _chroma(place: Place) -> Any:
    import chromadb

    settings = chromadb.Settings(anonymized_telemetry=False)
    return chromadb.PersistentClient(str(place.folder("chroma")), settings)


ZVEC = Contender(
    "zvec",
    "zvec HNSW",
    DETAILS,
    (*COMMON, Step("zvec", build_zvec), Step("zvec-index", index_zvec)),
    widths(tuple(width for width in LADDER if width <= _ZVEC_MOST_EF), "ef"),
    open_zvec,
)
QDRANT = Contender(
    "qdrant",
    "Qdrant Edge HNSW",
    DETAILS,
    (*COMMON, Step("qdrant", build_qdrant), Step("qdrant-index", index_qdrant)),
    widths(LADDER, "ef"),
    open_qdrant,
)
MILVUS = Contender(
    "milvus",
    "Milvus Lite HNSW",
    DETAILS,
    (*COMMON, Step("milvus", build_milvus), Step("milvus-index", index_milvus)),
    widths(LADDER, "ef"),
    open_milvus,
)
CHROMA = Contender(
    "chroma",
    "Chroma HNSW",
    DETAILS,
    (*COMMON, Step("chroma", build_chroma)),
    widths(LADDER, "ef"),
    open_chroma,
)
