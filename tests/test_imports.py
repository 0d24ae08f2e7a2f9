"""Importing cliphouse is quick, and changes nothing outside it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import cliphouse
from cliphouse.udf import EncoderSettings
from shard_files import make_shard

SOURCE = Path(cliphouse.__file__)
HEAVY = {"chdb", "pyarrow", "matplotlib", "fastapi", "onnxruntime", "pandas", "numpy"}
# Libraries that no search and no statement needs, and parts of cliphouse; what only words need, and
# what only a database.
NEEDLESS = {
    *("PIL", "fastapi", "fastembed", "fsspec", "httpx", "huggingface_hub", "limits", "matplotlib"),
    *("prompt_toolkit", "psutil", "pyarrow.csv", "pyarrow.parquet", "tenacity", "uvicorn"),
}
OTHERS = {
    *("cliphouse.client", "cliphouse.export", "cliphouse.loading.ingest", "cliphouse.server"),
    *("cliphouse.pictures.files", "cliphouse.planning.build", "cliphouse.planning.plan"),
    *("cliphouse.inspection.statistics", "cliphouse.recall.measure"),
}
MODEL = {"onnxruntime", "tokenizers"}
ENGINE = {"chdb", "clickhouse_connect", "numpy", "pyarrow", "urllib3", "asyncio"}

# Runs the command line with its arguments, and prints the modules that it has imported.
_COMMAND = """
import contextlib, sys
from cliphouse.cli.app import app
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
    app(sys.argv[1:])
print(*sys.modules)
"""

# Imports the modules that its arguments name, then all of cliphouse, and prints what changed by the
# latter: an address with a password among the arguments, for one, is not to be hidden.
_CHANGES = """
import atexit, contextlib, importlib, json, locale, logging, os, pkgutil, signal, socket, sys
import threading, warnings

for name in sys.argv[2:]:
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module(name)
calls = []
if "pyarrow" in sys.modules:
    sys.modules["pyarrow"].enable_signal_handlers = lambda enable: calls.append(enable)

def loggers():
    found = {n: l for n, l in logging.root.manager.loggerDict.items() if hasattr(l, "handlers")}
    return {"root": logging.root, **found}

def state():
    return {
        "warning filters": list(map(str, warnings.filters)),
        "showing of warnings": str(warnings.showwarning),
        "signal handlers": {str(s): str(signal.getsignal(s)) for s in signal.valid_signals()},
        "Arrow's signal handling": list(calls),
        "loggers": {
            name: [str(l.handlers), str(l.filters), l.level, l.propagate, l.disabled]
            for name, l in loggers().items()
            if not name.startswith("cliphouse")
        },
        "what runs at exit": atexit._ncallbacks(),
        "exception hooks": [str(sys.excepthook), str(threading.excepthook)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "locale": locale.setlocale(locale.LC_ALL),
        "timeout of sockets": socket.getdefaulttimeout(),
        "arguments as others see them": open("/proc/self/cmdline").read(),
        "threads": threading.active_count(),
    }

before = state()
import cliphouse
imported = [m.name for m in pkgutil.walk_packages(cliphouse.__path__, "cliphouse.")]
for name in imported:
    importlib.import_module(name)
after = state()
# A logger that only cliphouse asked for is new, with nothing done to it.
new = {n: v for n, v in after["loggers"].items() if n not in before["loggers"]}
after["loggers"] = {n: v for n, v in after["loggers"].items() if n in before["loggers"]}
changed = {what: [before[what], after[what]] for what in before if before[what] != after[what]}
others = [n for n in sys.modules if n.split(".")[0] not in {*sys.stdlib_module_names, "cliphouse"}]
print(json.dumps({"changed": changed, "new": new, "imported": imported, "others": others}))
"""


def run(code: str, *arguments: str) -> str:
    """What ``code`` prints in a new interpreter, in which nothing is imported yet."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_importing_cliphouse_brings_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import cliphouse; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    imported = set(run(code).split())
    assert imported & HEAVY == set()
    assert imported - sys.stdlib_module_names == {"cliphouse"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    make_shard(folder / "shards", rows=20, dim=512)
    (folder / "shards" / "cliphouse.json").write_text('{"model": "tiny", "dim": 512}')
    with cliphouse.open(folder / "db") as table:
        table.ingest(folder / "shards")
    return folder / "db"


@pytest.mark.parametrize(
    ("arguments", "unwanted", "wanted"),
    [
        (["--version"], {*NEEDLESS, *MODEL, *ENGINE, "cliphouse.cli.search"}, {"cliphouse"}),
        (["--help"], {*NEEDLESS, *MODEL, *ENGINE, "rich", "cliphouse.cli.search"}, {"cliphouse"}),
        (["search", "--help"], {*NEEDLESS, *MODEL, *ENGINE, *OTHERS, "rich.markdown"}, {"typer"}),
        (["serve", "--help"], {*NEEDLESS, *MODEL, *ENGINE, "rich.markdown"}, {"typer"}),
        (["search", "id:4", "--db"], {*NEEDLESS, *OTHERS, *MODEL, "pandas"}, ENGINE),
        (["search", "a star", "--db"], {*NEEDLESS, *OTHERS, "pandas"}, {*ENGINE, *MODEL}),
        (["sql", "SELECT 1", "--db"], {*NEEDLESS, *OTHERS, *MODEL}, ENGINE),
        (["info", "--db"], {*NEEDLESS, *MODEL}, ENGINE),
    ],
)
def test_a_command_imports_what_it_needs(
    arguments: list[str], unwanted: set[str], wanted: set[str], database: Path
) -> None:
    address = [str(database)] if arguments[-1] == "--db" else []
    imported = set(run(_COMMAND, *arguments, *address).split())
    assert imported & unwanted == set()
    assert imported >= wanted


def test_the_encoder_of_sql_imports_what_words_need(tmp_path: Path) -> None:
    EncoderSettings("tiny").write(tmp_path / "encoder.json")
    code = (
        "import sys; from pathlib import Path; from cliphouse.udf.worker import Worker; "
        "(vector,) = Worker('encode_text', Path(sys.argv[1])).answer([b'a star']); "
        "print(len(vector), *sys.modules)"
    )
    length, *imported = run(code, str(tmp_path / "encoder.json")).split()
    assert length == "512"
    assert {*imported} & {*NEEDLESS, "chdb", "clickhouse_connect", "pyarrow", "typer"} == set()
    assert {*imported} >= MODEL


def test_the_engine_is_started_once(tmp_path: Path) -> None:
    """Its Python package starts one of its own when it is imported as usual."""
    code = (
        "import os, sys; import cliphouse.engine.embedded_client; "
        "import chdb; threads = os.listdir('/proc/self/task'); "
        "names = [open(f'/proc/self/task/{thread}/comm').read() for thread in threads]; "
        "from cliphouse.engine.address import parse_address; "
        "from cliphouse.engine.opening import open_connection; "
        "connection = open_connection(parse_address(sys.argv[1]), create=True); "
        "version = connection.query('SELECT version() AS v').to_pylist()[0]['v']; "
        "known = connection._client.server_settings; "
        "rows = connection.query('SELECT name, default FROM system.settings').to_pylist(); "
        "held = {row['name']: row['default'] for row in rows}; "
        "print('ThreadPool\\n' in names, version == chdb.engine_version, len(held) > 1000, "
        "{n: s.value for n, s in known.items()} == {n: held[n] for n in known} != {})"
    )
    assert run(code, str(tmp_path / "db")).split() == ["False", "True", "True", "True"]


def test_every_name_is_what_its_module_has() -> None:
    code = (
        "import cliphouse; told = dir(cliphouse); from cliphouse import *; "
        "print(*(n for n in cliphouse.__all__ if n in told and n in globals()))"
    )
    assert run(code).split() == cliphouse.__all__
    assert cliphouse.open is cliphouse.Table
    for name in set(cliphouse.__all__) - {"__version__", "open"}:
        value = getattr(cliphouse, name)
        assert value.__name__ == name
        assert value is getattr(import_module(value.__module__), name)
    with pytest.raises(AttributeError, match="module 'cliphouse' has no attribute 'Tabel'"):
        cliphouse.Tabel  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    """They read the imports under TYPE_CHECKING, which do not happen at run time."""
    tree = ast.parse(SOURCE.read_text())
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    modules = vars(cliphouse)["_MODULES"]
    assert seen | {"open": seen["Table"]} == modules
    eager = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("cliphouse.")
        for alias in node.names
    }
    assert {*modules, *eager} == set(cliphouse.__all__)


def test_importing_any_module_changes_nothing_outside() -> None:
    """Beyond what the libraries do when they are imported themselves, so they come first."""
    address = "http://user:secret@localhost/laion"
    others = json.loads(run(_CHANGES, address))["others"]
    assert set(others) > {"pyarrow", "PIL", "fastapi", "clickhouse_connect"}
    found = json.loads(run(_CHANGES, address, *others))
    modules = {
        ".".join(path.relative_to(SOURCE.parents[1]).with_suffix("").parts).removesuffix(
            ".__init__"
        )
        for path in SOURCE.parent.rglob("*.py")
    }
    assert set(found["imported"]) | {"cliphouse"} == modules
    assert found["changed"] == {}
    assert {name: state for name, state in found["new"].items() if state[0] != "[]"} == {}
