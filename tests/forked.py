"""Processes of Python that begin with their imports done.

A cliphouse command takes most of a second to import what it needs, and the tests run hundreds of
them. ``python()`` stands for the interpreter in a process's command line:

    subprocess.run([*python(), "-m", "cliphouse", "info"])  # or -c CODE, or a file

Programs that change cliphouse before all of it is imported need an interpreter of their own.

A server has everything imported and forks for each: a process of its own, with its own arguments,
folder, environment and standard streams. What subprocess starts is a small process in front of it
(fork_front.py), which passes signals on and ends as it ends; killed, it takes the other and its
children along.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
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
from dataclasses import dataclass

from fork_front import LENGTH

# The runtime of the models is not among them: its threads do not come along into a fork, and would
# be waited for without end. Of the engine there is only the library (see engine.embedded_client).
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
_SHARED = "SERVER_OF_FORKED_PROCESSES"  # the variable that has its address


@functools.cache
def python() -> list[str]:
    """The beginning of a command line that goes on with -c CODE, -m MODULE or FILE. Where processes
    cannot be waited for by descriptors, as elsewhere than on Linux, it is the interpreter's own."""
    if not hasattr(os, "pidfd_open"):
        return [sys.executable]
    here = os.path.abspath(__file__)  # noqa: PTH100 - pathlib is slow to import
    command = [sys.executable, "-SE", here.replace("forked", "fork_front")]
    if _SHARED in os.environ:
        return [*command, os.environ[_SHARED]]
    folder = tempfile.TemporaryDirectory(prefix="forked-")
    address = f"{folder.name}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, here, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,  # it ends when this does, however this process ends
            start_new_session=True,
        )
    atexit.register(_stop, server, folder)
    return [*command, address]


def share() -> None:
    """Let the processes that this one starts, each of which runs some of the tests, use its server.
    The server imports nothing before it is asked for a process."""
    os.environ[_SHARED] = python()[-1]


def _stop(server: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    server.communicate()
    folder.cleanup()


@dataclass(eq=False)
class _Forked:
    """A process that runs, and the connection to the one in front of it."""

    pid: int
    ended: int  # a descriptor that can be read once it has
    front: socket.socket
    is_killed: bool = False

    def kill(self) -> None:
        """With its children."""
        self.is_killed = True
        os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # it has not come to make a group of its own
            os.killpg(self.pid, signal.SIGKILL)

    def tell(self) -> None:
        """Tell the one in front how it ended."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError):  # it was killed
            self.front.sendall(code.to_bytes(LENGTH, "big", signed=True))
        self.close()

    def close(self) -> None:
        self.front.close()
        os.close(self.ended)


def _serve(listener: socket.socket) -> list[str]:
    """Returns in each process that was asked for, with its arguments; in the server never."""
    running: list[_Forked] = []
    _readable(0, listener.fileno())
    _preload()
    while True:
        fronts = [one.front.fileno() for one in running if not one.is_killed]
        ready = _readable(0, listener.fileno(), *fronts, *(one.ended for one in running))
        if 0 in ready:
            for one in running:
                one.kill()
            os._exit(0)
        for one in [one for one in running if one.ended in ready]:
            one.tell()
            running.remove(one)
        for one in running:
            if one.front.fileno() in ready:  # it says nothing more: it was killed
                one.kill()
        if listener.fileno() in ready:
            front, _ = listener.accept()
            arguments = _answer(front, running)
            if arguments is not None:
                listener.close()
                return arguments


def _preload() -> None:
    import cliphouse

    ours = [module.name for module in pkgutil.walk_packages(cliphouse.__path__, "cliphouse.")]
    for module in (*ours, *_PRELOADED):
        if module != "cliphouse.__main__":  # python -m wants to import it itself
            importlib.import_module(module)
    for module in _PRELOADED_IF_THERE:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    # Looking for garbage among what was imported would copy its memory in each of the processes.
    gc.collect()
    gc.freeze()


def _readable(*descriptors: int) -> set[int]:
    """Wait until one of them can be read; select() takes none above 1,023, which long runs have."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll()}


def _answer(front: socket.socket, running: list[_Forked]) -> list[str] | None:
    """Fork a process. Returns its arguments there, and None in the server."""
    length, streams, _, _ = socket.recv_fds(front, LENGTH, 3)
    asked = front.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
    try:
        arguments, folder, environment = marshal.loads(asked)
    except (EOFError, ValueError):  # the one in front was killed while it asked
        front.close()
        return None
    pid = os.fork()
    if pid == 0:
        os.setsid()
        front.close()
        for one in running:
            one.close()
        _move_in(streams, folder, environment)
        return list(arguments)
    for stream in streams:
        os.close(stream)
    running.append(_Forked(pid, os.pidfd_open(pid), front))
    with contextlib.suppress(OSError):
        front.sendall(pid.to_bytes(LENGTH, "big", signed=True))
    return None


def _move_in(streams: list[int], folder: str, environment: dict[bytes, bytes]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environb.clear()
    os.environb.update(environment)
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
    program = _serve(socket.socket(fileno=int(sys.argv[1])))
    is_done: list[bool] = []
    atexit.register(_end_quickly, is_done)
    _run(*program)
    is_done.append(True)
