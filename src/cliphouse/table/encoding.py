"""Which model encode_text and encode_image use in an embedded database."""

from __future__ import annotations

from pathlib import Path

from cliphouse.models import DEFAULT_MODEL
from cliphouse.table.connection import Connection
from cliphouse.table.embedded import tell_encoder
from cliphouse.table.schema import TableInfo
from cliphouse.udf import EncoderSettings


def choose_encoder(connection: Connection, model: str | None, model_dir: str | None) -> None:
    """Let the functions use ``model``, else the one that the database's tables were made with,
    else ViT-B/32; pictures are opened below the working folder.

    Where tables were made with different models and nobody says which, every call of a function
    fails and says so. A server's functions are what was installed on it.
    """
    if not connection.is_embedded:
        return
    problem = None
    if model is None:
        made_with = _models(connection)
        names = sorted(set(made_with.values()))
        model = names[0] if names else DEFAULT_MODEL
        if len(names) > 1:
            listed = ", ".join(f"{table} with {name}" for table, name in made_with.items())
            problem = f"tables were made with different models ({listed}); say which by --model"
    tell_encoder(EncoderSettings(model, model_dir, (str(Path.cwd()),), problem))


def _models(connection: Connection) -> dict[str, str]:
    """The model of each table that knows it."""
    tables = connection.query(
        "SELECT name, comment FROM system.tables "
        "WHERE database = currentDatabase() AND comment != '' ORDER BY name"
    ).to_pylist()
    infos = {table["name"]: TableInfo.from_comment(table["comment"]) for table in tables}
    return {name: info.model for name, info in infos.items() if info is not None and info.model}
