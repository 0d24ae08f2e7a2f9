"""The driver's client of the embedded engine, without things that take time and tell nothing.

``import chdb`` starts an engine in memory to ask it for its version, and stops it: a tenth of a
second of every command. Here its library is imported with a connection that answers nothing.

Each new client of the driver reads all 1,400 settings of the engine, to know those that it may not
change. Here there is none, and it is told of the few that it looks at. What else it asks is alike
for all clients of the process: only the first one asks.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from cliphouse.engine.connection import FORMAT_HEADER

_LIBRARY = "chdb._chdb"
# Settings that the driver looks at, with the engine's defaults.
_LOOKED_AT = {
    "cast_string_to_dynamic_use_inference": "0",
    "date_time_input_format": "best_effort",
    "output_format_arrow_string_as_string": "1",
}
_DEEPBIND = 8  # RTLD_DEEPBIND: the library uses its own allocator, as its package has it


def _import_chdb() -> None:
    """Leaves it to the driver to import chdb as usual if its files are not where they are known to
    be, as on another system than Linux."""
    found = None if "chdb" in sys.modules else _find_library()
    if found is None:
        return
    ctypes.CDLL(found.origin, sys.getdlopenflags() | _DEEPBIND)
    library = _load(found)
    connect = library.connect
    setattr(library, "connect", _Nothing())  # noqa: B010 - type checkers allow no assignment
    try:
        import chdb  # noqa: F401
    finally:
        setattr(library, "connect", connect)  # noqa: B010


def _find_library() -> ModuleSpec | None:
    package = importlib.util.find_spec("chdb")
    if sys.platform != "linux" or package is None or not package.submodule_search_locations:
        return None
    file = Path(package.submodule_search_locations[0]) / "_chdb.abi3.so"
    return importlib.util.spec_from_file_location(_LIBRARY, file) if file.exists() else None


def _load(found: ModuleSpec) -> ModuleType:
    assert found.loader is not None
    library = importlib.util.module_from_spec(found)
    sys.modules[_LIBRARY] = library
    found.loader.exec_module(library)
    return library


class _Nothing:
    """Stands for a connection, for its answers and for what is read from them."""

    def __getattr__(self, _: str) -> _Nothing:
        return self

    def __call__(self, *_: object) -> _Nothing:
        return self

    def __getitem__(self, _: object) -> _Nothing:
        return self

    def __str__(self) -> str:
        return ""


_import_chdb()
from clickhouse_connect.driver._chdbclient import ChdbClient  # noqa: E402 - it imports chdb


class EmbeddedClient(ChdbClient):
    """A client of the engine on a folder, made with the driver's own arguments."""

    _known: ClassVar[Any] = None  # what the first client of this process has read

    def _init_common_settings(self, *given: Any) -> None:
        if self._known is None:
            super()._init_common_settings(*given)
            vars(sys.modules["chdb"])["engine_version"] = self.server_version  # as chdb asks for it
        else:
            self._apply_init_result(self._known)

    def _execute_operation(self, operation: Any) -> object:
        if "FROM system.settings" in operation.text:
            return [{"name": n, "value": v, "readonly": 0} for n, v in _LOOKED_AT.items()]
        return super()._execute_operation(operation)

    def _apply_init_result(self, result: Any) -> None:
        type(self)._known = result
        super()._apply_init_result(result)

    def raw_query(
        self,
        query: str,
        parameters: Any = None,
        settings: dict[str, Any] | None = None,
        fmt: str | None = None,
        use_database: bool = True,
        external_data: Any = None,
        transport_settings: dict[str, str] | None = None,
    ) -> bytes:
        """As the driver's, which has no header of a request here: the format that it would name
        (FORMAT_HEADER) is given to the engine."""
        header = (transport_settings or {}).get(FORMAT_HEADER)
        if header is None:
            return super().raw_query(query, parameters, settings, fmt, use_database, external_data)
        final, bound, runtime = self._prep_raw_query_runtime(
            query, parameters, settings, fmt, use_database
        )
        values = {name.removeprefix("param_"): value for name, value in bound.items()}
        result = self._backend._run_with_settings(
            final, header, runtime.settings, values, runtime.database
        )
        return result.bytes() or b""
