"""The command line: words in and out, one small file a command, the work done elsewhere."""

from cliphouse.cli.app import main

__all__ = ["main"]
