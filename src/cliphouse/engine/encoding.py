"""The model that encode_text and encode_image use in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cliphouse.engine.connection import Connection
from cliphouse.errors import EngineError, ModelError
from cliphouse.models import DEFAULT_MODEL, Device, Encoder, absolute_model
from cliphouse.udf import EncoderSettings

_SAME = 1e-3  # two machines differ by some 1e-6, two models by some 0.1


def choose_encoder(
    connection: Connection,
    model: str | None,
    model_dir: str | None,
    made_with: Mapping[str, str],
    unreadable: str = "",
    device: Device = "auto",
) -> EncoderSettings:
    """Choose the encoder for SQL: ``model``, else the model of the database's tables (``made_with``
    gives it by table), else ViT-B/32. It runs on ``device``.

    In an embedded database the functions use it from their next call on, and open pictures below
    the working folder. On a server they use the settings that were installed there.

    If ``model`` is None, and tables were made with different models or that of some table cannot be
    read, as ``unreadable`` says, the settings have a ``problem``, and every call of a function
    fails with it.
    """
    problem = None
    if model is None:
        names = sorted(set(made_with.values()))
        model = names[0] if names else DEFAULT_MODEL
        if len(names) > 1:
            listed = ", ".join(f"{table} with {name}" for table, name in made_with.items())
            problem = f"tables were made with different models ({listed}); choose one with --model"
        problem = unreadable or problem
    folder = None if model_dir is None else str(Path(model_dir).absolute())
    settings = EncoderSettings(absolute_model(model), folder, (str(Path.cwd()),), problem, device)
    connection.use_encoder(settings)
    return settings


def reload_functions(connection: Connection) -> None:
    """Let a server read its functions again; it reloads its configuration by itself."""
    connection.command("SYSTEM RELOAD FUNCTIONS")


def check_encoder(connection: Connection, encoder: Encoder) -> float:
    """Check that encode_text in SQL is ``encoder``; return the largest difference in any dimension.

    Raises ModelError if the database's function gives another number of dimensions, and EngineError
    if it is another model.
    """
    import numpy as np

    found = connection.query("SELECT encode_text('cat') AS vector").column("vector")[0].as_py()
    expected = encoder.encode_text(["cat"])[0]
    if len(found) != len(expected):
        raise ModelError(
            f"{connection.address.shown}: encode_text gives {len(found)} dimensions, model "
            f"{encoder.name} {len(expected)}; another function of that name is installed"
        )
    difference = float(np.abs(np.array(found, np.float32) - expected).max())
    if not difference < _SAME:
        raise EngineError(
            f"{connection.address.shown}: encode_text('cat') differs from model {encoder.name} by "
            f"{difference:.2g}: the server uses another model or another function of that name"
        )
    return difference
