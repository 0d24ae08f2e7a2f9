"""The command line: one small file for each command. The work is done in the other rooms."""

import gc
import os

from cliphouse.cli.title import hide_passwords

__all__ = ["main"]
# What is imported stays. Looking for garbage among it takes a twentieth of a short command.
_OBJECTS_BEFORE_COLLECTION = 50_000


def main() -> None:
    """Hide the passwords among the arguments from ``ps``, then run the command line."""
    try:
        hide_passwords()
        gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
        from cliphouse.cli import app  # takes a while, in which ps would show them
    except KeyboardInterrupt:  # as cliphouse.cli.interrupt has it, which is not there yet
        os.write(2, b"cliphouse: interrupted; nothing was changed\n")
        os._exit(130)
    app.main()
