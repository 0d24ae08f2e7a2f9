"""cliphouse udf install: an engine that is pointed at the installed files has the functions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cliphouse
from cliphouse.errors import EngineError
from cliphouse.models import load_encoder
from conftest import Run
from standin.process import StandIn
from standin.users import OWNER

FOLDERS = ("--config", "etc", "--scripts", "scripts", "--pictures", "files")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("etc", "scripts", "files"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def server(folders: Path, run: Run) -> Iterator[str]:
    """A server that was installed on, with the tiny model."""
    installed = run("udf", "install", *FOLDERS, "--model", "tiny", "--copies", 2)
    assert installed.returncode == 0, installed.stderr
    config = folders / "etc" / "config.d" / "cliphouse_encode.xml"
    assert str(config) in installed.stdout
    environment = {"PATH": os.environ["PATH"]}  # a server knows nothing of the user's environment
    with StandIn(folders / "server", (OWNER,), config=config, environment=environment) as started:
        yield started.url()


def test_a_server_encodes(folders: Path, server: str, run: Run) -> None:
    told = run("udf", "install", *FOLDERS, "--model", "tiny", "--copies", 2, "--db", server)
    assert told.returncode == 0, told.stderr
    assert "is the same as here" in told.stderr
    assert "s3cret" not in told.stderr
    encoder = load_encoder("tiny")
    picture = Image.new("RGB", (64, 64), "red")
    picture.save(folders / "files" / "red.png")
    picture.save(folders / "red.png")
    with cliphouse.open(server) as table:
        words = "tab\t\\ 'quote'\n"
        (row,) = table.sql(
            "SELECT encode_text({w:String}) AS t, encode_image('red.png') AS i, "
            "encode_image_or_empty('../red.png') AS e",
            {"w": words},
        ).to_pylist()
        np.testing.assert_allclose(row["t"], encoder.encode_text([words])[0], atol=1e-5)
        np.testing.assert_allclose(row["i"], encoder.encode_image([picture])[0], atol=1e-5)
        assert row["e"] == []
        with pytest.raises(cliphouse.PictureError, match=r"\.\./red\.png: outside of"):
            table.sql("SELECT encode_image('../red.png')")


def test_another_model_on_the_server_is_noticed(
    folders: Path, server: str, run: Run, tmp_path: Path
) -> None:
    """The server keeps to its own settings, which the one who asks does not share."""
    from clip_files import make_clip_files

    make_clip_files(tmp_path / "vit")
    with (
        cliphouse.open(server, model="ViT-B/32", model_dir=str(tmp_path / "vit")) as table,
        pytest.raises(EngineError, match=r"encode_text\('cat'\) differs from model ViT-B/32"),
    ):
        table.check_functions()


def test_show_prints_what_install_writes(folders: Path, run: Run) -> None:
    shown = run("udf", "show", *FOLDERS, "--model", "tiny").stdout
    assert list(folders.rglob("*.xml")) == []
    assert run("udf", "install", *FOLDERS, "--model", "tiny").returncode == 0
    written = [path for path in folders.rglob("*") if path.is_file()]
    assert len(written) == 6
    for path in written:
        assert f"==> {path}\n{path.read_text()}" in shown
    before = {path: path.read_bytes() for path in written}
    assert run("udf", "install", *FOLDERS, "--model", "tiny").returncode == 0
    assert {p: p.read_bytes() for p in folders.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scripts", "none", "--model", "tiny"], "none/encode_text: cannot be written: No such"),
        (["--model", "huge"], "'huge' is unknown"),
        (["--model", "ViT-B/32"], "name the folder of its files with --model-dir"),
        (
            ["--model", "tiny", "--db", "http://127.0.0.1:1/x"],
            "127.0.0.1:1/x: nothing listens there",
        ),
    ],
)
def test_mistakes_are_one_line(folders: Path, run: Run, arguments: list[str], said: str) -> None:
    result = run("udf", "install", *FOLDERS, *arguments)
    assert result.returncode in (1, 2)
    (line,) = result.stderr.strip().splitlines()
    assert said in line
