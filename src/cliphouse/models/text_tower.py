"""A text tower: texts to vectors, by the facts of a model."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from cliphouse.errors import ModelError
from cliphouse.models.facts import Cleaning, TextFacts
from cliphouse.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

_NUMBERS = ("input_ids", "text")  # inputs for the numbers of the tokens
_MASK = "attention_mask"
_NO_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


class TextTower:
    """The text tower of a model, loaded. Raises ModelError if a file is damaged, or the network
    wants an input that a text does not give."""

    def __init__(self, facts: TextFacts, network: Network) -> None:
        self.network = network
        self._cleaning = facts.cleaning
        names = set(network.inputs)
        if unknown := names - {*_NUMBERS, _MASK}:
            raise ModelError(
                f"{network.path}: unknown input {', '.join(sorted(unknown))}; a text gives "
                f"{', '.join(_NUMBERS)} and {_MASK}"
            )
        if len(numbers := names & {*_NUMBERS}) != 1:
            raise ModelError(f"{network.path}: needs one input of {', '.join(_NUMBERS)}")
        (self._numbers,) = numbers
        self._tokenizer = _tokenizer(facts, self._fixed_length())

    def embed(self, texts: Sequence[str], batch: int) -> Iterator[NDArray[np.float32]]:
        """The vectors of ``texts`` in batches: float32 of shape (rows, dim), of any length."""
        import numpy as np

        for start in range(0, len(texts), batch):
            cleaned = [clean(text, self._cleaning) for text in texts[start : start + batch]]
            encoded = self._tokenizer.encode_batch(cleaned)
            given = {self._numbers: np.array([one.ids for one in encoded], np.int64)}
            if _MASK in self.network.inputs:
                given[_MASK] = np.array([one.attention_mask for one in encoded], np.int64)
            yield self.network.run(given)

    def _fixed_length(self) -> int | None:
        """The number of tokens that the network was exported for, if it takes no other."""
        shape = self.network.inputs[self._numbers].shape
        if len(shape) != 2:
            raise ModelError(f"{self.network.path}: input {self._numbers} is not (rows, tokens)")
        return shape[1]


def clean(text: str, cleaning: Cleaning) -> str:
    """A text as the model was trained on it, by open_clip's names: ``whitespace`` makes one blank
    of each run of white space, ``lower`` also lower-cases, ``canonicalize`` also takes the ASCII
    punctuation out, with a blank for an underscore."""
    if cleaning == "none":
        return text
    if cleaning == "canonicalize":
        text = text.translate(_NO_PUNCTUATION)
    if cleaning != "whitespace":
        text = text.lower()
    return " ".join(text.split())


def _tokenizer(facts: TextFacts, fixed_length: int | None) -> Any:
    """The tokenizer, cutting texts at the model's context and filling batches."""
    from tokenizers import AddedToken, Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(facts.tokenizer))
    # The library raises bare Exception for a damaged file.
    except Exception as error:
        raise ModelError(
            f"{facts.tokenizer}: the tokenizer cannot be loaded: {str(error)[:300]}"
        ) from error
    for token in facts.special_tokens:
        tokenizer.add_special_tokens([AddedToken(**token) if isinstance(token, dict) else token])
    pad_id = facts.pad_id if facts.pad_id is not None else tokenizer.token_to_id(facts.pad_token)
    if pad_id is None:
        raise ModelError(f"{facts.tokenizer}: has no token {facts.pad_token}, which is to pad")
    if fixed_length is not None and fixed_length != facts.context:
        raise ModelError(
            f"{facts.network}: takes {fixed_length} tokens, but the model's files say a context of "
            f"{facts.context}"
        )
    tokenizer.enable_truncation(facts.context)
    length = facts.context if facts.is_filled or fixed_length is not None else None
    tokenizer.enable_padding(pad_id=pad_id, pad_token=facts.pad_token, length=length)
    return tokenizer
