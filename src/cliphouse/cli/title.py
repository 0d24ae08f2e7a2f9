"""Hides passwords in the command line that other users of the machine see in ps."""

from __future__ import annotations

import sys

from setproctitle import setproctitle

from cliphouse.engine.address import has_password, without_password


def hide_passwords() -> None:
    """Remove the passwords of addresses from the process title.

    Python takes a moment to get here, in which ps shows them; a password in the environment is
    never shown."""
    if any(map(has_password, sys.orig_argv)):
        setproctitle(" ".join(map(without_password, sys.orig_argv)))
