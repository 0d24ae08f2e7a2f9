"""A text encoder on ONNX Runtime: its tokenizer and its model, in the file layout of fastembed.

It loads and encodes as fastembed's text models do, without importing fastembed, which takes longer
than everything else that a search by words imports.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray


class TextTower:
    """The text encoder in ``folder``. ``threads`` limits ONNX Runtime's threads; None uses all
    cores. A file that is missing or damaged raises the error of its library."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        import onnxruntime

        self._tokenizer = _load_tokenizer(folder)
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = options.inter_op_num_threads = threads
        has_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"),
            options,
            providers=["CUDAExecutionProvider" if has_gpu else "CPUExecutionProvider"],
        )
        self._inputs = {node.name for node in self._session.get_inputs()}

    def embed(self, texts: Sequence[str], batch_size: int) -> Iterator[NDArray[np.float32]]:
        """The vectors of ``texts`` in batches: float32 of shape (rows, dim), of any length."""
        import numpy as np

        for start in range(0, len(texts), batch_size):
            encoded = self._tokenizer.encode_batch(list(texts[start : start + batch_size]))
            given = {
                "input_ids": np.array([one.ids for one in encoded], np.int64),
                "attention_mask": np.array([one.attention_mask for one in encoded], np.int64),
            }
            known = {name: value for name, value in given.items() if name in self._inputs}
            yield self._session.run(None, known)[0]


def _load_tokenizer(folder: Path) -> Any:
    """The tokenizer, cutting texts at the model's context and filling batches up to the longest."""
    from tokenizers import AddedToken, Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    lengths = (settings.get("model_max_length"), settings.get("max_length"))
    tokenizer.enable_truncation(min(n for n in lengths if isinstance(n, int)))
    special = _read_if_there(folder / "special_tokens_map.json")
    for token in special.values():
        tokenizer.add_special_tokens([AddedToken(**token) if isinstance(token, dict) else token])
    padding = tokenizer.padding or {}
    pad_token = padding.get("pad_token") or settings["pad_token"]
    config = _read_if_there(folder / "config.json")
    pad_id = padding.get("pad_id", config.get("pad_token_id", tokenizer.token_to_id(pad_token)))
    tokenizer.enable_padding(pad_id=pad_id, pad_token=pad_token)
    return tokenizer


def _read_if_there(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}
