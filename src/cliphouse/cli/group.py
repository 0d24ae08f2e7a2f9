"""The commands by name. A command is imported when it is asked for, none for --help."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# In the order of --help, with the first sentence of each one's own. Each is a file of this folder
# with a function `command`, or with an `app` of several commands.
COMMANDS = {
    "demo": "Draw pictures, then embed, ingest, index and search them.",
    "download": "Download shards.",
    "embed": "Turn pictures into shards.",
    "sync": "Make the table what a folder of pictures is now.",
    "ingest": "Load shards into the table.",
    "index": "Build an HNSW index and measure its recall, for text and for image queries.",
    "search": "Find the pictures nearest to words, a picture, a vector or a row.",
    "recall": "Measure recall and latency of every search mode, for text and for image queries.",
    "plan": "Estimate disk, memory, load, build and query times of a table before it is loaded.",
    "serve": "Serve tables over HTTP: a search page, and an API for programs.",
    "sql": "Run SQL on the database: statements, a file, standard input or a prompt.",
    "info": "Show what the table holds: rows, shards, disk, model, indexes and measured recall.",
    "check": "Check shards and the table without loading anything.",
    "duplicates": "List groups of pictures that are the same, byte by byte, or nearly.",
    "export": "Export the table, part of it, or the results of a search, to files.",
    "backup": "Write an embedded database to one file: all tables, with their indexes.",
    "restore": "Make an embedded database of a backup, in a new folder.",
    "drop": "Drop the table, with its indexes and the ledger of what was loaded.",
    "udf": "Install encode_text and encode_image on a server.",
    "models": "List the models for words and pictures, or fetch one.",
}
_MAKES_ITS_OWN = ("restore",)  # a database that nobody can have open
# What begins with a dash and is no option: SQL behind a comment, or a weight, as in -1:cat.
_NO_OPTION = re.compile(r"--(?![A-Za-z])|--[^=\s]*\s|-\s|-\.?\d")


class TextCommand(TyperCommand):
    """A command whose arguments may begin with a dash, if they cannot be options."""

    def make_parser(self, ctx: Any) -> Any:
        parser: Any = super().make_parser(ctx)
        read_option = parser._process_opts

        def read(given: str, state: Any) -> None:
            if _NO_OPTION.match(given):
                state.largs.append(given)
            else:
                read_option(given, state)

        parser._process_opts = read
        return parser


class LateGroup(TyperGroup):
    """The group of all commands. One that is not asked for costs nothing but its name."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands.update({name: TyperCommand(name) for name in COMMANDS})
        self._late = set(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self._late:
            self._late.remove(cmd_name)
            self.commands[cmd_name] = _load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _load(name: str) -> Any:
    module = import_module(f"cliphouse.cli.{name}")
    app = getattr(module, "app", None)
    if app is None:
        # Help without rich's panels is read as easily, and half of its time was their import.
        from cliphouse.cli.opening import waiting

        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        command = module.command if name in _MAKES_ITS_OWN else waiting(module.command)
        app.command(name, cls=TextCommand)(command)
    return typer.main.get_command(app)
