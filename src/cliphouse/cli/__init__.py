"""The command line: one small file for each command. The work is done in the other rooms."""

from cliphouse.cli.title import hide_passwords

__all__ = ["main"]


def main() -> None:
    """Hide the passwords among the arguments from ``ps``, then run the command line."""
    hide_passwords()
    from cliphouse.cli import app  # takes a while, in which ps would show them

    app.main()
