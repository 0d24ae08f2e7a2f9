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

SOURCE = Path(cliphouse.__file__)
HEAVY = {"chdb", "pyarrow", "matplotlib", "fastapi", "onnxruntime", "pandas", "numpy"}

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
