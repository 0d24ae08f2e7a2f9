"""encode_text and encode_image inside SQL, embedded, against the encoder in this process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

import cliphouse
from cliphouse.errors import EngineError, ModelError, PictureError
from cliphouse.models import load_encoder
from cliphouse.pictures.drawn import write_pictures
from cliphouse.schema.info import TableInfo
from conftest import Run

# What a format with escapes would change, and what no text file can hold.
WORDS = (
    "cat",
    "",
    "a\tred\theart",
    "two\nlines\r\nor three",
    'it\'s "quoted" \\ and \\n is no line break',
    "before\0after",
    "Katze 🐈 mèo",
    "x" * 100_000,
    "one blue star " * 7_000,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("udf")
    write_pictures(folder, 12, seed=5)
    return folder


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[cliphouse.Table]:
    """An empty database that says nothing about models, in the hands of one who asks for tiny."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "laion.chdb").mkdir()
    with cliphouse.open(tmp_path / "laion.chdb", model="tiny") as opened:
        yield opened


def vector(table: cliphouse.Table, expression: str, **parameters: object) -> NDArray[np.float32]:
    found = table.sql(f"SELECT {expression} AS vector", dict(parameters)).column("vector")
    return np.array(found[0].as_py(), np.float32)


def children() -> list[int]:
    """The encoders that this process has started and that still run."""
    found = psutil.Process().children()
    return [child.pid for child in found if "cliphouse.udf.worker" in " ".join(child.cmdline())]


def test_words_are_encoded_as_they_are(table: cliphouse.Table) -> None:
    encoder = load_encoder("tiny")
    for words in WORDS:
        found = vector(table, "encode_text({words:String})", words=words)
        np.testing.assert_allclose(found, encoder.encode_text([words])[0], atol=1e-6)
    # SQL's own escapes are SQL's matter; bytes that are no text become the replacement character.
    broken = vector(table, "encode_text(unhex('ff') || 'cat')")
    np.testing.assert_allclose(broken, encoder.encode_text(["\ufffdcat"])[0], atol=1e-6)


def test_a_column_of_many_blocks(table: cliphouse.Table) -> None:
    colours = [f"{number} red hearts" for number in range(300)]
    rows = table.sql(
        "SELECT number, encode_text(toString(number) || ' red hearts') AS vector "
        "FROM numbers(300) ORDER BY number SETTINGS max_block_size = 70"
    )
    found = np.array(rows.column("vector").to_pylist(), np.float32)
    assert rows.column("number").to_pylist() == list(range(300))
    np.testing.assert_allclose(found, load_encoder("tiny").encode_text(colours), atol=1e-5)


def test_pictures_are_encoded(table: cliphouse.Table, tmp_path: Path, pictures: Path) -> None:
    files = sorted(pictures.glob("*.jpg"))
    for number, file in enumerate(files):
        (tmp_path / f"{number}.jpg").write_bytes(file.read_bytes())
    rows = table.sql(
        "SELECT encode_image(toString(number) || '.jpg') AS vector FROM numbers(12) ORDER BY number"
    )
    found = np.array(rows.column("vector").to_pylist(), np.float32)
    expected = load_encoder("tiny").encode_image([Image.open(f).convert("RGB") for f in files])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    absolute = vector(table, "encode_image({path:String})", path=str(tmp_path / "3.jpg"))
    np.testing.assert_allclose(absolute, expected[3], atol=1e-5)


def bad_pictures(folder: Path, outside: Path) -> dict[str, str]:
    """Paths that encode_image must refuse, each with what the error must say."""
    Image.new("RGB", (40, 40), "red").save(outside / "red.png")
    (folder / "link.png").symlink_to(outside / "red.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "folder.png").symlink_to(outside)
    (folder / "text.png").write_text("no picture")
    (folder / "sub.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "closed.png").write_bytes(b"")
    with (folder / "giant.png").open("wb") as stream:
        stream.truncate(2**30)
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    Image.new("1", (12_000, 9_000)).save(folder / "large.png")
    return {
        "missing.png": "no such file",
        str(outside / "red.png"): "outside of",
        "../outside/red.png": "outside of",
        "link.png": "outside of",
        "loop.png": "loop.png",
        "folder.png/red.png": "outside of",
        "/etc/passwd": "outside of",
        "text.png": "not a picture",
        "closed.png": "not a picture",
        "sub.png": "not a file",
        "pipe.png": "not a file",
        "giant.png": "1,073,741,824 bytes",
        "bomb.png": "more pixels than the limit",
        "large.png": "12000 x 9000 pixels",
        "": "not the path",
        "red\0.png": "not the path",
    }


def test_pictures_that_are_refused(table: cliphouse.Table, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    inside.mkdir()
    outside.mkdir()
    os.chdir(inside)  # the fixture goes back
    Image.new("RGB", (40, 40), "blue").save(inside / "blue.png")
    before = vector(table, "encode_image('blue.png')")
    (encoder,) = children()
    refused = bad_pictures(inside, outside)
    for path, reason in refused.items():
        with pytest.raises(PictureError, match=reason) as caught:
            vector(table, "encode_image({path:String})", path=path)
        assert path.replace("\0", "\\x00") in str(caught.value)
        assert "\n" not in str(caught.value)
    # None of it cost the process its loaded model, nor its place in the conversation.
    assert children() == [encoder]
    np.testing.assert_array_equal(vector(table, "encode_image('blue.png')"), before)
    paths = [*refused, "blue.png"]
    rows = table.sql(
        "SELECT encode_image_or_empty(arrayJoin({paths:Array(String)})) AS vector",
        {"paths": paths},
    )
    found = rows.column("vector").to_pylist()
    assert [len(value) for value in found] == [0] * len(refused) + [512]
    np.testing.assert_array_equal(np.array(found[-1], np.float32), before)


def test_the_index_is_used(table: cliphouse.Table, tmp_path: Path, pictures: Path) -> None:
    """Words and a picture are constants by the time the index is looked for."""
    (tmp_path / "query.jpg").write_bytes(next(pictures.glob("*.jpg")).read_bytes())
    table.sql(
        "CREATE TABLE found (id Int64, v Array(Float32), "
        "INDEX near v TYPE vector_similarity('hnsw', 'cosineDistance', 512)) "
        "ENGINE = MergeTree ORDER BY id"
    )
    table.sql("INSERT INTO found SELECT number, encode_text(toString(number)) FROM numbers(20)")
    for call in ("encode_text('17')", "encode_image('query.jpg')"):
        search = f"SELECT id FROM found ORDER BY cosineDistance(v, {call}) LIMIT 3"
        plan = "\n".join(table.sql(f"EXPLAIN indexes = 1 {search}").column("explain").to_pylist())
        assert "vector_similarity" in plan
    insist = " SETTINGS force_data_skipping_indices = 'near'"
    nearest = "SELECT id FROM found ORDER BY cosineDistance(v, encode_text('17')) LIMIT 1"
    assert table.sql(nearest + insist).column("id").to_pylist() == [17]


def test_several_queries_at_once(table: cliphouse.Table) -> None:
    opened = table.connection
    words = [f"{number} stars" for number in range(40)]
    found: dict[int, NDArray[np.float32]] = {}

    def ask(first: int) -> None:
        connection = opened.clone()
        try:
            for number in range(first, 40, 4):
                rows = connection.query("SELECT encode_text({w:String}) AS v", {"w": words[number]})
                found[number] = np.array(rows.column("v")[0].as_py(), np.float32)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(children()) == 1
    expected = load_encoder("tiny").encode_text(words)
    np.testing.assert_allclose([found[number] for number in range(40)], expected, atol=1e-6)


def wait_for(descriptor: int) -> bool:
    """Whether it can be read within 20 seconds. An engine has more open files than select takes."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(20_000))


def kill_when_asked(encoder: int) -> None:
    """Kill a stopped encoder as soon as a question is in its pipe."""
    with Path(f"/proc/{encoder}/fd/0").open("rb", buffering=0) as questions:
        wait_for(questions.fileno())
    os.kill(encoder, signal.SIGKILL)


def test_an_encoder_killed_in_mid_query(table: cliphouse.Table) -> None:
    before = vector(table, "encode_text('cat')")
    (encoder,) = children()
    os.kill(encoder, signal.SIGSTOP)  # so that it is in the middle of the query for certain
    threading.Thread(target=kill_when_asked, args=(encoder,)).start()
    with pytest.raises(EngineError, match=r"encode_text ended \(killed by signal 9\)") as caught:
        vector(table, "encode_text('dog')")
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(vector(table, "encode_text('cat')"), before)
    (encoder,) = children()
    watched = os.pidfd_open(encoder)
    os.kill(encoder, signal.SIGKILL)  # and while nobody asks
    wait_for(watched)
    os.close(watched)
    with pytest.raises(EngineError, match="encode_text ended"):
        vector(table, "encode_text('dog')")
    np.testing.assert_array_equal(vector(table, "encode_text('cat')"), before)


def test_no_process_outlives_the_database(tmp_path: Path, run: Run) -> None:
    """Neither a closed one, nor one whose process was killed."""
    ask = (
        "import cliphouse, os, sys\n"
        "with cliphouse.open('kept', model='tiny') as table:\n"
        "    table.sql(\"SELECT encode_text('cat')\")\n"
        "    own = open(f'/proc/self/task/{os.getpid()}/children').read()\n"
        "    print(own, flush=True)\n"
        "    sys.stdin.read(1)\n"
        "print('closed', flush=True)\n"
        "sys.stdin.read()\n"
    )
    (tmp_path / "kept").mkdir()
    for is_killed in (False, True):
        process = subprocess.Popen(
            [sys.executable, "-c", ask],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None and process.stdout is not None
        encoders = [int(child) for child in process.stdout.readline().split()]
        watched = [os.pidfd_open(encoder) for encoder in encoders]
        assert watched
        if is_killed:
            process.kill()
        else:
            process.stdin.write("x")
            process.stdin.flush()
            assert process.stdout.readline() == "closed\n"
        for descriptor in watched:
            assert wait_for(descriptor)
            os.close(descriptor)
        process.kill()
        process.communicate()


def test_the_model_is_the_one_the_tables_were_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPHOUSE_MODELS", str(tmp_path / "none"))
    (tmp_path / "db").mkdir()
    columns = "(id Int64, image_embedding Array(Float32)) ENGINE = MergeTree ORDER BY id COMMENT "

    def made_with(model: str) -> str:
        comment = TableInfo(model, 512, "float32", ("image",)).to_comment()
        return columns + "'" + comment + "'"

    with cliphouse.open("db") as table:
        # Nothing says which, so it is LAION's own, which is not here; and it says so.
        with pytest.raises(ModelError, match=r"none/text: model.onnx, .* missing"):
            vector(table, "encode_text('cat')")
        table.sql("CREATE TABLE drawn " + made_with("tiny"))
        found = vector(table, "encode_text('cat')")
        np.testing.assert_allclose(found, load_encoder("tiny").encode_text(["cat"])[0], atol=1e-6)
        table.sql("CREATE TABLE laion " + made_with("ViT-B/32"))
        with pytest.raises(ModelError, match=r"drawn with tiny, laion with ViT-B/32.*--model"):
            vector(table, "encode_text('cat')")
    with cliphouse.open("db", model="tiny") as table:
        np.testing.assert_allclose(vector(table, "encode_text('cat')"), found, atol=1e-6)
    damaged = tmp_path / "none" / "text"
    damaged.mkdir(parents=True)
    for name in ("model.onnx", "tokenizer.json", "tokenizer_config.json"):
        (damaged / name).write_text("{}")
    with (
        cliphouse.open("db", model="ViT-B/32") as table,
        pytest.raises(ModelError, match="has no model_max_length") as caught,
    ):
        vector(table, "encode_text('cat')")
    assert "\n" not in str(caught.value)
