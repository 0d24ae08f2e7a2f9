"""The encoder of a table: the one it was made with, loaded once, here and for SQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cliphouse.engine.connection import Connection
from cliphouse.engine.encoding import check_encoder, choose_encoder, reload_functions
from cliphouse.errors import ModelError
from cliphouse.models import DEFAULT_MODEL, Device, Encoder, load_encoder, model_name
from cliphouse.schema.info import KnownModels, TableInfo, read_models
from cliphouse.udf import EncoderSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TableEncoders:
    """Encoders by model. ``model`` is what a user named: a name for tables that do not say which
    model made them, or the folder of its files. ``model_dir`` is the folder that holds models.
    They run on ``device``, each tower in at most ``threads`` threads (None is all cores)."""

    def __init__(
        self,
        model: str | None,
        model_dir: str | None,
        device: Device = "auto",
        threads: int | None = None,
    ) -> None:
        self.model = model
        self.model_dir = model_dir
        self._device = device
        self._threads = threads
        self._loaded: dict[str, Encoder] = {}

    def load(self, model: str) -> Encoder:
        """The encoder of this name. Raises ModelError if it is not known or cannot be loaded."""
        if model not in self._loaded:
            given = self.model if self.model and self.name == model else model
            self._loaded[model] = load_encoder(given, self.model_dir, self._threads, self._device)
        return self._loaded[model]

    def of_table(self, table: str, info: TableInfo) -> Encoder:
        """The encoder that the table was made with: no other's vectors mean anything in it.

        Raises ModelError if the user named another, or its dimension is not the table's.
        """
        wanted = self.name
        if info.model is not None and wanted not in (None, info.model):
            raise ModelError(
                f"table {table} was made with model {info.model}; words and pictures "
                f"encoded with {wanted} would find nothing in it"
            )
        encoder = self.load(info.model or wanted or DEFAULT_MODEL)
        if encoder.dim != info.dim:
            raise ModelError(
                f"table {table} has vectors of dimension {info.dim}, model {encoder.name} of "
                f"{encoder.dim}: it was made with another model; search with a .npy vector or id:N"
            )
        return encoder

    @property
    def name(self) -> str | None:
        """The name of the model that the user named, if any. Raises ModelError if there is none."""
        return model_name(self.model, self.model_dir) if self.model else None

    def for_new(self, table: str, info: TableInfo | None) -> Encoder:
        """The encoder for rows that are added: that of the table, or if there is no table yet, the
        one that the user named or the default. Raises ModelError as ``of_table`` does."""
        if info is None:
            return self.load(self.name or DEFAULT_MODEL)
        return self.of_table(table, info)

    def encode(self, model: str, query: str | Path) -> NDArray[np.float32]:
        """The vector of words (str) or of a picture's file (Path), float32 of shape (dim,).

        Raises ModelError as ``load`` does, PictureError for a bad picture.
        """
        import numpy as np

        encoder = self.load(model)
        if isinstance(query, Path):
            from cliphouse.pictures.open_any import open_any

            (vector,) = encoder.encode_image([encoder.shrink(open_any(str(query)))])
        else:
            (vector,) = encoder.encode_text([query])
        return np.asarray(vector, np.float32)

    def for_sql(self, connection: Connection) -> EncoderSettings:
        """Choose the encoder of encode_text and encode_image in the next statement: the one before
        may have made or dropped a table (see cliphouse.engine.encoding.choose_encoder)."""
        known = KnownModels() if self.model else read_models(connection)
        return choose_encoder(
            connection, self.model, self.model_dir, known.by_table, known.problem, self._device
        )

    def encode_as_sql(self, connection: Connection, query: str | Path) -> NDArray[np.float32]:
        """The vector that encode_text or encode_image would make, as ``encode`` does. Raises
        ModelError if no model can be chosen, too."""
        settings = self.for_sql(connection)
        if settings.problem is not None:
            raise ModelError(settings.problem)
        return self.encode(settings.model, query)

    def check_sql(self, connection: Connection) -> float:
        """Let a server reload its functions, and check that its encode_text is the encoder of this
        process; return their largest difference (see cliphouse.engine.encoding.check_encoder)."""
        reload_functions(connection)
        return check_encoder(connection, self.load(self.name or DEFAULT_MODEL))
