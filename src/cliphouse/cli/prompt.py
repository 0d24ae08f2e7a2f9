"""The interactive prompt of cliphouse sql: statements of several lines, names and a history."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import ThreadedCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from cliphouse.cli import interrupt, show
from cliphouse.cli.completion import Names, SqlCompleter
from cliphouse.engine.statements import is_finished
from cliphouse.errors import CliphouseError

if TYPE_CHECKING:
    from cliphouse.table import Table

_LEAVE = ("exit", "quit", "\\q")
_SECRET = re.compile(r"\bIDENTIFIED\b|\bpassword\b|://[^/\s]*:.*@", re.IGNORECASE)


def run_prompt(opened: Table, run: Callable[[str], None]) -> None:
    """Ask for statements to the database of ``opened`` and ``run`` them until the user leaves.

    An error is printed and the prompt continues."""
    names = Names(opened.connection)
    show.err.print(
        rf"{opened.address.shown}: end a statement with ; or, for a block for each row, with \G; "
        "Tab completes names; leave with exit or Ctrl-D",
        style="dim",
        markup=False,
    )
    session: PromptSession[str] = PromptSession(
        history=_history(),
        multiline=True,
        key_bindings=_keys(),
        prompt_continuation="...> ",
        completer=ThreadedCompleter(SqlCompleter(names)),  # the first answer takes a while
        complete_while_typing=False,
    )
    while True:
        try:
            text = session.prompt("sql> ").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.rstrip(";").strip().lower() in _LEAVE:
            return
        try:
            with interrupt.interruptible(ends_process=False):
                run(text)
        except CliphouseError as error:
            show.err.print(f"error: {show.plain(str(error))}", style="red", markup=False)
        except KeyboardInterrupt:
            show.err.print(interrupt.interrupted(), style="red", markup=False)
        names.forget()


def _keys() -> KeyBindings:
    """Enter runs a finished statement, and begins a new line in an unfinished one."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        text = buffer.text.strip()
        if not text or is_finished(text) or text.lower() in _LEAVE:
            buffer.validate_and_handle()
        else:
            buffer.newline()

    return keys


class _HistoryWithoutPasswords(FileHistory):
    """A history that leaves out statements that may hold a password."""

    def store_string(self, string: str) -> None:
        if not _SECRET.search(string):
            super().store_string(string)


def _history() -> History:
    """The history in the user's state folder, or in memory if that cannot be written."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(state) / "cliphouse"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sql_history").touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return _HistoryWithoutPasswords(str(folder / "sql_history"))
