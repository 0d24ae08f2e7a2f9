"""Pictures and lists on a terminal: what was printed is decoded again and compared."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import termios
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps
from rich.console import Console
from typer.testing import CliRunner

from cliphouse.cli import show
from cliphouse.cli.app import app
from cliphouse.cli.formats import Format, write
from cliphouse.cli.hit_pictures import Source, page_address
from cliphouse.cli.hits import draw_hits
from cliphouse.cli.recall import draw as draw_recall
from cliphouse.cli.rows import draw_rows, draw_vertical
from cliphouse.cli.terminal import screen as screens
from cliphouse.cli.terminal.paint import paint
from cliphouse.cli.terminal.screen import CellSize, Protocol, Screen, ask
from cliphouse.client import Client
from cliphouse.errors import QueryError
from cliphouse.search.hits import Hit
from cliphouse.search.query.operand import operands_of
from cliphouse.search.request import Request
from cliphouse.search.results import SearchResult, SearchStats
from cliphouse.server.keys import hash_key
from cliphouse.server.settings import ServeSettings
from cliphouse.vocabulary import Measured
from conftest import Run
from serving import Drawn, serving
from terminal import (
    CELL_10_20,
    KITTY_OK,
    LAST_QUESTION,
    VT220,
    VT340,
    Terminal,
    iterm2_pictures,
    kitty_pictures,
    sixel_pictures,
)

KEY = "three-words-of-yours"
XTERM = {"TERM": "xterm-256color"}
PROTOCOLS = {Protocol.KITTY: kitty_pictures, Protocol.ITERM2: iterm2_pictures}


def console(width: int = 80, **options: object) -> Console:
    """A terminal in memory, that keeps what it is told."""
    chosen: dict[str, object] = {"force_terminal": True, "color_system": "truecolor"}
    return Console(
        file=io.StringIO(),
        width=width,
        height=24,
        highlight=False,
        soft_wrap=True,
        emoji=False,
        _environ={},
        **(chosen | options),  # type: ignore[arg-type]
    )


def printed(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def picture(width: int, height: int, colours: int = 40) -> Image.Image:
    """A few colours in random places, and a corner that is transparent."""
    random = np.random.default_rng(7)
    palette = random.integers(0, 256, (colours, 4), dtype=np.uint8)
    palette[:, 3] = 255
    pixels = palette[random.integers(0, colours, (height, width))]
    pixels[:5, :9] = 0
    return Image.fromarray(pixels, "RGBA")


@pytest.mark.parametrize(
    ("environment", "answers", "expected"),
    [
        (XTERM, KITTY_OK + CELL_10_20 + VT340, Protocol.KITTY),
        (XTERM, b"\x1b_Gi=31;ENOTSUP:no\x1b\\" + VT220, Protocol.BLOCKS),
        (XTERM, b"\x1bP>|WezTerm 20260101\x1b\\" + VT340, Protocol.ITERM2),
        (XTERM | {"TERM_PROGRAM": "iTerm.app"}, VT220, Protocol.ITERM2),
        (XTERM | {"LC_TERMINAL": "iTerm2"}, VT220, Protocol.ITERM2),
        (XTERM | {"LC_TERMINAL": "iTerm2", "TMUX": "/tmp/x,1,0"}, VT340, Protocol.SIXEL),
        ({"TERM": "screen", "TERM_PROGRAM": "iTerm.app"}, VT220, Protocol.BLOCKS),
        (XTERM, VT340, Protocol.SIXEL),
        (XTERM, b"\x1b[?64;14;44c", Protocol.BLOCKS),
        (XTERM, b"", Protocol.BLOCKS),
        ({"TERM": "dumb"}, VT340, Protocol.BLOCKS),
        (XTERM | {"TERM_PROGRAM": "Apple_Terminal"}, VT340, Protocol.BLOCKS),
    ],
)
def test_the_terminal_says_what_it_can_show(
    environment: dict[str, str],
    answers: bytes,
    expected: Protocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not answers:
        monkeypatch.setattr(screens, "_SECONDS", 0.05)
    terminal = Terminal(answers)
    before = termios.tcgetattr(terminal.theirs)
    found = ask(terminal.theirs, environment)
    assert termios.tcgetattr(terminal.theirs) == before
    terminal.close()
    assert found.protocol is expected
    assert found.cell == CellSize(10, 20)
    is_asked = environment["TERM"] != "dumb" and "Apple_Terminal" not in environment.values()
    is_within = "TMUX" in environment or environment["TERM"] == "screen"
    assert (LAST_QUESTION in terminal.printed) == is_asked
    assert (b"a=q" in terminal.printed) == (is_asked and not is_within)


def test_what_is_typed_ahead_stays() -> None:
    terminal = Terminal(b"\x1b[6;30;14t" + VT340 + b"typed\n")
    assert ask(terminal.theirs, XTERM) == Screen(Protocol.SIXEL, CellSize(14, 30))
    # What came in one piece with the answer is gone; what comes behind it is for the next reader.
    terminal.type("more\n")
    assert os.read(terminal.theirs, 100).endswith(b"more\n")
    terminal.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pictures_arrive_as_they_are(protocol: Protocol) -> None:
    image = picture(200, 100)
    to = console()
    paint(image, 20, 5, Screen(protocol, CellSize(10, 20)), to)
    (shown,) = PROTOCOLS[protocol](printed(to))
    assert np.array_equal(np.asarray(shown), np.asarray(image))
    assert printed(to).startswith("\n\n\n\n\n\x1b[5A\x1b7")
    assert printed(to).endswith("\x1b8\x1b[5B\r")


@pytest.mark.parametrize("height", [96, 100])
def test_a_sixel_has_the_pixels_of_the_picture(height: int) -> None:
    image = picture(120, height)
    to = console()
    paint(image, 12, 5, Screen(Protocol.SIXEL, CellSize(10, 20)), to)
    (shown,) = sixel_pictures(printed(to))
    given, decoded = np.asarray(image).astype(int), np.asarray(shown).astype(int)
    assert np.array_equal(given[:, :, 3], decoded[:, :, 3])
    # A sixel's colours are in percent.
    assert np.abs(given - decoded)[given[:, :, 3] > 0].max() <= 2


def test_blocks_have_two_pixels_in_each_character() -> None:
    image = picture(4, 6, colours=30)
    pixels = np.asarray(image).copy()
    pixels[:, :, 3] = 255
    pixels[1, 0, 3] = pixels[2, 1, 3] = pixels[4, 2, 3] = pixels[5, 2, 3] = 0
    to = console()
    paint(Image.fromarray(pixels, "RGBA"), 4, 3, Screen(Protocol.BLOCKS, CellSize()), to)
    seen = np.zeros((6, 4, 4), np.uint8)
    for row, line in enumerate(printed(to).splitlines()):
        cells = re.findall(r"(?:\x1b\[([\d;]+)m)?([▀▄ ])(?:\x1b\[0m)?", line)
        assert len(cells) == 4
        for column, (codes, half) in enumerate(cells):
            colours = re.findall(r"([34])8;2;(\d+);(\d+);(\d+)", codes)
            by_kind = {kind: (*map(int, rgb), 255) for kind, *rgb in colours}
            upper = by_kind.get("3") if half == "▀" else None
            lower = by_kind.get("3") if half == "▄" else by_kind.get("4")
            seen[2 * row, column] = upper or 0
            seen[2 * row + 1, column] = lower or 0
    assert np.array_equal(seen, np.where(pixels[:, :, 3:] > 0, pixels, 0))


def test_without_colours_light_places_are_full() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (20, 0, 40, 20))
    image.paste((128, 128, 128), (0, 0, 20, 10))
    to = console(no_color=True)
    paint(image, 4, 2, Screen(Protocol.BLOCKS, CellSize()), to)
    assert printed(to) == "▒▒██\n  ██\n"


def test_a_search_shows_its_pictures(drawn: Drawn) -> None:
    """The whole command in a terminal that knows kitty's pictures."""
    terminal = Terminal(KITTY_OK + CELL_10_20 + VT220)
    command = [sys.executable, "-m", "cliphouse", "search", "id:7", "--show", "-k", "5"]
    process = terminal.start([*command, "--db", str(drawn.db)], drawn.folder, XTERM)
    assert process.wait(60) == 0, terminal.text
    terminal.close()
    strips = kitty_pictures(terminal.text)
    assert [strip.size for strip in strips] == [(700, 220), (460, 220)]  # three, and two
    urls = re.findall(r"(/\S+\.jpg)\r\n", terminal.text)
    assert len(urls) == 5
    for number, url in enumerate(urls):
        small = ImageOps.contain(Image.open(url).convert("RGB"), (220, 220))
        left = number % 3 * 240
        box = (left, 220 - small.height, left + small.width, 220)
        shown = strips[number // 3].crop(box).convert("RGB")
        assert np.array_equal(np.asarray(shown), np.asarray(small)), url
    assert re.search(r"1  1\.000 +2  0\.\d{3} +3  0\.\d{3}\r\n", terminal.text)


@pytest.mark.parametrize(
    ("arguments", "named", "said"),
    [
        ([], "", "the output is none: use --open"),
        ([], "vt52", "must be one of kitty, iterm2, sixel, blocks"),
        (["--json"], "kitty", "leave --format, --json and -o out"),
    ],
)
def test_pictures_need_a_terminal_and_the_table(
    arguments: list[str], named: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPHOUSE_TERMINAL", named)
    result = CliRunner().invoke(app, ["search", "id:7", "--show", *arguments])
    assert isinstance(result.exception, QueryError)
    assert said in str(result.exception)


def test_a_pipe_gets_pictures_if_their_protocol_is_named(drawn: Drawn, run: Run) -> None:
    asked = ("search", "id:7", "--show", "-k", 2, "--db", drawn.db)
    assert len(iterm2_pictures(run(*asked, CLIPHOUSE_TERMINAL="iterm2").stdout)) == 1


def test_a_picture_that_is_gone_is_named(drawn: Drawn, run: Run, tmp_path: Path) -> None:
    statement = (
        "CREATE TABLE laion (id Int64, url String, caption String, image_embedding Array(Float32)) "
        "ENGINE = MergeTree ORDER BY id; INSERT INTO laion VALUES "
        "(1, '/no/\x1b[31mfile.jpg', 'gone', [1, 0]), (2, '/nor/this.jpg', '', [0, 1])"
    )
    (tmp_path / "gone.chdb").mkdir()
    assert run("sql", statement, "--db", "gone.chdb").returncode == 0
    shown = run("search", "id:1", "--show", "--db", "gone.chdb", CLIPHOUSE_TERMINAL="kitty")
    reason = "2 of 2 pictures cannot be shown, the first because: /no/ [31mfile.jpg: no such file"
    assert reason in shown.stderr
    assert "no picture" in shown.stdout
    assert re.search(r"^gone +this\.jpg$", shown.stdout, re.MULTILINE)
    assert "\x1b" not in shown.stdout
    opened = run("search", "id:1", "--open", "--db", "gone.chdb")
    assert opened.returncode == 2
    assert "no hit has a picture that can be read" in opened.stderr


def test_a_service_sends_its_pictures(drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ServeSettings(db=str(drawn.db), pictures=(drawn.pictures,), keys=(hash_key(KEY),))
    with serving(settings) as served:
        with Client(served.url, KEY) as service:
            (found,) = service.search_many(["id:7"], Request(k=2))
        absent = replace(found[1], id=10**9)
        first, gone = Source(served.url, KEY).load([found[0], absent])
    assert gone is None
    assert "1 of 2 pictures cannot be shown" in capsys.readouterr().err
    assert first is not None
    original = Image.open(found[0].url)
    assert first.size == original.size
    difference = np.asarray(first).astype(int) - np.asarray(original.convert("RGB"))
    assert np.abs(difference).mean() < 3  # a JPEG of a JPEG


def test_open_shows_a_contact_sheet(drawn: Drawn, run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "opened"
    os.mkfifo(pipe)
    viewer = tmp_path / "xdg-open"
    viewer.write_text(f'#!/bin/sh\necho "$1" > {pipe}\n')
    viewer.chmod(0o755)
    found = run(
        *("search", "id:7", "--open", "-k", 4, "--db", drawn.db),
        PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        TMPDIR=str(tmp_path),
    )
    assert found.returncode == 0
    name = pipe.read_text().strip()
    assert f"contact sheet: {name}" in found.stderr
    with Image.open(name) as sheet:
        assert sheet.width > 5 * 200
        assert len(sheet.getcolors(sheet.width * sheet.height) or ()) > 50
    assert len(found.stdout.splitlines()) == 5


def test_the_address_of_a_search_on_the_page() -> None:
    operands = operands_of("red & blue", ["2:id:7"], ["https://e.org/a b.jpg".replace(" ", "%20")])
    request = Request(modality="text", dedup=0.9, sort="-width")
    address = page_address("http://127.0.0.1:1234/", operands, request, "cats")
    parts = urlsplit(address)
    assert (parts.netloc, parts.path) == ("127.0.0.1:1234", "/")
    assert parse_qsl(parts.query) == [
        ("q", "red & blue"),
        ("part", "2:row:7"),
        ("part", "-1:url:https://e.org/a%20b.jpg"),
        *(("modality", "text"), ("sort", "-width"), ("dedup", "0.9"), ("table", "cats")),
    ]
    with pytest.raises(QueryError, match="cannot hold a file"):
        page_address("http://x", operands_of([1.0, 0.0]), request, None)


@pytest.mark.parametrize("width", [20, 60, 100, 200])
def test_a_path_is_whole_on_the_line_of_its_hit(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = console(width, color_system=None)
    monkeypatch.setattr(show, "out", to)
    paths = ["/a/" + "long/" * 30 + "name of a file.jpg", "3.00\u202fPM.jpg", "/日本/写真.jpg"]
    captions = ["word " * 40, "two\nlines", "写真" * 30]
    rows = list(zip(range(3), captions, paths, strict=True))
    show.lines(("", "caption", "url"), rows, right="r")
    head, *lines = re.sub(r"\x1b\[\d*m", "", printed(to)).splitlines()
    assert head.split() == ["caption", "url"]
    assert [line[line.index(path) :] for line, path in zip(lines, paths, strict=True)] == paths
    assert lines[1].startswith("1  two lines  ")
    assert all("…" in lines[n] for n in (0, 2))


def test_paths_for_other_programs(drawn: Drawn, run: Run) -> None:
    found = run("search", "id:7", "-k", 3, "--db", drawn.db, "--format", "paths")
    pictures = sorted(drawn.pictures.glob("*.jpg"))
    nearest = drawn.nearest(drawn.image[7])[:3]
    assert found.stdout == "".join(f"{pictures[number]}\n" for number in nearest)
    assert found.stderr == ""


def test_a_path_may_hold_a_line_break(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    rows = pa.table({"url": ["a\nb", "c"], "other": [1, 2]})

    def print_as(form: Format, rows: pa.Table) -> None:
        write(lambda: rows, form, None, lambda: None, lambda: None)

    print_as(Format.PATHS0, rows)
    assert capfdbinary.readouterr().out == b"a\nb\0c\0"
    with pytest.raises(QueryError, match="use --format paths0"):
        print_as(Format.PATHS, rows)
    with pytest.raises(QueryError, match="SELECT path AS url"):
        print_as(Format.PATHS, rows.drop_columns(["url"]))


@pytest.mark.parametrize("width", [20, 40, 200])
def test_a_table_breaks_no_word(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = [
        Measured("image", "image", "exact", 0, 10, 1.0, 7.4, 200, 9000, p95=9.4),
        Measured("image", "text", "hnsw", 256, 10, 0.987, 1.2, 200, 9000, p95=3.4),
    ]
    to = console(width, color_system=None)
    monkeypatch.setattr(show, "out", to)
    draw_recall(measured)
    show.facts([("model", "tiny"), ("database", "a long name /of/a/folder/that/is/too/long")])
    lines = printed(to).splitlines()
    words = printed(to).split()
    assert words[-2:] == ["name", "/of/a/folder/that/is/too/long"]
    for word in ("image", "exact", "hnsw", "256", "0.987", "3.4"):
        assert word in words
    if width == 40:
        assert lines[0] == "query: image  mode: exact"
        assert all(len(line) <= width for line in lines[:6])
    if width == 200:
        assert lines[0].split()[:4] == ["query", "mode", "width", "recall@10"]


def test_frames_of_a_video_are_one_path(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    urls = ["/x/clip.mp4#t=10", "/x/a.jpg", "/x/clip.mp4#t=0", "/x/odd.jpg#t=0", "/x/a.jpg"]
    rows = pa.table({"url": urls})
    write(lambda: rows, Format.PATHS0, None, lambda: None, lambda: None)
    assert capfdbinary.readouterr().out == b"/x/clip.mp4\0/x/a.jpg\0/x/odd.jpg#t=0\0"


@pytest.mark.parametrize(
    "name",
    ["two\nlines.jpg", "\x1b[31mred's \\.jpg", "photo\u202egpj.exe", "\t\x85\U000e0001 é.jpg"],
)
def test_a_shell_reads_an_odd_path_back(name: str) -> None:
    printed = show.path(f"/p/{name}")
    assert printed.isprintable()
    told = subprocess.run(["bash", "-c", f"printf %s {printed}"], capture_output=True, check=True)
    assert told.stdout.decode() == f"/p/{name}"


def test_a_list_of_hits_has_paths_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    to = console(60, color_system=None)
    monkeypatch.setattr(show, "out", to)
    hit = Hit(1, 0.5, 0.5, {"caption": "two\nlines", "url": "/p/two\nlines.jpg"}, missing=True)
    stats = SearchStats("exact", None, 1.0, "", "", "cosine", "image", "text", 1, 0, 0)
    draw_hits(SearchResult((hit,), stats, ""), ("caption", "url"))
    assert printed(to).endswith("  two lines  $'/p/two\\nlines.jpg' (not there)\n")


def test_a_plain_path_is_printed_as_it_is() -> None:
    assert show.path("/a b/it's \\ 3.00\u202fPM 写真.jpg") == "/a b/it's \\ 3.00\u202fPM 写真.jpg"


def test_what_turns_text_round_is_written_out() -> None:
    assert show.plain("a\u202egpj.exe \u2066b\u2069") == r"a\u202egpj.exe \u2066b\u2069"
    hebrew = "\u05e9\u05dc\u05d5\u05dd\u200f.jpg"  # with a mark, which turns nothing round
    assert show.plain(hebrew) == hebrew


def test_a_list_cuts_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    to = console(60, color_system=None)
    monkeypatch.setattr(show, "out", to)
    taken = datetime(2024, 1, 25, 12, 48, 0, 123456, timezone.utc)
    show.lines(("taken", "caption", "url"), [(taken, "word " * 20, "/a/b.jpg")])
    assert str(taken) in printed(to)
    assert "…" in printed(to)


def test_a_bar_has_a_rate_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    to = console(100)
    monkeypatch.setattr(show, "err", to)
    with show.progress("sync", "pictures"):
        pass
    assert "0 pictures/s" in printed(to)


def test_rows_as_blocks(drawn: Drawn, run: Run) -> None:
    values = r"values('a Int8, bb String', (1, 'x\\G'), (2, 'two\nlines'))"
    statement = rf"SELECT * FROM {values} ORDER BY a\G SELECT 3 AS c;"
    found = run("sql", statement, "--db", drawn.db)
    assert found.stdout == (
        "Row 1:\n──────\na:  1\nbb: x\\G\n\nRow 2:\n──────\na:  2\nbb: two lines\n\nc\n3\n"
    )
    chosen = run("sql", "SELECT NULL AS a", "--db", drawn.db, "--format", "vertical")
    assert chosen.stdout == "Row 1:\n──────\na: NULL\n\n"
    refused = run("sql", r"SELECT 1\G", "--db", drawn.db, "--format", "csv")
    assert refused.returncode == 2
    assert "leave it out, or --format csv" in refused.stderr


def test_headings_are_short_and_may_be_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    to = console(200, color_system=None)
    monkeypatch.setattr(show, "out", to)
    rows = pa.table([[7], [1], [2]], [f"length([{'0.1,' * 900}])", "one", "one"])
    draw_rows(rows)
    draw_vertical(rows)
    heading = "length([" + "0.1," * 12 + "0.1…"
    assert [line.rstrip() for line in printed(to).splitlines()][:6] == [
        f"{heading}  one  one",
        f"7{' ' * 61}1    2",
        "Row 1:",
        "──────",
        f"{heading}: 7",
        f"one:{' ' * 58}1",
    ]


def test_rows_wider_than_the_terminal_are_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"a": [1, 2], "text": ["word " * 20, "short"]})
    for width, is_block in ((200, False), (60, True)):
        to = console(width, color_system=None)
        monkeypatch.setattr(show, "out", to)
        draw_rows(rows)
        assert ("Row 2:" in printed(to)) == is_block
    piped = console(60, force_terminal=False, color_system=None)
    monkeypatch.setattr(show, "out", piped)
    draw_rows(rows)
    assert [line.split()[0] for line in printed(piped).splitlines()] == ["a", "1", "2"]


@pytest.mark.parametrize(
    ("share", "seconds", "rows", "said"),
    [(0.5, 10, 1000, "50 rows/s"), (0.5, 10, None, "5.0 %/s"), (0.1, 60, None, "10.0 %/min")],
)
def test_a_build_has_a_rate(share: float, seconds: float, rows: int | None, said: str) -> None:
    assert show.share_rate(share, seconds, rows) == said
    assert show.share_rate(0.01, 7200) == "0.5 %/h"
