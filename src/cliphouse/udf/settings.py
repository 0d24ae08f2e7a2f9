"""What an encoder process is told: which model, and below which folders pictures may be opened."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from cliphouse.errors import ModelError


@dataclass(frozen=True)
class EncoderSettings:
    """``model_dir`` is where the model's files lie offline; pictures are opened below ``folders``
    alone, and relative paths begin at the first. ``problem`` is why no model can be chosen: every
    call fails with it."""

    model: str
    model_dir: str | None = None
    folders: tuple[str, ...] = ()
    problem: str | None = None

    def write(self, path: Path) -> None:
        """Write as JSON, in one step: a process may be reading it."""
        part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        part.write_text(self.to_json())
        part.replace(path)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> EncoderSettings:
        """Raises ModelError where the file is missing or not what ``write`` writes."""
        try:
            values = json.loads(path.read_text())
            return cls(**{**values, "folders": tuple(values["folders"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path}: the encoder's settings cannot be read: {error}; on a server, run "
                "cliphouse udf install again"
            ) from error
