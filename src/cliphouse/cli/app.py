"""All commands as one application. An error becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

import cliphouse
from cliphouse.cli import interrupt
from cliphouse.cli.group import LateGroup
from cliphouse.errors import CliphouseError
from cliphouse.search.option import OptionError
from cliphouse.shards.disk import DISK_FULL

if TYPE_CHECKING:
    from cliphouse.loading.options import LoadSettings

_UsageError: Any = typer.BadParameter.__mro__[1]  # typer itself has no name for it
_HELP = """Search image-text pairs by words or by picture, in embedded ClickHouse or on a server.

To begin with your own pictures: cliphouse sync ~/Pictures, then cliphouse search a dog on a beach.
To try it without: cliphouse demo.
"""

app = typer.Typer(
    name="cliphouse",
    cls=LateGroup,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cliphouse {cliphouse.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main(load_settings: LoadSettings | None = None) -> None:
    """Run the command line and end the process with its exit code.

    The command ingest works with ``load_settings`` instead of the usual ones, if they are given.
    The process skips the clean-up of interpreter and engine, which takes 0.2 s: everything is
    closed by then."""
    code = _run(load_settings)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 1
    os._exit(code)


def _run(load_settings: LoadSettings | None) -> int:
    """The exit code. An error of ours becomes one line on standard error."""
    interrupt.keep()
    try:
        with interrupt.interruptible():
            code = app(obj=load_settings, standalone_mode=False)
    except OptionError as error:
        return _print_error(str(error.named(_flag(error.option))), error.exit_code)
    except CliphouseError as error:
        return _print_error(str(error), error.exit_code)
    except _UsageError as error:
        return _print_usage(error)
    except typer.Abort:
        return _print_error("nothing was done", 1)
    except SystemExit as leave:
        if leave.code == interrupt.INTERRUPTED:
            return _print_error(interrupt.interrupted(), interrupt.INTERRUPTED)
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except KeyboardInterrupt:
        return _print_error(interrupt.interrupted(), interrupt.INTERRUPTED)
    except BrokenPipeError:  # the reader, such as head, has closed the pipe
        return 1
    except OSError as error:
        file = f"{error.filename}: " if error.filename else ""
        again = "; make room, and run the same command again" * (error.errno in DISK_FULL)
        return _print_error(f"{file}{error.strerror or error}{again}", 1)
    except Exception as error:
        if "CLIPHOUSE_DEBUG" in os.environ:
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return _print_error(
            f"an internal error of cliphouse: {what}. Please report it, with the output of "
            "CLIPHOUSE_DEBUG=1",
            1,
        )
    if code == interrupt.INTERRUPTED:
        return _print_error(interrupt.interrupted(), code)
    return code if isinstance(code, int) else 0


def _print_usage(error: Any) -> int:
    """Say in one line what is wrong with the words of the command line. If there are none, the
    message is the help."""
    message = error.format_message()
    if len(message.splitlines()) > 1:
        error.show()
        return int(error.exit_code)
    context = error.ctx
    given = context.command_path.removeprefix(context.find_root().info_name) if context else ""
    what = " ".join(message.split()).rstrip(".")
    see = " See" if what.endswith("?") else "; see"
    return _print_error(f"{what}{see} cliphouse{given} --help", int(error.exit_code))


def _flag(option: str) -> str:
    """What the command line calls an option of a search."""
    from cliphouse.search.option import options_of
    from cliphouse.search.request import Request

    return next((known.flag for known in options_of(Request) if known.name == option), option)


def _print_error(what: str, code: int) -> int:
    from cliphouse.cli import show

    print(f"cliphouse: {show.plain(what)}", file=sys.stderr)
    return code
