"""The command as a process: what it prints, its exit codes, and one line for every error."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image

from cliphouse.cli.app import app
from cliphouse.cli.group import COMMANDS
from cliphouse.table import Table
from conftest import Run
from forked import python
from serving import Drawn
from shard_files import MadeShard, make_shard


@pytest.fixture
def world(drawn: Drawn, tmp_path: Path) -> Path:
    """A copy of the drawn pictures, their shards and their database in tmp_path, where commands
    run."""
    shutil.copytree(drawn.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """The single line on standard error of a command that the user can correct."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("cliphouse: ")
    return lines[0]


def test_the_way_from_pictures_to_hits(world: Path, run: Run) -> None:
    shutil.rmtree(world / "shards")
    shutil.rmtree(world / "laion.chdb")
    embedded = run("embed", "pictures", "--to", "shards", "--model", "tiny")
    assert embedded.stdout == "60 new, 0 changed, 0 renamed, 0 gone, 0 unchanged\n"
    loaded = run("ingest", "shards")
    assert "60 of 60 rows inserted" in loaded.stdout
    assert "model tiny" in loaded.stdout
    assert "0 of 60 rows inserted" in run("ingest", "shards").stdout
    picture = world / "pictures" / "picture_00007.jpg"
    found = json.loads(run("search", picture, "-k", 3, "--json").stdout)
    assert found["hits"][0]["url"] == str(world / "pictures" / "picture_00007.jpg")
    assert found["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
    words = json.loads(run("search", "a red circle", "--format", "json").stdout)
    bare = json.loads(run("search", "a", "red", "circle", "--json").stdout)
    assert bare["hits"] == words["hits"]
    assert len(words["hits"]) == 10
    assert words["search"]["query"] == "text"
    assert words["search"]["mode"] == "exact"
    told = json.loads(run("info", "--json").stdout)
    assert (told["rows"], told["model"], told["dim"]) == (60, "tiny", 512)


def test_every_kind_of_query_and_format(world: Path, run: Run) -> None:
    vector = np.load(world / "shards" / "text_emb" / "text_emb_0.npy")[5].astype("f4")
    np.save(world / "vector.npy", vector)
    lines = run("search", "vector.npy", "--modality", "text", "-k", 2, "--format", "jsonl").stdout
    assert json.loads(lines.splitlines()[0])["id"] == 5
    rows = list(csv.DictReader(io.StringIO(run("search", "id:7", "--format", "csv").stdout)))
    assert rows[0]["id"] == "7"
    assert len(rows) == 10
    assert run("search", "id:7", "-k", 4, "-o", "x.parquet").stdout == ""
    assert pq.read_table(world / "x.parquet").column("id").to_pylist()[0] == 7
    drawn = run("search", "id:7", "--show-sql", "--where", "width > 10", "--metric", "l2")
    assert "L2Distance(image_embedding" in drawn.stderr
    assert "WHERE (width > 10" in drawn.stderr
    assert "-- 10 rows, exact (there is no index; filter: applied while scanning)" in drawn.stderr
    assert "recall@k 1.000" in drawn.stderr
    assert "score" in drawn.stdout.splitlines()[0]


def test_index_search_recall_info(world: Path, run: Run) -> None:
    built = run("index", "both", "--m", 16)
    for modality in ("image", "text"):
        assert re.search(
            rf"{modality}: the graph needs memory to build and to search: [\d,]+ rows x \(512 x 2 "
            r"bytes \+ M 16 x 8 bytes\) = [\d.]+ [kM]B; the build takes about .* here",
            " ".join(built.stderr.split()),
        )
    assert "image: 60 rows indexed" in built.stdout
    assert "recall@10" in built.stdout
    assert "60 rows x (512 x 2 bytes + M 16 x 8 bytes) = 69.1 kB" in built.stderr
    assert "text: the index exists already" in run("index", "text", "--m", 16).stdout
    found = json.loads(run("search", "a star", "--mode", "hnsw", "--ef", 64, "--json").stdout)
    assert (found["search"]["mode"], found["search"]["width"]) == ("hnsw", 64)
    assert found["search"]["recall"] > 0.95
    measured = json.loads(run("recall", "text", "-k", 5, "--queries", 7, "--json").stdout)
    assert {(entry["k"], entry["queries"]) for entry in measured} == {(5, 7)}
    told = run("info").stdout
    assert "image_index" in told
    assert "measured recall, text embeddings:" in told
    assert "image: dropped" in run("index", "image", "--drop").stdout
    assert "image: there is no index to drop" in run("index", "image", "--drop").stdout


def test_operands_batches_pages_and_duplicates(world: Path, run: Run) -> None:
    (world / "asked.txt").write_bytes(b"id:3\n\nred\0\n")
    refused = run("search", "--queries", "asked.txt")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("cliphouse: asked.txt: line 3 has a NUL character")
    assert run("search", "id:1", "-", "red").returncode == 2
    assert run("search", "red", "-", "text:", "blue").returncode == 0
    (world / "asked.txt").write_text("id:3\n\n2:id:4\n", encoding="utf-8")
    many = json.loads(run("search", "--queries", "asked.txt", "-k", 2, "--json").stdout)
    assert [entry["query"] for entry in many] == ["id:3", "2:id:4"]
    assert [entry["hits"][0]["id"] for entry in many] == [3, 4]
    rows = list(
        csv.DictReader(
            io.StringIO(run("search", "--queries", "asked.txt", "-k", 2, "--format", "csv").stdout)
        )
    )
    assert [row["query"] for row in rows] == ["id:3", "id:3", "2:id:4", "2:id:4"]
    first = json.loads(run("search", "id:3", "-k", 20, "--json").stdout)
    rest = json.loads(run("search", "id:3", "-k", 60, "--cursor", first["cursor"], "--json").stdout)
    ids = [hit["id"] for page in (first, rest) for hit in page["hits"]]
    assert sorted(ids) == list(range(60))
    assert rest["cursor"] is None
    skipped = json.loads(run("search", "id:3", "-k", 5, "--offset", 7, "--json").stdout)
    assert [hit["id"] for hit in skipped["hits"]] == ids[7:12]
    assert skipped["search"]["rows_read"] >= 60
    sums = run("search", "id:3", "--add", "0.5:id:9", "--subtract", "a red circle", "--json")
    assert json.loads(sums.stdout)["search"]["query"] == "mixed"
    folded = run("search", "id:3", "--dedup", 0.2)
    assert "near-duplicates)" in folded.stdout


def test_what_cannot_be_asked_is_named(world: Path, run: Run) -> None:
    for arguments, message in (
        (["search"], "nothing to search for"),
        (["search", "id:1", "--cursor", "junk"], "the cursor is none of this search's"),
        (["search", "id:1", "--queries", "x.txt"], "no other query or cursor"),
        (["search", "--queries", "absent.txt"], "absent.txt: No such file"),
        (["search", "id:1", "--subtract", "id:1"], "cancel out"),
        (["search", "0:cat"], "0:cat: a weight is more than 0"),
        (["search", "http://127.0.0.1:9/x.jpg"], "http://127.0.0.1:9/x.jpg: cannot be fetched"),
        (["search", "id:1", "--mode", "codes"], "this table keeps no codes"),
        (["search", "id:1", "--dedup", "7"], "dedup is 7.0; it is a cosine similarity"),
        (["search", "id:1", "--offset", "-1"], "offset is -1; it must be 0 to 100,000"),
        (["index", "--kind", "annoy"], "ClickHouse has no annoy index any more"),
        (["recall", "--plot", "x.txt"], "x.txt: a plot must be a file with the ending .svg"),
        (["recall", "-k", "0"], "recall is measured for k of 1 to 1,000"),
        (["recall", "--target", "2"], "target is 2.0; it must be above 0"),
        (["recall", "--shards", "absent"], "absent"),
        (["ingest", "shards", "--codes", "rabitq"], "was made with codes none"),
    ):
        told = run(*arguments)
        assert told.returncode == 2, arguments
        assert message in told.stderr
        assert len(told.stderr.splitlines()) == 1


def test_captions_reach_a_terminal_as_text(tmp_path: Path, run: Run) -> None:
    captions = [":dog: [bold]x[/bold]", "\x1b[31mred\x1b[0m\x07", "two\nlines"]
    make_shard(tmp_path / "s", rows=3, metadata={"caption": captions})
    run("ingest", "s")
    shown = run("search", "id:0").stdout
    assert ":dog: [bold]x[/bold]" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert len(shown.splitlines()) == 4
    rows = json.loads(run("search", "id:1", "--json").stdout)["hits"]
    assert rows[0]["caption"] == captions[1]


def test_sql_results_of_every_type(world: Path, run: Run) -> None:
    statement = (
        "SELECT 18446744073709551615 AS big, (1, 'a') AS pair, map('k', 2) AS m, "
        "['\\xff', 'b'] AS texts, NULL AS nothing, toDate('2026-01-02') AS day"
    )
    rows = json.loads(run("sql", statement, "--json").stdout)
    assert rows[0]["big"] == 18446744073709551615
    assert rows[0]["texts"] == ["\ufffd", "b"]
    assert rows[0]["day"] == "2026-01-02"
    for chosen in ("table", "csv", "jsonl"):
        result = run("sql", statement, "--format", chosen)
        assert "18446744073709551615" in result.stdout, result.stderr
    empty = run("sql", "SELECT 1 AS one WHERE 0", "--format", "csv")
    assert empty.stdout == '"one"\n'
    assert (
        run("sql", "SELECT 1 AS a; SELECT 2 AS b", "--format", "csv").stdout == '"a"\n1\n"b"\n2\n'
    )
    assert "no/x.csv: the folder no does not exist" in one_line(
        run("sql", "SELECT 1", "--format", "csv", "-o", "no/x.csv")
    )


def test_sql(world: Path, run: Run) -> None:
    counted = run("sql", "SELECT count() AS rows, max(id) AS top FROM laion;", "--json").stdout
    assert json.loads(counted) == [{"rows": 60, "top": 59}]
    assert run("sql", "CREATE TABLE other (a String) ENGINE = MergeTree ORDER BY a").returncode == 0
    assert run("sql", "INSERT INTO other VALUES ('\\xff tab\\t'), ('x')").returncode == 0
    assert "x" in run("sql", "/* a comment */ SELECT a FROM other ORDER BY a").stdout
    assert json.loads(run("sql", "SELECT [1, 2] AS v", "--format", "jsonl").stdout) == {"v": [1, 2]}
    assert run("sql", "SELECT [1, 2] AS v", "--format", "csv").stdout == '"v"\n"[1, 2]"\n'
    assert "`nope`" in one_line(run("sql", "SELECT nope FROM laion"))
    assert "SYNTAX_ERROR" in one_line(run("sql", "SELEC 1"))
    assert "no statement" in one_line(run("sql", " ; "))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ingest", "nowhere"), "nowhere: no such folder"),
        (("ingest", "empty"), "empty: no shards here"),
        (("ingest", "shards", "--shards", "5-x"), "'5-x' is not a shard number or range"),
        (("ingest", "shards", "--shards", "4"), "shard 4 is missing"),
        (("embed", "empty", "--to", "s", "--model", "tiny"), "empty: no pictures here"),
        (("embed", "pictures", "--to", "s", "--model", "big"), "model 'big' is unknown"),
        (
            ("embed", "pictures", "--to", "s"),
            "could not be fetched from huggingface.co/Qdrant/clip",
        ),
        (("search", "x", "--db", "none.chdb"), "none.chdb: no database here"),
        (("search", "x", "--db", "pictures"), "pictures: contains .* and is not a database"),
        (("search", "x", "--db", "captions.txt"), "captions.txt: a file; an embedded database is"),
        (("search", "x", "--db", "ftp://host"), r"ftp://\.\.\.: a database is a folder, or http"),
        (("search", "x", "--table", "other"), "no table other"),
        (("search", "x", "--table", "a;b"), "'a;b' is not a table name"),
        (("search", ""), "the query is empty"),
        (("search", "captions.png"), "captions.png: cannot be read as a picture"),
        (("search", "gone.jpg"), "gone.jpg: no such file"),
        (("search", "x", "--model", "ViT-B/32"), "laion was made with model tiny"),
        (("search", "x", "-k", "0"), "k is 0; it must be 1 to 100,000"),
        (("search", "x", "--mode", "hnsw"), "no cosine index on image_embedding"),
        (("search", "x", "--where", "nope = 1"), "--where: position 1, at .*no column nope"),
        (("search", "id:1", "-o", "x.out"), "x.out: choose a --format for a file"),
        (("export", "x.out"), "x.out: choose a --format: csv, "),
        (
            ("export", "x.csv"),
            "x.csv: csv is written as a folder of files; name a folder, as in: "
            "cliphouse export x --format csv",
        ),
        (("export", "x.CSV", "--format", "csv"), "x.CSV: csv is written as a folder of files"),
        (("export", "x.parquet", "--format", "shards"), "x.parquet: shards is written as a folder"),
        (("search", "id:1", "red"), "id:1: give one query; add another with --add"),
        (("search", "a", "captions.png"), "captions.png: give one query"),
        (("search", "a", "./circle"), "./circle: give one query"),
        (("index", "--m", "1"), "M must be 2 to 1024"),
        (("search", "id:1", "--mode", "hnsw", "--ef", "9999999"), "ef is 9999999; it must be"),
        (("search", "x", "--db", "what?"), "no folder with . or # in its path"),
        (("search", "x", "--db", "http://h:99999999"), "address has no port that is a number"),
        (("search", "x", "--db", "~nosuchuser/x"), "~nosuchuser/x"),
        (("search", "x", "--db", "clickhouse://u:secret@h"), r"clickhouse://\.\.\.: a database is"),
        (("ingest", "foo://bucket/x"), "foo://bucket/x: cannot be opened"),
        (("embed", "pictures", "--to", "exported", "--model", "tiny"), "shards of another program"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    world: Path, run: Run, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    (world / "empty").mkdir()
    (world / "captions.txt").write_text("no database")
    (world / "captions.png").write_text("no picture")
    if "exported" in arguments:
        run("export", "exported", "--format", "shards")
    line = one_line(run(*arguments, HF_HUB_CACHE=str(tmp_path / "no-models")))
    assert re.search(told, line), line
    assert not (world / "none.chdb").exists()


def test_a_database_in_use_by_another_process(world: Path, run: Run) -> None:
    holder = subprocess.Popen(
        [
            *python(),
            "-c",
            "import cliphouse; t = cliphouse.open('laion.chdb'); t.summary(); "
            "print('held', flush=True); input()",
        ],
        cwd=world,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    line = one_line(run("search", "id:1", "--wait", "0"))
    assert re.search(r"laion.chdb: in use by .* \(pid \d+\), and one process at a time", line)
    holder.communicate(b"\n")
    assert run("search", "id:1").returncode == 0


def test_an_interrupted_command_says_how_to_go_on(world: Path) -> None:
    script = (
        "import threading; from cliphouse.cli.app import main; "
        "from cliphouse.models import ClipEncoder\n"
        "def wait(self, images):\n"
        "    print('working', flush=True); threading.Event().wait(60)\n"
        "ClipEncoder.encode_image = wait; main()"
    )
    process = subprocess.Popen(
        [*python(), "-c", script, "embed", "pictures", "--to", "new", "--model", "tiny"],
        cwd=world,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == (
        "cliphouse: interrupted; what is finished is kept; run the same command again to continue\n"
    )
    assert not list((world / "new").rglob("*.part"))


def test_a_server_out_of_reach_is_named_without_its_password(world: Path, run: Run) -> None:
    result = run("search", "id:1", "--db", "http://user:secret@127.0.0.1:9/db")
    assert result.returncode == 1
    assert "http://127.0.0.1:9/db" in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_shard_of_real_clip_retrieval_shape(
    tmp_path: Path, run: Run, shared_shard: MadeShard | None
) -> None:
    """Two metadata columns, float16: made here, and the real one too where it is at hand."""
    metadata = {"image_path": [f"/content/{r}.png" for r in range(9)], "caption": ["a shirt"] * 9}
    made = make_shard(tmp_path / "own", rows=9, dim=512, metadata=metadata)
    for name, shard in (("own", made), ("shared", shared_shard)):
        if shard is None:
            continue
        loaded = run("ingest", shard.folder, "--db", f"{name}.chdb")
        assert "9 of 9 rows inserted" in loaded.stdout
        with Table(tmp_path / f"{name}.chdb") as table:
            for row in range(9):
                hit = table.search(shard.image[row].astype("f4"), k=3)[0]
                assert (hit.id, hit.url) == (row, shard.metadata["image_path"][row])


@pytest.fixture
def shared_shard() -> MadeShard | None:
    """The real shard beside the checkout, where there is one."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "clip-retrieval-shard"
    if not folder.is_dir():
        return None
    metadata = pq.read_table(folder / "metadata" / "metadata_0.parquet").to_pydict()
    image = np.load(folder / "img_emb" / "img_emb_0.npy")
    return MadeShard(folder, 0, image, None, metadata)


def test_skipped_pictures_are_named_and_counted(world: Path, run: Run) -> None:
    (world / "pictures" / "broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (300, 300)).save(world / "pictures" / "large.png")
    result = run("embed", "pictures", "--to", "new", "--model", "tiny", "--max-pixels", 80_000)
    assert result.returncode == 0
    assert "broken.jpg: cannot be read as a picture" in result.stderr
    assert "large.png: 300 x 300 pixels" in result.stderr
    assert result.stdout == (
        "60 new, 0 changed, 0 renamed, 0 gone, 0 unchanged\n"
        "passed over: 1 file that is no picture, 1 picture with too many pixels\n"
    )


def test_help_and_version(run: Run) -> None:
    command = [sys.executable, "-m", "cliphouse", "--version"]
    started = subprocess.run(command, capture_output=True, text=True, check=True)
    assert started.stdout.startswith("cliphouse 0.")
    listed = " ".join(run("--help").stdout.split())
    for name, summary in COMMANDS.items():
        assert f" {name} {summary}" in listed
        helped = run(name, "--help")
        assert helped.returncode == 0
        assert summary in " ".join(helped.stdout.split())
    assert run("search", "x", "--nonsense").returncode == 2


def test_a_reader_that_leaves_early_is_no_error(world: Path) -> None:
    command = (
        f"{shlex.join(python())} -m cliphouse sql 'SELECT number FROM numbers(20000)' | head -n 2"
    )
    result = subprocess.run(
        command, shell=True, cwd=world, env=os.environ, capture_output=True, text=True, check=False
    )
    told = result.stderr.splitlines()
    assert [line for line in told if not line.startswith("20000 rows in set. Elapsed: ")] == []
    assert result.stdout.splitlines()[0].strip() == "number"


def test_what_cannot_be_an_option_is_an_argument() -> None:
    group: Any = typer.main.get_command(app)
    search = group.get_command(None, "search")
    for word in ("-1:cat", "-.5:cat", "-- cat", "--a cat", "--a = b", "-----", "--1", "-"):
        found = search.make_context("search", [word, "-k", "3", "--add", word, "--sort=-width"])
        assert (found.params["query"], found.params["add"]) == ((word,), (word,))
    for wrong in ("--nothing", "--nothing=a b", "-z"):
        with pytest.raises(Exception, match=f"No such option: {wrong[:9]}"):
            search.make_context("search", [wrong])


def test_wrong_words_of_a_command_are_one_line(run: Run) -> None:
    for words, told in (
        (("search", "--colums", "x"), "No such option: --colums .*; see cliphouse search --help"),
        (("search", "x", "-k", "abc"), "Invalid value for '-k': .*; see cliphouse search --help"),
        (("serch",), "No such command 'serch'. Did you mean .*\\? See cliphouse --help"),
        (
            ("recall", "--queries"),
            "Option '--queries' requires an argument; see cliphouse.* --help",
        ),
        (("models", "fetch"), "Missing argument .*; see cliphouse models fetch --help"),
    ):
        line = one_line(run(*words))
        assert re.fullmatch(f"cliphouse: {told}\n?", line), line
    help = run()
    assert (help.returncode, "Commands:" in help.stdout + help.stderr) == (2, True)
    assert run("search", "--help").returncode == 0
