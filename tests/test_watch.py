"""Changes of a folder are followed while they happen."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from pathlib import Path

import httpx

from cliphouse.pictures.watch import quiet_moments
from pictures_model import picture_bytes
from test_serve_cli import serve


def test_quiet_moments_come_after_changes(tmp_path: Path) -> None:
    """One at the start, and one when a file is whole that was written in parts."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    stop = threading.Event()
    moments: queue.Queue[tuple[float, int]] = queue.Queue()

    def look() -> None:
        for _ in quiet_moments(folder, stop):
            sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
            moments.put((time.monotonic(), sum(sizes)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert moments.get(timeout=20)[1] == 0
        (folder / "deep").mkdir()
        with (folder / "deep" / "slow.png").open("wb") as stream:
            for _ in range(8):
                stream.write(b"x" * 100)
                stream.flush()
                threading.Event().wait(0.1)
        written = time.monotonic()
        seen = [moments.get(timeout=20)]
        while seen[-1][1] < 800:
            seen.append(moments.get(timeout=20))
        assert seen[-1][0] - written < 5
        assert {size for _, size in seen} <= {0, 800}
    finally:
        stop.set()
        thread.join()


def test_a_served_folder_is_followed(tmp_path: Path) -> None:
    """A new picture is found within five seconds, one that is deleted is no longer found, and the
    service answers all the while."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        (folder / f"old {number}.png").write_bytes(picture_bytes(number))

    with serve(tmp_path, "--sync", "pictures", "--model", "tiny", "--db", "my.chdb") as running:

        def names() -> set[str]:
            answer = httpx.post(f"{running.address}/api/search", json={"words": "a star", "k": 9})
            return {Path(hit["url"]).name for hit in answer.raise_for_status().json()["hits"]}

        def wait_for(name: str, is_there: bool) -> float:
            started = time.monotonic()
            while (name in names()) != is_there:
                assert time.monotonic() - started < 20
            return time.monotonic() - started

        assert names() == {f"old {number}.png" for number in range(4)}
        (folder / "new.png").write_bytes(picture_bytes(7))
        assert wait_for("new.png", True) < 5
        (folder / "old 1.png").unlink()
        wait_for("old 1.png", False)
        shutil.move(folder / "old 2.png", folder / "renamed.png")
        wait_for("renamed.png", True)
        assert names() == {"new.png", "old 0.png", "old 3.png", "renamed.png"}
        hit = httpx.post(f"{running.address}/api/search", json={"words": "a star", "k": 1}).json()
        shown = httpx.get(f"{running.address}/api/image/{hit['hits'][0]['id']}")
        assert shown.headers["content-type"] == "image/png"
