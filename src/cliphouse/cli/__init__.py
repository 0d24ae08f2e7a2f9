"""The command line: one small file for each command. The work is done in the other rooms."""

import gc

from cliphouse.cli.title import hide_passwords

__all__ = ["main"]
# What is imported stays. Looking for garbage among it takes a twentieth of a short command.
_OBJECTS_BEFORE_COLLECTION = 50_000


def main() -> None:
    """Hide the passwords among the arguments from ``ps``, then run the command line."""
    hide_passwords()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    from cliphouse.cli import app  # takes a while, in which ps would show them

    app.main()
