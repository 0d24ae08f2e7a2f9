"""The log of the driver, kept off standard error while a call of it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("clickhouse_connect", "urllib3")


@contextmanager
def quiet_driver() -> Iterator[None]:
    """Let Python print nothing of what the driver logs: its errors are reported as ours.

    Python prints the warnings of a logger that has no handler, so each gets one that does nothing.
    Handlers of the application's own see the log as before. Calls of several threads may overlap.
    """
    silent = logging.NullHandler()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(silent)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(silent)
