"""The log of the driver, kept off standard error while a call of it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger("clickhouse_connect")


@contextmanager
def quiet_driver() -> Iterator[None]:
    """Let Python print nothing of what the driver logs: its errors are reported as cliphouse's.

    Python prints the warnings of a logger that has no handler, so it gets one that does nothing.
    The application's own handlers see the log as before. Calls of several threads may overlap.
    """
    silent = logging.NullHandler()
    _LOGGER.addHandler(silent)
    try:
        yield
    finally:
        _LOGGER.removeHandler(silent)
