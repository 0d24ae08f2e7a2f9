"""Downloading from a server that misbehaves; what arrives is compared byte by byte."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import fsspec
import pytest
import typer
from rich.console import Console

import misbehaving_server as bad
from cliphouse.cli import download as cli
from cliphouse.cli import show
from cliphouse.errors import UserError
from cliphouse.shards.download import DownloadReport, download
from cliphouse.shards.files import find_shards
from cliphouse.shards.partial_file import DownloadError, PartialFile
from cliphouse.shards.progress import Step
from cliphouse.shards.retry import RetryPolicy
from cliphouse.shards.transfer import FsspecStore, TransientError, retry_after_seconds
from cliphouse.shards.urls import DEFAULT_SOURCE, KINDS, file_url, redact, url_templates
from forked import python
from shard_files import make_shard
from thorough import examples

FEW_RETRIES = RetryPolicy(
    max_attempts=6, max_unanswered=2, first_wait=0.01, longest_wait=0.05, timeout=5.0
)
IMAGE_0 = "/img_emb/img_emb_0.npy"
METADATA_0 = "/metadata/metadata_0.parquet"
ROWS, DIM = 200, 64  # an image file of 25,728 bytes
_COMMAND = "from cliphouse.cli import main; main()"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[bad.Server]:
    with bad.serving() as running:
        yield running


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards as LAION lays them out, not to be changed."""
    return make_originals(tmp_path_factory.mktemp("shards"), 3)


def make_originals(tmp_path: Path, count: int) -> Path:
    folder = tmp_path / "originals"
    for number in range(count):
        make_shard(folder, number, ROWS, DIM)
    return folder


def put(server: bad.Server, folder: Path, at: str = "") -> None:
    server.files |= {f"{at}/{name}": data for name, data in contents(folder).items()}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, of whatever name: nothing may be left over either."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fetch(
    server: bad.Server | str,
    to: Path,
    numbers: Collection[int] = (0, 1, 2),
    only: str = "",
    jobs: int = 3,
) -> DownloadReport:
    return download(
        numbers,
        to,
        server if isinstance(server, str) else server.url,
        only.split(",") if only else KINDS,
        jobs,
        retry=FEW_RETRIES,
    )


def fetch_image_0(server: bad.Server, to: Path) -> DownloadReport:
    return fetch(server, to, [0], "image")


def command(*arguments: object, code: str = "") -> subprocess.Popen[str]:
    """The command, in a process of its own."""
    return subprocess.Popen(
        [*python(), "-c", code + _COMMAND, "download", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


# Killing it; first in the file, because it takes longest and the others can run beside it

KILLS = examples(8, 40)


def test_kill_at_any_moment(server: bad.Server, tmp_path: Path) -> None:
    originals = make_originals(tmp_path, 10)
    put(server, originals)
    server.default_trick = bad.drip(1500, 0.07)
    arguments = ("0-9", "--to", tmp_path / "to", "--from", server.url, "--jobs", 3)
    chance = random.Random(3)
    for _ in range(KILLS):
        process = command(*arguments)
        wait_for_a_request(server, process)
        time.sleep(chance.uniform(0, 0.3))
        assert process.poll() is None, f"ended before it was killed: {process.communicate()}"
        process.kill()
        process.communicate()
        whole = {k: v for k, v in contents(tmp_path / "to").items() if ".part" not in k}
        assert whole.items() <= contents(originals).items()
    server.default_trick = None
    code, out, _ = finish(command(*arguments))
    assert code == 0, out
    assert contents(tmp_path / "to") == contents(originals)
    assert any(request.range and request.status == [206] for request in server.requests)


def wait_for_a_request(server: bad.Server, process: subprocess.Popen[str]) -> None:
    before = len(server.requests)
    wait_until(lambda: len(server.requests) > before or process.poll() is not None)


# A server that behaves


def test_everything_arrives_and_is_found(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    report = fetch(server, tmp_path / "to")
    assert contents(tmp_path / "to") == contents(originals)
    assert report.is_complete and len(report.fetched) == 9
    assert report.arrived == sum(map(len, contents(originals).values()))
    assert [shard.number for shard in find_shards([str(tmp_path / "to")])] == [0, 1, 2]


def test_running_again_asks_nothing(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    fetch(server, tmp_path / "to")
    before = len(server.requests)
    report = fetch(server, tmp_path / "to")
    assert len(server.requests) == before
    assert len(report.there) == 9 and report.is_complete
    assert all(file.size for file in report.there)


def test_running_again_fetches_only_what_is_missing_or_broken(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    to = tmp_path / "to"
    fetch(server, to)
    (to / "img_emb/img_emb_1.npy").unlink()
    (to / "text_emb/text_emb_2.npy").write_bytes(b"short")
    footer = to / "metadata/metadata_0.parquet"
    footer.write_bytes(footer.read_bytes()[:-3])
    report = fetch(server, to)
    assert contents(to) == contents(originals)
    assert {Path(file.path).name for file in report.fetched} == {
        "img_emb_1.npy",
        "text_emb_2.npy",
        "metadata_0.parquet",
    }


def test_files_under_clip_retrievals_names_are_there_already(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    make_shard(tmp_path / "to", 1, ROWS, DIM, layout=("images", "texts", "metadata"), digits=4)
    report = fetch(server, tmp_path / "to")
    assert {(file.shard, file.kind) for file in report.there} == {
        (1, "image"),
        (1, "text"),
        (1, "metadata"),
    }
    assert len(find_shards([str(tmp_path / "to")])) == 3


def test_only_some_kinds(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    fetch(server, tmp_path / "to", only="metadata, image")
    wanted = {k: v for k, v in contents(originals).items() if not k.startswith("text_emb")}
    assert contents(tmp_path / "to") == wanted


def test_no_length_told(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    server.default_trick = bad.chunked()
    assert fetch(server, tmp_path / "to").is_complete
    assert contents(tmp_path / "to") == contents(originals)


# A server that misbehaves

HALF = 12_000
GARBAGE_HEADER = b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((\n\n"


@pytest.mark.parametrize(
    ("tricks", "ranges"),
    [
        pytest.param([bad.cut(HALF)], [None, "bytes=12000-"], id="cut"),
        pytest.param([bad.cut(0)], [None, None], id="cut-at-once"),
        pytest.param(
            [bad.cut(5000), bad.cut(5000), bad.cut(5000)],
            [None, "bytes=5000-", "bytes=10000-", "bytes=15000-"],
            id="cut-thrice",
        ),
        pytest.param(
            [bad.wrong_length(+100)], [None, "bytes=25728-", None], id="announces-too-much"
        ),
        pytest.param([bad.wrong_length(-100)], [None, None], id="announces-too-little"),
        pytest.param([bad.status(500), bad.status(500)], [None] * 3, id="500-twice"),
        pytest.param([bad.status(503), bad.status(408)], [None] * 3, id="503-408"),
        pytest.param(
            [bad.cut(HALF), bad.ignore_range()], [None, "bytes=12000-"], id="ignores-range"
        ),
        pytest.param(
            [bad.cut(HALF), bad.status(416)], [None, "bytes=12000-", None], id="416-starts-again"
        ),
        pytest.param(
            [bad.cut(HALF), bad.bad_range("bytes 11000-25727/25728", b"x" * 14_728)],
            [None, "bytes=12000-", None],
            id="206-of-another-range",
        ),
        pytest.param(
            [bad.cut(HALF), bad.bad_range("bytes 12000-25727/30000", b"x" * 13_728)],
            [None, "bytes=12000-", None],
            id="206-of-another-size",
        ),
        pytest.param(
            [bad.bad_range("bytes 0-25727/25728", b"x" * 25_728)], [None, None], id="206-unasked"
        ),
        pytest.param([bad.answer(b"<html>login</html>")], [None, None], id="garbage"),
        pytest.param([bad.answer(b"\x93NUMPY\x01\x00")], [None, None], id="garbage-like-npy"),
        pytest.param([bad.answer(GARBAGE_HEADER)], [None, None], id="garbage-in-the-header"),
        pytest.param([bad.drip(1500, 0.01)], [None], id="drips"),
    ],
)
def test_misbehaviour_is_overcome(
    server: bad.Server,
    originals: Path,
    tmp_path: Path,
    tricks: list[bad.Trick],
    ranges: list[str | None],
) -> None:
    put(server, originals)
    server.misbehave(IMAGE_0, *tricks)
    report = fetch_image_0(server, tmp_path / "to")
    assert report.is_complete
    data = (originals / "img_emb/img_emb_0.npy").read_bytes()
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": data}
    assert [request.range for request in server.gets(IMAGE_0)] == ranges


@pytest.mark.parametrize("at", [0, 1, HALF])
def test_resets(server: bad.Server, originals: Path, tmp_path: Path, at: int) -> None:
    put(server, originals)
    server.misbehave(IMAGE_0, bad.reset(at), bad.reset(at))
    assert fetch_image_0(server, tmp_path / "to").is_complete
    data = (originals / "img_emb/img_emb_0.npy").read_bytes()
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": data}
    assert len(server.gets(IMAGE_0)) == 3


def test_all_at_once(server: bad.Server, tmp_path: Path) -> None:
    """Ten shards, each file with misfortunes of its own."""
    originals = make_originals(tmp_path, 10)
    put(server, originals)
    chance = random.Random(1)
    for path in server.files:
        misfortunes = [
            bad.cut(chance.randrange(10_000)),
            bad.reset(chance.randrange(10_000)),
            bad.status(502),
            bad.ignore_range(),
            bad.answer(b"PAR1 but not really PAR1"),
            bad.drip(4000, 0.005),
        ]
        server.misbehave(path, *chance.sample(misfortunes, 3))
    assert fetch(server, tmp_path / "to", range(10), jobs=8).is_complete
    assert contents(tmp_path / "to") == contents(originals)


def test_garbage_instead_of_parquet(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    server.misbehave(METADATA_0, bad.answer(b"PAR1" + bytes(5000) + b"PAR1"))
    assert fetch(server, tmp_path / "to", [0], "metadata").is_complete
    data = (originals / "metadata/metadata_0.parquet").read_bytes()
    assert contents(tmp_path / "to") == {"metadata/metadata_0.parquet": data}


def test_a_file_that_is_always_wrong_ends_soon_and_leaves_nothing(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    server.files[IMAGE_0] = b"this is no npy file"
    report = fetch(server, tmp_path / "to")
    (failed,) = report.failed
    assert "contents are wrong" in failed.reason and ".npy" in failed.reason and failed.size == 0
    assert len(server.gets(IMAGE_0)) == FEW_RETRIES.max_corrupt
    wanted = contents(originals)
    del wanted["img_emb/img_emb_0.npy"]
    assert contents(tmp_path / "to") == wanted


def test_it_gives_up_only_after_tries_that_bring_nothing(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    server.misbehave(IMAGE_0, *[bad.cut(1000)] * 20, *[bad.status(500)] * 10)
    report = fetch_image_0(server, tmp_path / "to")
    (failed,) = report.failed
    assert "500" in failed.reason and "given up" in failed.reason
    requests = server.gets(IMAGE_0)
    assert len(requests) == 20 + FEW_RETRIES.max_attempts
    assert requests[-1].range == "bytes=20000-"
    server._tricks.clear()
    assert fetch_image_0(server, tmp_path / "to").is_complete
    assert server.gets(IMAGE_0)[-1].range == "bytes=20000-"
    data = (originals / "img_emb/img_emb_0.npy").read_bytes()
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": data}


def test_cuts_without_range_end_too(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    server.sends = set()
    server.default_trick = bad.cut(HALF)
    (failed,) = fetch_image_0(server, tmp_path / "to").failed
    assert "12,000 of 25,728" in failed.reason or "connection broke" in failed.reason
    assert len(server.gets(IMAGE_0)) == FEW_RETRIES.max_attempts + 1
    assert {request.range for request in server.gets(IMAGE_0)} == {None}


def test_silence_is_a_failed_try(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    hanging, until = threading.Event(), threading.Event()
    server.misbehave(IMAGE_0, bad.hang(HALF, hanging, until))
    retry = RetryPolicy(max_attempts=3, first_wait=0.01, timeout=0.5)
    report = download([0], tmp_path / "to", server.url, ["image"], retry=retry)
    until.set()
    assert report.is_complete
    assert server.gets(IMAGE_0)[1].range == "bytes=12000-"
    assert contents(tmp_path / "to")["img_emb/img_emb_0.npy"] == server.files[IMAGE_0]


# Retry-After


def test_retry_after_seconds(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    server.misbehave(IMAGE_0, bad.status(429, Retry_After="1"))
    assert fetch_image_0(server, tmp_path / "to").is_complete
    first, second = server.gets(IMAGE_0)
    assert second.at - first.at >= 1.0
    assert contents(tmp_path / "to")["img_emb/img_emb_0.npy"] == server.files[IMAGE_0]


def test_retry_after_date(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    date = (datetime.now(timezone.utc) + timedelta(seconds=2)).replace(microsecond=0)
    not_before = time.monotonic() + date.timestamp() - time.time()
    server.misbehave(IMAGE_0, bad.status(503, Retry_After=format_datetime(date, usegmt=True)))
    assert fetch_image_0(server, tmp_path / "to").is_complete
    _, second = server.gets(IMAGE_0)
    assert second.at >= not_before - 0.01
    assert contents(tmp_path / "to")["img_emb/img_emb_0.npy"] == server.files[IMAGE_0]


def test_retry_after_of_a_day_ends_the_file(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    server.misbehave(IMAGE_0, bad.status(429, Retry_After="86400"))
    (failed,) = fetch_image_0(server, tmp_path / "to").failed
    assert "429" in failed.reason and "86,400 s" in failed.reason


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e9", "Sat, 99 Nonsense"])
def test_retry_after_of_no_sense_is_none(text: str) -> None:
    assert retry_after_seconds(text) is None


# The file changes between tries


@pytest.mark.parametrize("sends", [("ETag", "Last-Modified"), ("ETag",), ()], ids=str)
@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_changed_file_is_the_new_one_whole(
    server: bad.Server,
    originals: Path,
    tmp_path: Path,
    sends: tuple[str, ...],
    ignores_if_range: bool,
) -> None:
    put(server, originals)
    make_shard(tmp_path / "new", 0, ROWS, DIM, seed=99)  # as long as the old one, as shards are
    new = (tmp_path / "new/img_emb/img_emb_0.npy").read_bytes()
    assert len(new) == len(server.files[IMAGE_0]) and new != server.files[IMAGE_0]
    server.sends, server.ignores_if_range = set(sends), ignores_if_range
    server.misbehave(IMAGE_0, bad.cut_and_change(HALF, new))
    assert fetch_image_0(server, tmp_path / "to").is_complete
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": new}


@pytest.mark.parametrize(
    ("sends", "weak", "resumed"),
    [
        ({"ETag"}, False, True),
        ({"Last-Modified"}, False, True),
        ({"ETag", "Last-Modified"}, True, True),
        ({"ETag"}, True, False),
        (set(), False, False),
    ],
)
def test_resumes_only_what_can_be_told_apart(
    server: bad.Server,
    originals: Path,
    tmp_path: Path,
    sends: set[str],
    weak: bool,
    resumed: bool,
) -> None:
    put(server, originals)
    server.sends, server.weak_etags = sends, weak
    server.misbehave(IMAGE_0, bad.cut(HALF))
    assert fetch_image_0(server, tmp_path / "to").is_complete
    assert server.gets(IMAGE_0)[1].range == ("bytes=12000-" if resumed else None)
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": server.files[IMAGE_0]}


def leave_part(server: bad.Server, to: Path) -> Path:
    """A part of HALF bytes, as a run that was killed leaves it."""
    server.misbehave(IMAGE_0, bad.cut(HALF), *[bad.status(500)] * FEW_RETRIES.max_attempts)
    assert len(fetch_image_0(server, to).failed) == 1
    part = to / "img_emb/img_emb_0.npy.part"
    assert part.read_bytes() == server.files[IMAGE_0][:HALF]
    return part


@pytest.mark.parametrize("note", [None, "", "{", "[]", '{"url": 1}', '{"size": "x"}'])
def test_a_part_without_a_good_note_is_not_trusted(
    server: bad.Server, originals: Path, tmp_path: Path, note: str | None
) -> None:
    put(server, originals)
    part = leave_part(server, tmp_path / "to")
    sidecar = part.with_name(part.name + ".json")
    sidecar.unlink() if note is None else sidecar.write_text(note)
    part.write_bytes(b"?" * HALF)
    assert fetch_image_0(server, tmp_path / "to").is_complete
    assert server.gets(IMAGE_0)[-1].range is None
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": server.files[IMAGE_0]}


def test_a_part_of_another_address_is_not_trusted(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    put(server, originals, "/mirror")
    leave_part(server, tmp_path / "to")
    assert fetch(f"{server.url}/mirror", tmp_path / "to", [0], "image").is_complete
    assert server.gets("/mirror" + IMAGE_0)[-1].range is None
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": server.files[IMAGE_0]}


def test_a_part_that_was_whole_is_only_renamed(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    part = leave_part(server, tmp_path / "to")
    part.write_bytes(server.files[IMAGE_0])
    before = len(server.gets(IMAGE_0))
    assert fetch_image_0(server, tmp_path / "to").is_complete
    assert len(server.gets(IMAGE_0)) == before
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": server.files[IMAGE_0]}


def test_two_downloads_do_not_mix(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    with PartialFile(tmp_path / "to/img_emb/img_emb_0.npy"):
        report = fetch(server, tmp_path / "to")
    (failed,) = report.failed
    assert "another download" in failed.reason
    assert len(report.fetched) == 8
    assert fetch(server, tmp_path / "to").is_complete
    assert contents(tmp_path / "to") == contents(originals)


# What is not there


def test_404_ends_that_file_only(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    del server.files["/text_emb/text_emb_1.npy"]
    report = fetch(server, tmp_path / "to")
    (missing,) = report.missing
    assert (missing.shard, missing.kind, missing.size) == (1, "text", 0)
    assert "404" in missing.reason
    assert len(report.fetched) == 8 and not report.is_complete
    assert len(server.gets("/text_emb/text_emb_1.npy")) == 1
    wanted = contents(originals)
    del wanted["text_emb/text_emb_1.npy"]
    assert contents(tmp_path / "to") == wanted


def test_403_ends_that_file_only(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    server.misbehave("/text_emb/text_emb_1.npy", bad.status(403))
    report = fetch(server, tmp_path / "to")
    (failed,) = report.failed
    assert "refused (403" in failed.reason
    assert len(report.fetched) == 8
    assert fetch(server, tmp_path / "to").is_complete
    assert contents(tmp_path / "to") == contents(originals)


def test_nothing_at_all_at_the_source(server: bad.Server, tmp_path: Path) -> None:
    report = fetch(server, tmp_path / "to")
    assert len(report.missing) == 9
    assert contents(tmp_path / "to") == {}


def test_no_server(tmp_path: Path) -> None:
    with bad.serving() as gone:
        url = gone.url
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1.*no connection.*--from") as caught:
        fetch(url, tmp_path / "to")
    assert caught.value.exit_code == 1


def test_a_server_that_answers_badly_at_first(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals, "/x")
    server.head_status = 503
    told: list[str] = []

    def tell(step: Step) -> None:
        told.append(step.state)
        server.head_status = None

    report = download([0], tmp_path / "to", f"{server.url}/x", progress=tell, retry=FEW_RETRIES)
    assert report.is_complete and told[0] == "asking"
    assert contents(tmp_path / "to").items() < contents(originals).items()


# Where the files are


@pytest.mark.parametrize(
    "layout", [("img_emb", "text_emb", "metadata"), ("images", "texts", "metadata"), ("", "", "")]
)
@pytest.mark.parametrize("digits", [0, 4])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_names_in_use_are_found_out(
    server: bad.Server, tmp_path: Path, layout: tuple[str, str, str], digits: int, slash: str
) -> None:
    for number in (3, 12):
        make_shard(tmp_path / "theirs", number, ROWS, DIM, layout=layout, digits=digits)
        make_shard(tmp_path / "ours", number, ROWS, DIM)
    put(server, tmp_path / "theirs", "/some/where")
    report = fetch(f"{server.url}/some/where{slash}", tmp_path / "to", [3, 12])
    assert report.is_complete
    assert contents(tmp_path / "to") == contents(tmp_path / "ours")
    assert len([r for r in server.requests if r.method == "GET"]) == 6


def test_metadata_in_a_folder_named_after_the_source(server: bad.Server, tmp_path: Path) -> None:
    """As LAION-5B's embeddings have it."""
    layout = ("img_emb", "text_emb", "laion2B-en-metadata")
    make_shard(tmp_path / "theirs", 7, ROWS, DIM, layout=layout, digits=4)
    make_shard(tmp_path / "ours", 7, ROWS, DIM)
    put(server, tmp_path / "theirs", "/embeddings/laion2B-en")
    assert fetch(f"{server.url}/embeddings/laion2B-en", tmp_path / "to", [7]).is_complete
    assert contents(tmp_path / "to") == contents(tmp_path / "ours")


@pytest.mark.parametrize("status", [405, 403, 501])
def test_a_server_without_head(
    server: bad.Server, originals: Path, tmp_path: Path, status: int
) -> None:
    put(server, originals, "/x")
    server.head_status = status
    assert fetch(f"{server.url}/x", tmp_path / "to").is_complete
    assert contents(tmp_path / "to") == contents(originals)


@pytest.mark.parametrize(
    "template", ["images/img_emb_{n:03d}.npy", "metadata/metadata_{n:03d}.parquet"]
)
def test_from_a_template(server: bad.Server, tmp_path: Path, template: str) -> None:
    layout = ("images", "texts", "metadata")
    make_shard(tmp_path / "theirs", 7, ROWS, DIM, layout=layout, digits=3)
    make_shard(tmp_path / "ours", 7, ROWS, DIM)
    put(server, tmp_path / "theirs", "/x")
    assert fetch(f"{server.url}/x/{template}", tmp_path / "to", [7]).is_complete
    assert contents(tmp_path / "to") == contents(tmp_path / "ours")


def test_what_follows_from_a_template() -> None:
    image, text, metadata = KINDS.values()
    template = "s3://b/texts/text_emb_{n:04d}.npy"
    assert url_templates(template, text) == [template]
    assert url_templates(template, image) == ["s3://b/images/img_emb_{n:04d}.npy"]
    assert url_templates(template, metadata) == ["s3://b/metadata/metadata_{n:04d}.parquet"]
    flat = "https://h/img_emb_{n}.npy?key={n}"
    assert url_templates(flat, metadata) == ["https://h/metadata_{n}.parquet?key={n}"]
    assert url_templates("https://h/metadata/metadata_{n}.parquet", image) == [
        "https://h/img_emb/img_emb_{n}.npy",
        "https://h/images/img_emb_{n}.npy",
    ]
    assert file_url("s3://b/{n:04d}.npy", 12) == "s3://b/0012.npy"
    assert url_templates("https://h/vectors_{n}.npy", image, only_kind=True) == [
        "https://h/vectors_{n}.npy"
    ]
    with pytest.raises(UserError, match="--only"):
        url_templates("https://h/vectors_{n}.npy", image)
    with pytest.raises(UserError, match="braces"):
        file_url("https://h/{m}/img_emb_{n}.npy", 1)


def test_the_guides_address_needs_no_asking() -> None:
    assert [url_templates(DEFAULT_SOURCE, kind) for kind in KINDS.values()] == [
        [f"{DEFAULT_SOURCE}/img_emb/img_emb_{{n}}.npy"],
        [f"{DEFAULT_SOURCE}/text_emb/text_emb_{{n}}.npy"],
        [f"{DEFAULT_SOURCE}/metadata/metadata_{{n}}.parquet"],
    ]


def test_secrets_are_not_shown() -> None:
    assert redact("https://me:secret@h:1/x?sig=secret") == "https://h:1/x"


@pytest.mark.parametrize("where", ["memory", "file", "path"])
def test_from_an_fsspec_store(originals: Path, tmp_path: Path, where: str) -> None:
    if where == "memory":
        base = f"memory://{tmp_path.name}-{os.getpid()}"
        store = fsspec.filesystem("memory")
        for name, data in contents(originals).items():
            store.pipe(f"{base}/{name}", data)
    else:
        base = f"file://{originals}" if where == "file" else str(originals)
    report = fetch(base, tmp_path / "to", [0, 1, 2, 3], "image,metadata")
    assert {(file.shard, file.kind) for file in report.missing} == {(3, "image"), (3, "metadata")}
    wanted = {k: v for k, v in contents(originals).items() if not k.startswith("text_emb")}
    assert contents(tmp_path / "to") == wanted


@pytest.mark.parametrize("changed", [False, True])
def test_resumes_from_an_fsspec_store(originals: Path, tmp_path: Path, changed: bool) -> None:
    shutil.copytree(originals, tmp_path / "theirs")
    base, name = f"file://{tmp_path}/theirs", "img_emb/img_emb_0.npy"

    class StopError(DownloadError):
        pass

    def stop() -> None:
        if part.size >= HALF:
            raise StopError

    with pytest.raises(StopError), PartialFile(tmp_path / "to" / name) as part:
        store = FsspecStore(base, block=HALF)
        store.fetch(f"{base}/{name}", part, stop)
    if changed:
        make_shard(tmp_path / "theirs", 0, ROWS, DIM, seed=99)
        os.utime(tmp_path / "theirs" / name, (1, 1))
    data = (tmp_path / "theirs" / name).read_bytes()
    report = fetch(base, tmp_path / "to", [0], "image")
    assert report.is_complete
    assert report.arrived == len(data) - (0 if changed else HALF)
    assert contents(tmp_path / "to") == {name: data}


def test_an_fsspec_file_that_changes_while_it_is_read(originals: Path, tmp_path: Path) -> None:
    shutil.copytree(originals, tmp_path / "theirs")
    base, name = f"file://{tmp_path}/theirs", "img_emb/img_emb_0.npy"

    def change() -> None:
        os.utime(tmp_path / "theirs" / name, (1, 1))

    with PartialFile(tmp_path / "to" / name) as part:
        with pytest.raises(TransientError, match="changed"):
            FsspecStore(base).fetch(f"{base}/{name}", part, change)
        assert part.size == 0


def test_a_store_nothing_can_open(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nosuch://"):
        fetch("nosuch://bucket/x", tmp_path / "to")


# Disks


@pytest.mark.parametrize("where", ["a file", "in a file", "nowhere"])
def test_no_place_to_write(server: bad.Server, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("in the way")
    to = {"a file": tmp_path / "file", "in a file": tmp_path / "file/x", "nowhere": Path("/proc/x")}
    with pytest.raises(UserError, match=f"^{to[where]}.*cannot be written") as caught:
        fetch(server, to[where])
    assert caught.value.exit_code == 2
    assert server.requests == []


def test_a_part_that_cannot_be_written_ends_the_run(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    (tmp_path / "to/img_emb/img_emb_1.npy.part").mkdir(parents=True)
    with pytest.raises(UserError, match=r"img_emb_1\.npy\.part: cannot be written"):
        fetch(server, tmp_path / "to")


def test_a_full_disk_keeps_the_part(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    """A limit on file sizes stands in for a full disk: it needs no rights and acts as one."""
    put(server, originals)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
    arguments = (0, "--to", tmp_path / "to", "--from", server.url, "--only", "image")
    code, _, err = finish(command(*arguments, code=limit))
    part = tmp_path / "to/img_emb/img_emb_0.npy.part"
    assert code == 1
    assert err.count("\n") == 1 and f"{part}: the disk is full" in err
    assert part.read_bytes() == server.files[IMAGE_0][:20_000]
    assert fetch_image_0(server, tmp_path / "to").is_complete
    assert server.gets(IMAGE_0)[-1].range == "bytes=20000-"
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": server.files[IMAGE_0]}


def test_a_truly_full_disk(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount; a limit on file sizes stands in for it above")
    try:
        with pytest.raises(DownloadError, match=r"\.part.*the disk is full") as caught:
            fetch(server, disk)
        assert os.strerror(errno.ENOSPC) in str(caught.value)
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        report = fetch(server, disk)
        assert report.is_complete
        assert any(request.range for request in server.requests)
        assert contents(disk) == contents(originals)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# The command


def test_the_summary_and_the_exit_code(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    del server.files["/text_emb/text_emb_1.npy"]
    arguments = ("0-2", "--to", tmp_path / "to", "--from", server.url)
    code, out, err = finish(command(*arguments))
    assert code == 1
    assert out.splitlines()[1].split(maxsplit=3) == [
        *("text", "1", "missing"),
        "not there (404 Not Found)",
    ]
    assert "8 fetched" in out and "0 already there, 1 missing, 0 failed" in out
    assert "img_emb_0.npy: 25.7 kB" in err and "text_emb_1.npy: missing" in err
    code, out, _ = finish(command(*arguments, "--json"))
    document = json.loads(out)
    assert code == 1 and document["is_complete"] is False
    assert {file["outcome"] for file in document["files"]} == {"there", "missing"}
    cli.command("0-2", tmp_path / "to", server.url, only="image")  # exit code 0: no typer.Exit


@pytest.mark.parametrize(
    ("shards", "only", "source"),
    [("5-3", "image", None), ("0", "pictures", None), ("0", "image", "nosuch://x")],
)
def test_the_users_mistakes(tmp_path: Path, shards: str, only: str, source: str | None) -> None:
    with pytest.raises(UserError):
        cli.command(shards, tmp_path, source or DEFAULT_SOURCE, only=only)


def test_bars_on_a_terminal(
    server: bad.Server, originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, originals)
    del server.files["/text_emb/text_emb_1.npy"]
    server.misbehave(IMAGE_0, bad.drip(1500, 0.03))
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(show, "err", terminal)
    with pytest.raises(typer.Exit):
        cli.command("0-2", tmp_path / "to", server.url)
    assert "of 9 files" in screen.getvalue() and "img_emb_0.npy" in screen.getvalue()
    assert "text_emb_1.npy: missing" in screen.getvalue()


def test_progress_adds_up(server: bad.Server, originals: Path, tmp_path: Path) -> None:
    put(server, originals)
    leave_part(server, tmp_path / "to")
    server.misbehave(METADATA_0, bad.status(500))
    steps: list[Step] = []
    report = download(
        [0, 1, 2], tmp_path / "to", server.url, progress=steps.append, retry=FEW_RETRIES
    )
    total = sum(map(len, contents(originals).values()))
    assert steps[-1].arrived == steps[-1].expected == report.arrived == total - HALF
    assert steps[-1].files_over == steps[-1].files == 9
    assert [(s.name, s.reason[:3]) for s in steps if s.state == "waiting"] == [
        ("metadata_0.parquet", "500")
    ]
    assert len([step for step in steps if step.state == "fetched"]) == 9


def test_an_interrupt_ends_at_once_and_leaves_parts(
    server: bad.Server, originals: Path, tmp_path: Path
) -> None:
    put(server, originals)
    hanging, until = threading.Event(), threading.Event()
    server.misbehave(IMAGE_0, bad.hang(HALF, hanging, until))
    arguments = (0, "--to", tmp_path / "to", "--from", server.url, "--only", "image")
    process = command(*arguments)
    assert hanging.wait(30)
    part = tmp_path / "to/img_emb/img_emb_0.npy.part"
    wait_until(lambda: part.exists() and part.stat().st_size == HALF)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    code, _, err = finish(process)
    assert time.monotonic() - asked < 45  # the server would hang for longer
    assert code == 130, err
    until.set()
    assert fetch_image_0(server, tmp_path / "to").is_complete
    assert server.gets(IMAGE_0)[-1].range == "bytes=12000-"
    assert contents(tmp_path / "to") == {"img_emb/img_emb_0.npy": server.files[IMAGE_0]}
