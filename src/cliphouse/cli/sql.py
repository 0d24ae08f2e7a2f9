"""cliphouse sql"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.formats import (
    Format,
    asked_format,
    check_for_file,
    check_output,
    is_format,
    write,
    write_bytes,
)
from cliphouse.cli.opening import open_table
from cliphouse.cli.rows import draw_rows, draw_vertical
from cliphouse.cli.timing import timing_line
from cliphouse.engine.answer import Answer
from cliphouse.engine.arrays import as_rows
from cliphouse.engine.statements import (
    VERTICAL,
    named_format,
    only_reads,
    returns_rows,
    split_statements,
)
from cliphouse.errors import CliphouseError, QueryError
from cliphouse.wording import counted

if TYPE_CHECKING:
    from cliphouse.table import Table

_STDIN = Path("-")


@dataclass(frozen=True)
class Printer:
    """Writes answers in the format that was ``asked`` for, or as tables, to standard output, or the
    only result to a file, and what is to say of them to standard error."""

    asked: Format | None
    output: Path | None
    results: list[Answer] = field(default_factory=list)

    @property
    def chosen(self) -> Format:
        return self.asked or Format.TABLE

    def print(self, answer: Answer, vertical: bool = False) -> None:
        """Print one answer, its rows as blocks if ``vertical``, or keep its result for ``save``."""
        if self.output is None:
            self._write(answer, Format.VERTICAL if vertical else self.chosen)
        elif answer.has_result:
            self.results.append(answer)
        for line in (answer.warning, answer.hint):
            if line:
                show.err.print(line, markup=False)
        show.err.print(timing_line(answer), style="dim")

    def save(self) -> None:
        """Write the file. Raises QueryError if there is no result for it, or more than one."""
        if self.output is None:
            return
        if len(self.results) != 1:
            raise _not_one(self.output, len(self.results))
        self._write(self.results[0], self.chosen)

    def _write(self, answer: Answer, chosen: Format) -> None:
        rows = answer.rows
        if rows is None:
            write_bytes(answer.written, self.output)
        elif rows.column_names:
            is_vertical = chosen is Format.VERTICAL
            write(
                lambda: rows,
                Format.TABLE if is_vertical else chosen,
                self.output,
                lambda: as_rows(rows),
                lambda: draw_vertical(rows) if is_vertical else draw_rows(rows),
            )


def command(
    statement: Annotated[
        str | None,
        typer.Argument(
            help="One or more SQL statements, separated by semicolons. \\G instead of one prints "
            "each row as a block. Without a statement, it reads standard input or opens a prompt."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f", "--file", help="Run the statements in this file (- for standard input)."
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            help="The value of a parameter {name:Type}: name=VALUE, name=@FILE.npy, "
            "name=image:PATH or name=text:WORDS; repeatable."
        ),
    ] = None,
    db: options.Db = options.DB,
    model: options.Model = None,
    model_dir: options.ModelDir = None,
    device: options.Device = "auto",
    chosen: options.OutputFormat = None,
    json: options.Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file.")
    ] = None,
) -> None:
    """Run SQL on the database: statements, a file, standard input or a prompt.

    encode_text('words') and encode_image('path') return vectors of the tables' model.
    """
    if output is not None:
        check_output(output)
    printer = Printer(asked_format(chosen, json, output), output)
    text = _text(statement, file, output)
    statements = None if text is None else _several(text, printer)
    with open_table(db, model=model, model_dir=options.folder(model_dir), device=device) as opened:
        parameters = _parameters(param, opened)
        if statements is None:
            from cliphouse.cli.prompt import run_prompt  # slow to import, and seldom needed

            run_prompt(
                opened, lambda text: _run(opened, split_statements(text), parameters, printer)
            )
        else:
            _run(opened, statements, parameters, printer)
            printer.save()


def _parameters(given: list[str] | None, opened: Table) -> dict[str, Any]:
    if not given:
        return {}
    from cliphouse.cli.parameters import read_parameters  # it reads pictures and vectors, too

    return read_parameters(given, opened)


def _text(statement: str | None, file: Path | None, output: Path | None) -> str | None:
    """The statements to run, or None for a prompt."""
    if statement is not None and file is not None:
        raise QueryError(f"a statement and --file {file}: give one of them")
    if statement is not None:
        return statement
    if file is None and sys.stdin.isatty():
        if output is not None:
            raise QueryError(f"{output}: give the statement whose result is to be written")
        return None
    given = None if file == _STDIN else file
    try:
        return sys.stdin.read() if given is None else given.read_text("utf-8-sig")
    except OSError as error:
        raise QueryError(f"{given or 'standard input'}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise QueryError(f"{given or 'standard input'}: not UTF-8 text: {error}") from error


def _several(text: str, printer: Printer) -> list[str]:
    statements = split_statements(text)
    if not statements:
        raise QueryError("no statement: give one, -f FILE, or text on standard input")
    results = sum(map(returns_rows, statements))
    if printer.output is not None and results > 1:
        raise _not_one(printer.output, results)
    if not any(map(named_format, statements)):
        check_for_file(printer.chosen, printer.output)
    return statements


def _kept(statements: list[str]) -> str:
    """What an interrupt leaves of statements, the last of which runs now."""
    *before, now = map(only_reads, statements)
    done = f"the {counted(len(before), 'statement')} before it took effect" * (not all(before))
    if now:
        return done or "nothing was changed"
    return f"the statement may have changed data{', and ' if done else ''}{done}"


def _not_one(output: Path, results: int) -> QueryError:
    return QueryError(f"{output}: a file can hold the result of one statement, not of {results}")


def _check_formats(statements: list[str], printer: Printer) -> None:
    """Raise QueryError if the FORMAT of a statement is another than was asked for."""
    if printer.asked is None:
        return
    asked = printer.asked.value
    for statement in statements:
        name = named_format(statement.removesuffix(VERTICAL))
        if name is not None and not is_format(name, printer.asked):
            raise QueryError(
                f"the statement has FORMAT {name}, and --format or the file's ending says {asked}: "
                "leave one of them out"
            )
        if statement.endswith(VERTICAL) and printer.asked not in (Format.TABLE, Format.VERTICAL):
            raise QueryError(rf"\G prints rows as blocks: leave it out, or --format {asked}")


def _run(
    opened: Table, statements: list[str], parameters: dict[str, Any], printer: Printer
) -> None:
    _check_formats(statements, printer)
    for number, statement in enumerate(statements, 1):
        interrupt.keep(_kept(statements[:number]))
        try:
            answer = opened.run(statement.removesuffix(VERTICAL), parameters, metered=True)
        except CliphouseError as error:
            if len(statements) == 1:
                raise
            raise type(error)(f"statement {number}: {error}") from error
        printer.print(answer, _is_vertical(statement))


def _is_vertical(statement: str) -> bool:
    return statement.endswith(VERTICAL)
