"""The stand-in as tests use it: started, told what to do, ended. It is launched here alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import tally
from standin.faults import Fault, Kind
from standin.pretend import Pretence
from standin.users import EVERYONE, OWNER, User, write_users

_SCRIPT = Path(__file__).parents[1] / "clickhouse_http.py"


class StandIn:
    """A server process with the users of ``users``, the first of whom owns everything.

    With a ``config`` of the caller's own every user may do everything. ``environment`` is all that
    the process has of one; None is this process's. It ends with the block.
    """

    def __init__(
        self,
        folder: Path,
        users: tuple[User, ...] = EVERYONE,
        *,
        cert: Path | None = None,
        config: Path | None = None,
        environment: Mapping[str, str] | None = None,
        script: Path = _SCRIPT,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._users = users
        self._cert = cert
        self._config = config
        self._environment = environment
        self._script = script
        self._databases = 0
        self.port = 0
        self._process: subprocess.Popen[bytes]
        self.launch()

    def launch(self) -> None:
        """Start the process: on any port the first time, on the same one again."""
        others = self._folder / "users.json"
        write_users(others, self._users[1:])
        command = [sys.executable, str(self._script), str(self._folder / "engine")]
        command += [self._users[0].name, self._users[0].password]
        command += ["--users", str(others), "--port", str(self.port)]
        for option, value in (("--config", self._config), ("--cert", self._cert)):
            command += [option, str(value)] if value is not None else []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder,  # a server knows nothing of the user's folder
            env=os.environ if self._environment is None else self._environment,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def url(
        self,
        database: str = "default",
        user: User | None = OWNER,
        host: str = "127.0.0.1",
        scheme: str = "",
    ) -> str:
        """The address for one of its users; None for one that names nobody."""
        named = f"{user.name}:{quote(user.password, safe='')}@" if user else ""
        scheme = scheme or ("https" if self._cert else "http")
        return f"{scheme}://{named}{host}:{self.port}/{database}"

    def fresh(self) -> str:
        """The name of a new database; faults and pretences of tests before are over."""
        self.clear()
        self._databases += 1
        name = f"db{self._databases}"
        statement = f"CREATE DATABASE {name}".encode()
        request = Request(f"http://127.0.0.1:{self.port}/", statement)
        request.add_header("X-ClickHouse-User", self._users[0].name)
        request.add_header("X-ClickHouse-Key", self._users[0].password)
        with urlopen(request):
            return name

    def fresh_url(self) -> str:
        """The owner's address of a new database."""
        return self.url(self.fresh())

    def fail(self, kind: Kind, match: str = "", times: int = 1, **more: Any) -> None:
        """Let the next ``times`` statements that match go wrong (see standin.faults)."""
        tally.count("faults")
        self._tell(do="fault", **asdict(Fault(kind, match, times, **more)))

    def pretend(self, pretence: Pretence) -> None:
        self._tell(do="pretend", **asdict(pretence))

    def clear(self) -> None:
        """No faults, no pretence, nothing seen; and it answers."""
        self._tell(do="start")
        self._tell(do="clear")

    def seen(self, match: str = "") -> list[str]:
        """The statements that came in and hold this text."""
        return [query for query in self._tell(do="seen") if match in query]

    def waiting(self) -> int:
        """How many faults have not met their statements yet."""
        return int(self._tell(do="waiting"))

    def stop(self) -> None:
        """Refuse connections and cut those there are; the engine stays."""
        self._tell(do="stop")

    def start(self) -> None:
        self._tell(do="start")

    def wait(self) -> None:
        """For its own end, where a fault has it die."""
        self._process.wait()

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(b"")

    def _tell(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
