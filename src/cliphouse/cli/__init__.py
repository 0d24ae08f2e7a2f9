"""The command line: words in and out, one small file a command, the work done elsewhere."""

from cliphouse.cli.title import hide_passwords

hide_passwords()  # before what takes a second to import

from cliphouse.cli.app import main  # noqa: E402

__all__ = ["main"]
