"""The commands by name. A command is imported when it is asked for, and all of them for --help."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# In the order of --help. Each is a file of this folder with a function `command`, or with an `app`
# of several commands.
COMMANDS = (
    *("demo", "download", "embed", "sync", "ingest", "index", "search", "recall", "plan"),
    *(
        "serve",
        "sql",
        "info",
        "check",
        "duplicates",
        "export",
        "backup",
        "restore",
        "drop",
        "udf",
        "models",
    ),
)


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


def _load(name: str) -> Any:
    module = import_module(f"cliphouse.cli.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(name)(module.command)
    return typer.main.get_command(app)
