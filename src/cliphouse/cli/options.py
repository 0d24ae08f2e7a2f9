"""The options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from cliphouse.cli.formats import Format
from cliphouse.models.devices import DEVICE_VARIABLE
from cliphouse.models.devices import Device as DeviceName
from cliphouse.vocabulary import DEFAULT_DB, DEFAULT_TABLE

Db = Annotated[
    str,
    typer.Option(
        envvar="CLIPHOUSE_DB",
        help="The database: a folder (embedded), or http(s)://user:password@host:8123/database. "
        "CLIPHOUSE_PASSWORD is a safer place for the password.",
    ),
]
TableName = Annotated[str, typer.Option("--table", help="The name of the table.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="The encoder: a model that cliphouse models lists, or a folder of model files. By "
        "default, the one that the shards or the table name."
    ),
]
ModelDir = Annotated[
    Path | None,
    typer.Option(
        envvar="CLIPHOUSE_MODELS",
        help="The folder that holds models, by their names; or that of ViT-B/32, with text/ and "
        "vision/.",
    ),
]
Device = Annotated[
    DeviceName,
    typer.Option(
        envvar=DEVICE_VARIABLE,
        help="Where the encoder runs. auto takes CUDA if ONNX Runtime has it, otherwise the "
        "processor.",
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="The encoder's threads. By default, one for each core.")
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        help="Ask a running cliphouse serve, for example http://127.0.0.1:1234, not a database.",
    ),
]
ApiKey = Annotated[
    str | None, typer.Option(envvar="CLIPHOUSE_API_KEY", help="The API key for --server.")
]
OutputFormat = Annotated[
    Format | None,
    typer.Option(
        "--format", help="The output format. By default that of --output's ending, else a table."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]

DB = DEFAULT_DB
TABLE = DEFAULT_TABLE


def seconds(value: float) -> float:
    """A number of seconds as it was given. Raises BadParameter if it is none."""
    if math.isnan(value):
        raise typer.BadParameter("nan is no number of seconds.")
    return value


def folder(path: Path | None) -> str | None:
    return None if path is None else str(path)


def given(context: typer.Context, name: str, value: str) -> str | None:
    """An option's value if the user gave it, or None if it is the default."""
    source = context.get_parameter_source(name)
    return None if source is None or source.name == "DEFAULT" else value
