"""What a test starts as a process: it has the process forked (see forked.py), and ends as it ends.

    python -SE fork_front.py SOCKET ARGUMENTS...

It imports only modules of the interpreter itself: any other takes longer than all that it does.
"""

from __future__ import annotations

import _signal
import _socket
import marshal
import posix
import sys

LENGTH = 8  # bytes of a number on the socket
_PASSED_ON = (_signal.SIGINT, _signal.SIGTERM)
_STREAMS = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))


def _number(stream: _socket.socket) -> int:
    said = stream.recv(LENGTH, _socket.MSG_WAITALL)
    if len(said) < LENGTH:
        raise EOFError("the server of forked.py has ended")
    return int.from_bytes(said, "big", signed=True)


def main(address: str, arguments: list[str]) -> int:
    """The process's exit code. Where a signal ended it, the same ends this one."""
    asked = marshal.dumps((arguments, posix.getcwd(), posix.environ))
    server = _socket.socket(_socket.AF_UNIX)
    server.connect(address)
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _STREAMS)
    server.sendmsg([len(asked).to_bytes(LENGTH, "big")], [rights])
    server.sendall(asked)
    pid = _number(server)
    for number in _PASSED_ON:
        _signal.signal(number, lambda number, _: posix.kill(pid, number))
    code = _number(server)
    if code < 0:
        if -code in _PASSED_ON:
            _signal.signal(-code, _signal.SIG_DFL)
        posix.kill(posix.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
