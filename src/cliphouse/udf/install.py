"""Installing encode_text and encode_image on a server, as files in its folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cliphouse.errors import ModelError, UserError
from cliphouse.models import Device, absolute_model, known_model, model_name
from cliphouse.udf.functions import (
    FUNCTIONS,
    FUNCTIONS_FILE,
    SETTINGS_FILE,
    config_xml,
    encoder_command,
    functions_xml,
)
from cliphouse.udf.settings import EncoderSettings

_FRAGMENT = "config.d/cliphouse_encode.xml"
# The pattern of a server's own configuration, so that the server's other functions stay defined.
_PATTERN = "*_function.*ml"


@dataclass(frozen=True)
class ServerFile:
    """A file of an installation and its text."""

    path: Path
    text: str
    is_script: bool = False


@dataclass(frozen=True)
class ServerFolders:
    """A server's folders: ``config`` (with config.xml), user ``scripts``, and those with the
    ``pictures`` that encode_image may open."""

    config: Path
    scripts: Path
    pictures: tuple[Path, ...]


def server_files(
    folders: ServerFolders,
    model: str,
    model_dir: str | None = None,
    copies: int = 1,
    device: Device = "auto",
) -> list[ServerFile]:
    """The files to install: scripts, the encoder's settings, the functions' XML, configuration.

    Up to ``copies`` processes of each function run on ``device``, each with the model in memory.

    Raises ModelError if the model is unknown, or needs a ``model_dir`` because a server downloads
    no model.
    """
    named = absolute_model(model)
    known = known_model(named)
    name = model_name(named, model_dir)
    if known is not None and known.parts and not model_dir:
        raise ModelError(
            f"model {name}: a server downloads nothing; name the folder of its files with "
            "--model-dir"
        )
    absolute = None if not model_dir else str(Path(model_dir).resolve())
    settings = EncoderSettings(
        name if known is not None else named,
        absolute,
        tuple(str(folder.resolve()) for folder in folders.pictures),
        device=device,
    )
    config, scripts = folders.config.resolve(), folders.scripts.resolve()
    started = {f.name: encoder_command(f, scripts / SETTINGS_FILE) for f in FUNCTIONS}
    commands = {function.name: function.name for function in FUNCTIONS}
    return [
        *(ServerFile(scripts / n, f"#!/bin/sh\n{c}\n", True) for n, c in started.items()),
        ServerFile(scripts / SETTINGS_FILE, settings.to_json()),
        ServerFile(config / FUNCTIONS_FILE, functions_xml(commands, direct=True, copies=copies)),
        ServerFile(config / _FRAGMENT, config_xml(str(config / _PATTERN), f"{scripts}/")),
    ]


def install(files: Sequence[ServerFile]) -> None:
    """Write the files, each in one step. A second run changes nothing.

    Raises UserError if a folder is missing or cannot be written.
    """
    for file in files:
        try:
            if file.path.parent.name == Path(_FRAGMENT).parent.name:
                file.path.parent.mkdir(exist_ok=True)
            part = file.path.with_name(f".{file.path.name}.part")
            part.write_text(file.text)
            part.chmod(0o755 if file.is_script else 0o644)
            part.replace(file.path)
        except OSError as error:
            raise UserError(f"{file.path}: cannot be written: {error.strerror}") from error
