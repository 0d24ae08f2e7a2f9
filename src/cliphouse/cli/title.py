"""The command line as other users of the machine see it, in ps."""

from __future__ import annotations

import sys

from setproctitle import setproctitle

from cliphouse.engine.address import has_password, without_password


def hide_passwords() -> None:
    """Show addresses among the arguments without their passwords. A moment passes before this runs:
    a password in the environment is never seen."""
    if any(map(has_password, sys.orig_argv)):
        setproctitle(" ".join(map(without_password, sys.orig_argv)))
