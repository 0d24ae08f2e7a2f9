"""cliphouse search"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cliphouse.cli import options, show
from cliphouse.cli.formats import PATH_FORMATS, Format, choose_format, write
from cliphouse.cli.hit_pictures import Source, find_screen, open_page, open_sheet, show_pictures
from cliphouse.cli.hits import draw_hits, way
from cliphouse.cli.opening import open_table
from cliphouse.cli.request import takes_request
from cliphouse.errors import QueryError
from cliphouse.search.query.operand import operands_of
from cliphouse.search.query.typed import existing_file, is_special
from cliphouse.search.request import Request
from cliphouse.search.results import SearchResult

if TYPE_CHECKING:
    import pyarrow as pa

_DEFAULT = Request()
_DRAWN = ("caption", "url")
_PATH = ("url",)


@takes_request
def command(
    context: typer.Context,
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY]",
            help="Words, a picture's path or URL, a .npy file with one vector, or id:N. "
            "A weight goes in front, as in 2:cat. text: in front makes words of anything.",
        ),
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", help="Add another query; repeatable.")
    ] = None,
    subtract: Annotated[
        list[str] | None, typer.Option("--subtract", help="Subtract another query; repeatable.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Search for each line of a file (- for standard input)."),
    ] = None,
    request: Request = _DEFAULT,
    db: options.Db = options.DB,
    table: options.TableName = options.TABLE,
    model: options.Model = None,
    model_dir: options.ModelDir = None,
    device: options.Device = "auto",
    server: options.Server = None,
    api_key: options.ApiKey = None,
    chosen: options.OutputFormat = None,
    json: options.Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to this file.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--show", help="Show the pictures on the terminal.")
    ] = False,
    sheet: Annotated[
        bool,
        typer.Option(
            "--open",
            help="Open a contact sheet in the system's viewer, or with --server the search page.",
        ),
    ] = False,
    show_sql: Annotated[
        bool, typer.Option("--show-sql", help="Print the statement and how it was run.")
    ] = False,
) -> None:
    """Find the pictures nearest to words, a picture, a vector or a row."""
    asked = [_joined(query)] if query else []
    if queries is not None:
        if asked or request.cursor is not None:
            raise QueryError("--queries searches for the lines of a file: no other query or cursor")
        asked = _lines(queries)
    elif not asked:
        raise QueryError("nothing to search for: give words, a picture, a .npy file or id:N")
    searched = [operands_of(text, add or (), subtract or ()) for text in asked]
    form = choose_format(chosen, json, output)
    if (pictures or sheet) and form is not Format.TABLE:
        raise QueryError("--show and --open need the table: leave --format, --json and -o out")
    screen = find_screen() if pictures else None  # before the search, which may take long
    shown = request.fields
    request = replace(request, fields=_read_columns(form, shown, pictures or sheet))
    if server is not None:
        if show_sql or model:
            raise QueryError("--server does not allow --show-sql and --model: leave them out")
        from cliphouse.client import Client

        with Client(server, api_key) as service:
            named = options.given(context, "table", table)
            results = service.search_many(searched, request, named)
    else:
        with open_table(db, table, model, options.folder(model_dir), device=device) as opened:
            results = opened.search_many(searched, request, count=True)
    if show_sql:
        for result in results:
            show.err.print(f"-- {way(result)}\n{result.sql}", markup=False)
    many = queries is not None
    source = Source(server, api_key, options.given(context, "table", table))

    def draw() -> None:
        fields = _headings(shown or _DRAWN, results)
        for text, operands, result in zip(asked, searched, results, strict=True):
            if many:
                show.out.print(f"\nsearch: {show.plain(text)}", style="bold", markup=False)
            if screen is not None:
                show_pictures(result, source, screen)
            draw_hits(result, fields)
            if sheet and server is not None:
                open_page(server, operands, request, source.table)
            elif sheet:
                open_sheet(result, text, source)

    write(
        lambda: _arrow(asked, results, many),
        form,
        output,
        lambda: _document(asked, results, many),
        draw,
    )


def _read_columns(
    form: Format, asked: tuple[str, ...] | None, with_pictures: bool
) -> tuple[str, ...] | None:
    """The columns to read of the hits, None for all: those that nobody sees are not read."""
    if form in PATH_FORMATS:
        return _PATH
    if form is not Format.TABLE:
        return asked
    return tuple(dict.fromkeys((*(asked or _DRAWN), *_DRAWN * with_pictures)))


def _joined(words: Sequence[str]) -> str:
    """The words of one query, typed without quotes. Raises QueryError if one of several is a file,
    an address or a row."""
    for word in words if len(words) > 1 else ():
        if existing_file(word) or is_special(word):
            raise QueryError(
                f"{word}: give one query; add another with --add, or put words that belong "
                "together in quotes"
            )
    return " ".join(words)


def _lines(path: Path) -> list[str]:
    """The queries of a file, one per line, without empty lines."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
        binary = next((number for number, line in enumerate(lines, 1) if "\0" in line), None)
    except OSError as error:
        raise QueryError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise QueryError(f"{path}: not UTF-8 text: {error}") from error
    if binary is not None:
        raise QueryError(f"{path}: line {binary} has a NUL character: not a text file of queries")
    if not any(lines):
        raise QueryError(f"{path}: contains no queries (one per line)")
    return [line for line in lines if line]


def _arrow(asked: Sequence[str], results: Sequence[SearchResult], many: bool) -> pa.Table:
    from cliphouse.search.arrow import results_table

    return results_table(asked, results, results[0].fields) if many else results[0].to_arrow()


def _document(asked: Sequence[str], results: Sequence[SearchResult], many: bool) -> object:
    if not many:
        return results[0].to_dict()
    return [{"query": q} | r.to_dict() for q, r in zip(asked, results, strict=True)]


def _headings(asked: Sequence[str], results: Sequence[SearchResult]) -> tuple[str, ...]:
    """The columns of the list on the terminal: those asked for, then the one it is sorted by."""
    found = (field.name for result in results[:1] for field in result.fields)
    return tuple(dict.fromkeys((*asked, *(name for name in found if name not in _DRAWN))))
