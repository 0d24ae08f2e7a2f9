"""The source archive and the wheel hold what they should, and what is installed from them works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest

import cliphouse

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cliphouse"


@dataclass(frozen=True)
class Built:
    """The two files that would be published."""

    sdist: Path
    wheel: Path

    def sdist_names(self) -> set[str]:
        """The files in the source archive, by their paths below its one folder."""
        with tarfile.open(self.sdist) as archive:
            names = [member.name for member in archive if member.isfile()]
        assert {name.split("/")[0] for name in names} == {self.sdist.name.removesuffix(".tar.gz")}
        return {name.split("/", 1)[1] for name in names}

    def wheel_files(self) -> dict[str, bytes]:
        with zipfile.ZipFile(self.wheel) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, the wheel made from the source archive, as ``python -m build`` does."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return Built(sdist, wheel)


def files_below(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


def test_the_wheel_holds_the_whole_package(built: Built) -> None:
    files = built.wheel_files()
    held = {name for name in files if ".dist-info/" not in name}
    assert held == {p.relative_to(PACKAGE.parent).as_posix() for p in files_below(PACKAGE)}
    assert {
        "cliphouse/py.typed",
        "cliphouse/models/tiny/text/model.onnx",
        "cliphouse/models/tiny/vision/model.onnx",
        "cliphouse/server/static/index.html",
        "cliphouse/server/static/main.js",
        "cliphouse/server/static/styles.css",
    } <= held
    (license_file,) = (name for name in files if name.endswith(".dist-info/licenses/LICENSE"))
    assert files[license_file] == (ROOT / "LICENSE").read_bytes()


def test_the_source_archive_holds_all_that_the_tests_need(built: Built) -> None:
    names = built.sdist_names()
    for folder in ("src", "tests", "tools", "benchmarks", "docs"):
        held = {name for name in names if name.startswith(f"{folder}/")}
        assert held == {p.relative_to(ROOT).as_posix() for p in files_below(ROOT / folder)}
    # deploy/ may hold data and secrets of one's own, which are for nobody else.
    assert {"deploy/compose.yaml", "deploy/cluster/compose.yaml"} <= names
    assert not any("secrets" in name or name.endswith(".env") for name in names)
    single = {
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "mkdocs.yml",
        "pyproject.toml",
    }
    assert {name for name in names if "/" not in name} == {*single, ".gitignore", "PKG-INFO"}


def test_the_version_is_the_same_everywhere(built: Built) -> None:
    (metadata,) = (v for n, v in built.wheel_files().items() if n.endswith(".dist-info/METADATA"))
    headers = HeaderParser().parsestr(metadata.decode())
    assert headers["Version"] == cliphouse.__version__
    assert built.sdist.name == f"cliphouse-{cliphouse.__version__}.tar.gz"
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == cliphouse.__version__
    assert len(set(sections)) == len(sections)


def test_pip_makes_the_same_of_the_source_archive(built: Built, tmp_path: Path) -> None:
    """It builds a wheel from it, and installs that: so the other test is of both."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir"]
    pip = [sys.executable, "-m", "pip", "wheel", "-q", *options, "-w", str(tmp_path)]
    made = subprocess.run([*pip, str(built.sdist)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == built.wheel.name
    assert Built(built.sdist, wheel).wheel_files() == built.wheel_files()


def test_what_is_installed_runs_the_demo(built: Built, tmp_path: Path) -> None:
    """In a fresh environment, which has the libraries of this one, but not its cliphouse."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("PYTHON")}
    work = tmp_path / "work"
    work.mkdir()

    def run(*command: object) -> str:
        result = subprocess.run(
            [*map(str, command)],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(packages) / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    options = ["--no-deps", "--no-index", "--no-cache-dir", "--no-compile", "--ignore-installed"]
    run(python, "-m", "pip", "install", "-q", *options, built.wheel)
    cliphouse_command = python.with_name("cliphouse")
    found = run(python, "-c", "import cliphouse; print(cliphouse.__file__)")
    assert Path(found.strip()).is_relative_to(packages)
    assert run(cliphouse_command, "--version") == f"cliphouse {cliphouse.__version__}\n"
    told = run(cliphouse_command, "demo", "--dir", "demo", "--rows", 100)
    assert "search 'two blue circles'" in told
    assert len(list((work / "demo" / "pictures").glob("*.jpg"))) == 100
    # The engine starts the encoder of its functions as a process of its own.
    select = "SELECT count(), length(encode_text('a star')) FROM laion"
    table = run(cliphouse_command, "sql", select, "--db", "demo/laion.chdb", "--format", "csv")
    assert table.splitlines()[-1] == "100,512"
