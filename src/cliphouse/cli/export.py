"""cliphouse export"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cliphouse.cli import interrupt, options, show
from cliphouse.cli.opening import open_table
from cliphouse.errors import QueryError
from cliphouse.export import FORMATS, check_output
from cliphouse.wording import counted

_FOLDERS = ", ".join(name for name, form in FORMATS.items() if form.output == "folder")
_FORMATS_HELP = " ".join(
    (
        *(f"{name}: {form.help}." for name, form in FORMATS.items()),
        "By default the one that a file's ending names.",
    )
)
if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(FORMATS)]


def command(
    output: Annotated[Path, typer.Argument(help=f"A folder ({_FOLDERS}) or a file (the others).")],
    chosen: Annotated[FormatName | None, typer.Option("--format", help=_FORMATS_HELP)] = None,
    where: Annotated[
        str | None, typer.Option(help="A SQL condition on the rows, as in: width > 200")
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="Write only the results of a search for this query.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of results of --search.")] = 1000,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    model: options.Model = None,
    model_dir: options.ModelDir = None,
) -> None:
    """Export the table, part of it, or the results of a search, to files."""
    form = _format(chosen, output)
    interrupt.keep("files that were finished are there, others are missing: export them again")
    with (
        open_table(db, table, model, options.folder(model_dir)) as opened,
        show.progress("export") as advance,
    ):
        ids = None
        if search is not None:
            ids = [hit.id for hit in opened.search(search, k, where=where)]
        report = opened.export(output, form, None if search else where, ids, advance)
    names = ", ".join(str(path) for path in report.files[:3])
    more = f" and {len(report.files) - 3} more" if len(report.files) > 3 else ""
    show.out.print(f"{counted(report.rows, 'row')} into {names}{more}", markup=False)


def _format(chosen: str | None, output: Path) -> str:
    """Raises QueryError if neither the option nor the file's ending names a format, or the format
    writes no such file."""
    ending = output.suffix.lower().lstrip(".")
    if chosen is not None:
        return chosen
    if ending in FORMATS and FORMATS[ending].output == "file":
        return ending
    if ending in FORMATS:
        check_output(FORMATS[ending], output)
    raise QueryError(f"{output}: choose a --format: {', '.join(FORMATS)}")
