"""Waiting for changes in a folder of pictures, until they are whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

_STEP_MS = 200  # without a further change, after which changes are told
_LOOK_MS = 500
_SETTLED_SECONDS = 0.5  # a file that was written so long ago is whole
_PATIENCE_SECONDS = 60.0  # for a file that is written on and on, such as a log


def quiet_moments(folder: Path, stop: threading.Event) -> Iterator[None]:
    """Yield once at the start, when changes are watched already, and then whenever something in
    ``folder`` or below has changed and nothing is being written any more; end when ``stop`` is set.

    A file counts as being written as long as it has changed within half a second, but for a minute
    at most.
    """
    from watchfiles import watch

    changed: set[str] = {str(folder)}
    since = time.monotonic() - _PATIENCE_SECONDS
    for changes in watch(
        folder,
        watch_filter=None,
        debounce=1_000,
        step=_STEP_MS,
        stop_event=stop,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    ):
        if changes and not changed:
            since = time.monotonic()
        changed |= {path for _, path in changes}
        is_late = time.monotonic() - since > _PATIENCE_SECONDS
        if changed and (is_late or all(map(_is_settled, changed))):
            changed.clear()
            yield


def _is_settled(path: str) -> bool:
    try:
        age = time.time() - Path(path).stat().st_mtime
    except OSError:  # it is gone
        return True
    return age > _SETTLED_SECONDS or age < 0
