"""The encoder process of a SQL function: rows on standard input, vectors on standard output.

The engine starts it at the first call and keeps it running. It ends when standard input ends, also
if the engine's process is killed. If a row cannot be encoded, the process writes one line to
standard error, which fails the query, and goes on running with its model loaded.
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
from cliphouse.udf.rowbinary import EMPTY_ARRAY, array_bytes, read_string
from cliphouse.udf.settings import EncoderSettings

_BATCH = 64  # rows encoded and answered together: two of the encoder's own batches
_MAX_MESSAGE = 2000  # bytes; the engine reads up to 4096 before it reads the answer

Vectors = list[NDArray[np.float32] | None]


class Worker:
    """Encodes rows with the model that the settings name at the time of the call."""

    def __init__(self, function: str, settings: Path) -> None:
        self._encode: Callable[[list[bytes], EncoderSettings], Vectors] = {
            "encode_text": self._texts,
            "encode_image": self._pictures,
            "encode_image_or_empty": self._pictures_or_none,
        }[function]
        self._settings = settings
        self._encoder: Encoder | None = None
        self._made_for: EncoderSettings | None = None

    def answer(self, texts: list[bytes]) -> Vectors:
        """The vector of each row, float32 of shape (dim,); None if the function returns [].

        Raises CliphouseError if a row cannot be encoded or no model can be loaded.
        """
        settings = EncoderSettings.read(self._settings)
        if settings.problem is not None:
            raise ModelError(settings.problem)
        return self._encode(texts, settings)

    def _texts(self, texts: list[bytes], settings: EncoderSettings) -> Vectors:
        words = [text.decode("utf-8", "replace") for text in texts]
        return list(self._model(settings).encode_text(words))

    def _pictures(self, paths: list[bytes], settings: EncoderSettings) -> Vectors:
        from cliphouse.udf.allowed import open_allowed  # words need nothing that opens pictures

        encoder = self._model(settings)
        opened = [encoder.shrink(open_allowed(path, settings.folders)) for path in paths]
        return list(encoder.encode_image(opened))

    def _pictures_or_none(self, paths: list[bytes], settings: EncoderSettings) -> Vectors:
        from cliphouse.udf.allowed import open_allowed

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
        if self._encoder is None or self._made_for != settings:
            self._encoder = load_encoder(settings.model, settings.model_dir, device=settings.device)
            self._made_for = settings
        return self._encoder


def serve(worker: Worker, questions: BinaryIO, answers: BinaryIO, errors: int) -> None:
    """Answer until ``questions`` ends. Text written to descriptor ``errors`` fails the query."""
    while header := questions.readline():
        failed = False
        for texts in _batches(questions, int(header)):
            vectors: Vectors = [None] * len(texts)
            if not failed:
                try:
                    vectors = worker.answer(texts)
                # The query must get any error, and the engine still reads an answer for each row.
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
    """The code and text of an error in one line, which the engine repeats in its own error."""
    text = " ".join(str(error).split()) or "no reason given"
    if not isinstance(error, CliphouseError):
        text = f"the encoder failed: {type(error).__name__}: {text}"
    code = error.code if isinstance(error, CliphouseError) else EngineError.code
    return f"{code}: {text}".encode("utf-8", "replace")[:_MAX_MESSAGE] + b"\n"


def main() -> None:
    """Serve the engine until it closes standard input."""
    # Ctrl-C ends the query, not this process, which has the model loaded.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Text that libraries print must become neither an answer nor an error.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    answers, errors = os.dup(sys.stdout.fileno()), os.dup(sys.stderr.fileno())
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    function, settings = sys.argv[1:]
    with contextlib.suppress(BrokenPipeError, EOFError), os.fdopen(answers, "wb") as stream:
        serve(Worker(function, Path(settings)), sys.stdin.buffer, stream, errors)
