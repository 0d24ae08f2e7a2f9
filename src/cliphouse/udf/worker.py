"""The process behind a function: rows in on standard input, vectors out on standard output.

The engine starts it at the first call and keeps it. It ends when standard input does, which is
also what it sees when the engine's process is killed. A row that cannot be encoded fails the query
with one line on standard error; the process lives on, with its model loaded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cliphouse.errors import CliphouseError, EngineError, ModelError, PictureError
from cliphouse.models import Encoder, load_encoder
from cliphouse.udf.allowed import open_allowed
from cliphouse.udf.rowbinary import EMPTY_ARRAY, array_bytes, read_string
from cliphouse.udf.settings import EncoderSettings

_BATCH = 64  # rows encoded and answered together: two of the encoder's own batches
_MAX_MESSAGE = 2000  # bytes; the engine reads up to 4096 before it looks at the answer

Vectors = list[NDArray[np.float32] | None]


class Worker:
    """Answers chunks of rows with the model that the settings name at the time."""

    def __init__(self, function: str, settings: Path) -> None:
        self._encode: Callable[[list[bytes], EncoderSettings], Vectors] = {
            "encode_text": self._texts,
            "encode_image": self._pictures,
            "encode_image_or_empty": self._pictures_or_none,
        }[function]
        self._settings = settings
        self._encoder: Encoder | None = None
        self._made_for: tuple[str, str | None] | None = None

    def answer(self, texts: list[bytes]) -> Vectors:
        """A vector of shape (dim,), float32, for each; None where there is none.

        Raises CliphouseError where one cannot be encoded, or no model can be loaded.
        """
        settings = EncoderSettings.read(self._settings)
        if settings.problem is not None:
            raise ModelError(settings.problem)
        return self._encode(texts, settings)

    def _texts(self, texts: list[bytes], settings: EncoderSettings) -> Vectors:
        words = [text.decode("utf-8", "replace") for text in texts]
        return list(self._model(settings).encode_text(words))

    def _pictures(self, paths: list[bytes], settings: EncoderSettings) -> Vectors:
        encoder = self._model(settings)
        opened = [encoder.shrink(open_allowed(path, settings.folders)) for path in paths]
        return list(encoder.encode_image(opened))

    def _pictures_or_none(self, paths: list[bytes], settings: EncoderSettings) -> Vectors:
        encoder = self._model(settings)
        opened = {}
        for row, path in enumerate(paths):
            try:
                opened[row] = encoder.shrink(open_allowed(path, settings.folders))
            except PictureError:
                continue
        vectors = dict(zip(opened, encoder.encode_image(list(opened.values())), strict=True))
        return [vectors.get(row) for row in range(len(paths))]

    def _model(self, settings: EncoderSettings) -> Encoder:
        wanted = (settings.model, settings.model_dir)
        if self._encoder is None or self._made_for != wanted:
            self._encoder = load_encoder(*wanted)
            self._made_for = wanted
        return self._encoder


def serve(worker: Worker, questions: BinaryIO, answers: BinaryIO, errors: int) -> None:
    """Answer until ``questions`` ends. ``errors`` is a file descriptor that fails the query."""
    while header := questions.readline():
        failed = False
        for texts in _batches(questions, int(header)):
            vectors: Vectors = [None] * len(texts)
            if not failed:
                try:
                    vectors = worker.answer(texts)
                # Whatever it is, the query must hear of it, and its rows still be answered.
                except Exception as error:  # noqa: BLE001
                    failed = True
                    os.write(errors, _message(error))
            for vector in vectors:
                answers.write(EMPTY_ARRAY if vector is None else array_bytes(vector))
            answers.flush()


def _batches(questions: BinaryIO, rows: int) -> Iterator[list[bytes]]:
    for start in range(0, rows, _BATCH):
        yield [read_string(questions) for _ in range(min(_BATCH, rows - start))]


def _message(error: Exception) -> bytes:
    """The code and text of an error in one line, which the engine's own error will contain."""
    text = " ".join(str(error).split()) or "no reason given"
    if not isinstance(error, CliphouseError):
        text = f"the encoder failed: {type(error).__name__}: {text}"
    code = error.code if isinstance(error, CliphouseError) else EngineError.code
    return f"{code}: {text}".encode("utf-8", "replace")[:_MAX_MESSAGE] + b"\n"


def main() -> None:
    """Serve the engine until it closes standard input."""
    # Ctrl-C is for the one who asked; a process that has the model loaded stays.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries may print what they like: it is no answer and no error.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    answers, errors = os.dup(sys.stdout.fileno()), os.dup(sys.stderr.fileno())
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    function, settings = sys.argv[1:]
    with contextlib.suppress(BrokenPipeError, EOFError), os.fdopen(answers, "wb") as stream:
        serve(Worker(function, Path(settings)), sys.stdin.buffer, stream, errors)
