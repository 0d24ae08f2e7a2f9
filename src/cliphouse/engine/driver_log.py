"""Keeping the driver's log off standard error while the driver is called."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger("clickhouse_connect")


@contextmanager
def quiet_driver() -> Iterator[None]:
    """Keep Python from printing the driver's log, because cliphouse reports its errors itself.

    Python prints the warnings of a logger without handlers, so it gets a handler that does nothing.
    The application's own handlers get the log as before. Calls in several threads may overlap.
    """
    silent = logging.NullHandler()
    _LOGGER.addHandler(silent)
    try:
        yield
    finally:
        _LOGGER.removeHandler(silent)
