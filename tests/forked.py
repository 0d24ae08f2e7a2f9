"""Processes of Python that begin with their imports done.

A cliphouse command takes most of a second to import what it needs, and the tests run hundreds of
them. ``python()`` stands for the interpreter in a process's command line:

    subprocess.run([*python(), "-m", "cliphouse", "info"])  # or -c CODE, or a file

Programs that change cliphouse before all of it is imported need an interpreter of their own.

A server has everything imported and forks for each: a process of its own, with its own arguments,
folder, environment and standard streams. What subprocess starts is a small process in front of it,
which passes signals on and ends as it ends; killed, it takes the other and its children along.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib
import importlib.util
import marshal
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile

# The runtime of the models is not among them: its threads do not come along into a fork, and would
# be waited for without end. Of the engine there is only the library (see _preload_engine).
# cliphouse imports its libraries in the functions that need them.
_PRELOADED = (
    *("clickhouse_connect", "httpx", "numpy", "PIL.Image", "psutil", "pyarrow.compute"),
    *("pyarrow.csv", "pyarrow.ipc", "pyarrow.parquet", "rich.progress", "rich.table", "tenacity"),
)
# What the engine's Python package, that of the models and some releases of typer import.
_PRELOADED_IF_THERE = (
    *("pandas", "huggingface_hub.hf_api", "loguru", "requests", "rich.markdown", "tokenizers"),
    *("typer._adapters", "typer.rich_utils"),
)
_PASSED_ON = (signal.SIGINT, signal.SIGTERM)
_DEEPBIND = 8  # RTLD_DEEPBIND
_LENGTH = 8  # bytes of a number on the socket


@functools.cache
def python() -> list[str]:
    """The beginning of a command line that goes on with -c CODE, -m MODULE or FILE. Where processes
    cannot be waited for by descriptors, as elsewhere than on Linux, it is the interpreter's own."""
    if not hasattr(os, "pidfd_open"):
        return [sys.executable]
    folder = tempfile.TemporaryDirectory(prefix="forked-")
    address = f"{folder.name}/socket"
    here = os.path.abspath(__file__)  # noqa: PTH100 - pathlib is slow to import
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, here, "serve", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,  # it ends when this does, however this process ends
            start_new_session=True,
        )
    atexit.register(_stop, server, folder)
    return [sys.executable, "-SE", here, "start", address]


def _stop(server: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    server.communicate()
    folder.cleanup()


def _start(address: str, arguments: list[str]) -> int:
    """In front of a process: has it made, and ends with its exit code or by its signal."""
    asked = marshal.dumps((arguments, os.getcwd(), dict(os.environ)))  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(asked).to_bytes(_LENGTH, "big")], [0, 1, 2])
        server.sendall(asked)
        pid = _number(server)
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _: os.kill(pid, number))
        code = os.waitstatus_to_exitcode(_number(server))
    if code < 0:
        if -code in _PASSED_ON:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _number(stream: socket.socket) -> int:
    return int.from_bytes(stream.recv(_LENGTH, socket.MSG_WAITALL), "big")


def _serve(listener: socket.socket) -> list[str]:
    """Returns in each process that was asked for, with its arguments; in the server never."""
    import cliphouse

    ours = [module.name for module in pkgutil.walk_packages(cliphouse.__path__, "cliphouse.")]
    for module in (*ours, *_PRELOADED):
        if module != "cliphouse.__main__":  # python -m wants to import it itself
            importlib.import_module(module)
    for module in _PRELOADED_IF_THERE:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    _preload_engine()
    while True:
        ready = _readable(listener.fileno(), 0)
        with contextlib.suppress(ChildProcessError):  # there may be none that has ended
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if 0 in ready:
            os._exit(0)
        asking, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _answer(asking)
        asking.close()


def _preload_engine() -> None:
    """Import chdb without the engine that it starts and stops to learn its version: the threads of
    one do not come along into a fork, and would be waited for without end."""
    found = importlib.util.find_spec("chdb")
    assert found is not None and found.submodule_search_locations is not None
    library = f"{found.submodule_search_locations[0]}/_chdb.abi3.so"
    if not os.path.exists(library):  # noqa: PTH110 - another release of chdb: each imports it all
        return
    spec = importlib.util.spec_from_file_location("chdb._chdb", library)
    assert spec is not None and spec.loader is not None
    ctypes.CDLL(library, sys.getdlopenflags() | _DEEPBIND)  # as chdb does it, for its allocator
    chdb = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(chdb)
    sys.modules[spec.name] = chdb
    connect, chdb.connect = chdb.connect, _NoEngine
    importlib.import_module("clickhouse_connect.driver._chdbclient")
    chdb.connect = connect


class _NoEngine:
    """Stands for a connection whose answers nobody needs."""

    def query(self, *_: object) -> _NoEngine:
        return self

    def bytes(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def _readable(*descriptors: int) -> set[int]:
    """Wait until one of them can be read; select() takes none above 1,023, which long runs have."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll()}


def _answer(asking: socket.socket) -> list[str]:
    """Returns in the new process; the one that forks it waits for its end and tells."""
    os.setsid()
    length, streams, _, _ = socket.recv_fds(asking, _LENGTH, 3)
    arguments, folder, environment = marshal.loads(
        asking.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
    )
    pid = os.fork()
    if pid == 0:
        asking.close()
        _move_in(streams, folder, environment)
        return list(arguments)
    for stream in streams:
        os.close(stream)
    asking.sendall(pid.to_bytes(_LENGTH, "big"))
    if asking.fileno() in _readable(
        os.pidfd_open(pid), asking.fileno()
    ):  # it says nothing more: it was killed
        os.killpg(0, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    asking.sendall(status.to_bytes(_LENGTH, "big"))
    os._exit(0)


def _move_in(streams: list[int], folder: str, environment: dict[str, str]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = ""
    sys.stdin = open(0)  # noqa: SIM115 - as long as the process lives
    sys.stdout = open(1, "w", 1 if os.environ.get("PYTHONUNBUFFERED") else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace")  # noqa: SIM115


def _run(first: str, *more: str) -> None:
    if first == "-c":
        sys.argv = [first, *more[1:]]
        exec(more[0], {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = list(more)
        runpy.run_module(more[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *more]
        sys.path[0] = os.path.dirname(os.path.abspath(first))  # noqa: PTH100, PTH120
        runpy.run_path(first, run_name="__main__")


def _end_quickly(is_done: list[bool]) -> None:
    """Skip the clean-up of the interpreter, which takes half a second with all that is imported.

    Registered first, it runs after whatever the program itself does at its exit."""
    if is_done:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "start":
        sys.exit(_start(sys.argv[2], sys.argv[3:]))
    program = _serve(socket.socket(fileno=int(sys.argv[2])))
    is_done: list[bool] = []
    atexit.register(_end_quickly, is_done)
    _run(*program)
    is_done.append(True)
