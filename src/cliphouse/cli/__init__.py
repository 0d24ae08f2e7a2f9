"""The command line: words in and out, one small file a command, the work done elsewhere."""

from cliphouse.cli.title import hide_passwords

__all__ = ["main"]


def main() -> None:
    """Run the command line, with the passwords among its arguments hidden first."""
    hide_passwords()
    from cliphouse.cli import app  # takes most of a second, in which others could read them

    app.main()
