"""The commands together, and what becomes of an error: one line, and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import cliphouse
from cliphouse.cli import (
    check,
    demo,
    download,
    embed,
    export,
    index,
    info,
    ingest,
    plan,
    recall,
    search,
    serve,
    sql,
    udf,
)
from cliphouse.errors import CliphouseError
from cliphouse.search.condition import ConditionError

_INTERRUPTED = 130  # what typer makes of a KeyboardInterrupt

app = typer.Typer(
    name="cliphouse",
    help="Search image-text pairs by words or by picture, in embedded ClickHouse or on a server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (
    *(demo, download, embed, ingest, index, search, recall, plan),
    *(serve, sql, info, check, export),
):
    app.command(room.NAME)(room.command)
app.add_typer(udf.app, name=udf.NAME)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cliphouse {cliphouse.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line, and leave at once: everything is closed by then, and the tidying up of
    interpreter and engine would take another fifth of a second."""
    code = _run()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 1
    os._exit(code)


def _run() -> int:
    """The exit code; errors of ours become one line on standard error."""
    try:
        app()
    except ConditionError as error:
        return _tell(str(error.named("--where")), error.exit_code)
    except CliphouseError as error:
        return _tell(str(error), error.exit_code)
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:
            return _tell("interrupted; the same command goes on from here", _INTERRUPTED)
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _tell(f"{where}{error.strerror or error}", 1)
    except Exception as error:
        if "CLIPHOUSE_DEBUG" in os.environ:
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return _tell(
            f"a fault of cliphouse itself: {what}. Please report it, with what "
            "CLIPHOUSE_DEBUG=1 prints",
            1,
        )
    return 0


def _tell(what: str, code: int) -> int:
    print(f"cliphouse: {what}", file=sys.stderr)
    return code
