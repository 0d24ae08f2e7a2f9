"""Clients that ask a service as fast as it answers, each over a connection of its own."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Outcome:
    """What the answers were: ``statuses`` counts them (0 is no answer), ``milliseconds`` are the
    times of those that were 200, ``seconds`` is how long it all took. ``cpu`` is the processor time
    of this process in seconds. ``parts`` are sums of milliseconds by name, of what the good answers
    told in their header Server-Timing."""

    connections: int
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    cpu: float = 0.0
    parts: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.statuses[200] / self.seconds

    @property
    def errors(self) -> int:
        return self.statuses.total() - self.statuses[200]

    def mean_parts(self) -> dict[str, float]:
        """The mean milliseconds of each part of a good answer; ``way`` is the rest: the network,
        and the client itself."""
        good = max(self.statuses[200], 1)
        means = {name: total / good for name, total in self.parts.items()}
        return means | {"way": sum(self.milliseconds) / good - sum(means.values())}

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.milliseconds, share)) if self.milliseconds else float("nan")


def ask(
    url: str, bodies: Sequence[bytes], connections: int, *, requests: int = 0, seconds: float = 0.0
) -> Outcome:
    """POST ``bodies`` in turn to ``url``, until there were so many ``requests`` or ``seconds``."""
    outcome, lock = Outcome(connections), threading.Lock()
    taken = 0
    started, cpu = time.perf_counter(), time.process_time()

    def next_body() -> bytes | None:
        nonlocal taken
        with lock:
            is_over = (requests and taken >= requests) or (
                seconds and time.perf_counter() - started >= seconds
            )
            if is_over:
                return None
            taken += 1
            return bodies[taken % len(bodies)]

    def client() -> None:
        connection = _connect(url)
        while (body := next_body()) is not None:
            asked = time.perf_counter()
            status, timing = _post(connection, url, body)
            elapsed = (time.perf_counter() - asked) * 1000
            with lock:
                outcome.statuses[status] += 1
                if status == 200:
                    outcome.milliseconds.append(elapsed)
                    outcome.parts.update(timing)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.seconds = time.perf_counter() - started
    outcome.cpu = time.process_time() - cpu
    return outcome


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)


def _post(
    connection: http.client.HTTPConnection, url: str, body: bytes
) -> tuple[int, dict[str, float]]:
    """The answer's status, 0 if there is none, and the milliseconds of its parts."""
    try:
        connection.request("POST", urlsplit(url).path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0, {}
    return answer.status, _parts(answer.headers.get("Server-Timing", ""))


def _parts(header: str) -> dict[str, float]:
    """As in ``encode;dur=1.25, database;dur=9.5``."""
    pairs = (entry.split(";dur=") for entry in header.split(", ") if entry)
    return {name: float(milliseconds) for name, milliseconds in pairs}
