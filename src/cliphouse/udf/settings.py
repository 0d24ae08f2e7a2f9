"""The settings of an encoder process: its model, and the folders of pictures it may open."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from cliphouse.errors import ModelError
from cliphouse.models import Device


@dataclass(frozen=True)
class EncoderSettings:
    """The model of an encoder process, and the ``folders`` whose pictures it may open.

    ``model`` is a name, or the path of a folder of model files; ``model_dir`` is the folder that
    holds models. It runs on ``device``. Relative paths of pictures begin at the
    first of ``folders``. If no model can be chosen, ``problem`` says why, and every call fails with
    it.
    """

    model: str
    model_dir: str | None = None
    folders: tuple[str, ...] = ()
    problem: str | None = None
    device: Device = "auto"

    def write(self, path: Path) -> None:
        """Write the settings as JSON in one step, because a process may be reading them."""
        part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        part.write_text(self.to_json())
        part.replace(path)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> EncoderSettings:
        """Read the settings that ``write`` wrote. Raises ModelError if that is not possible."""
        try:
            return cls.from_json(path.read_text())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path}: the encoder's settings cannot be read: {error}; on a server, run "
                "cliphouse udf install again"
            ) from error

    @classmethod
    def from_json(cls, text: str) -> EncoderSettings:
        """The settings that ``to_json`` has written. Raises ValueError, KeyError or TypeError if
        they are none."""
        values = json.loads(text)
        return cls(**{**values, "folders": tuple(values["folders"])})
