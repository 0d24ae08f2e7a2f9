"""Tokens by CLIP's own vocabulary, held against open_clip's tokenizer.

The vocabulary of 49,408 tokens and the tokenizer of OpenAI's CLIP come from the package
open_clip_torch. Its networks need torch, its tokenizer only the name: `make test` installs it
without what it depends on.
"""

from __future__ import annotations

import importlib.util
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from cliphouse.models import Encoder, load_encoder
from model_folders import Net, immich_folder

BEGIN, END = 49_406, 49_407
NET = Net(32, 77, 49_408, 32, "end", END, patch=32)
# The pieces that CLIP cuts a text into before its pairs of bytes are merged.
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# As they are after open_clip's mending of a text.
PLAIN = [
    *("", "a photo of a cat", "Two  RED\thearts,\nand_more!", "it's the CAT'S -- isn't it? I'LL"),
    *(
        "Grüße & Küße: 50% \U0001f408",
        "cafe\u0301 naïve résumé",
        "\U0001f468\u200d\U0001f469\u200d",
    ),
    *("一只猫和一只狗", "кот и собака", "हिन्दी ไทย عربي", "İstanbul", "½ ① 12345 67.8 #a_b @c"),
    *("x" * 400, "a dog " * 100, "\u4e00" * 80, "https://example.org/a-b_c/d?e=f&g=1"),
]
# As web pages have them: open_clip mends them first, which the exported tokenizers do not.
MENDED = [
    *(
        "cats &amp; dogs",
        "&lt;b&gt;bold&lt;/b&gt; caf&eacute;",
        "\u201cquotes\u201d \u2018one\u2019",
    ),
    *("\ufb01ne ligature", "sch\u00c3\u00b6n", "\uff11\uff12 \uff21\uff22", "\ufeffbom", "a\x00b"),
]


@dataclass(frozen=True)
class Clip:
    """An encoder with CLIP's vocabulary, and open_clip's module of tokenizers."""

    encoder: Encoder
    theirs: Any
    tokenizer: Any

    def check(self, texts: Sequence[str], expected: Sequence[str]) -> None:
        """Check that ``texts`` have the vectors of open_clip's tokens of ``expected``."""
        rows = [[BEGIN, *self.tokenizer.encode(text), END] for text in expected]
        cut = [row if len(row) <= 77 else [*row[:76], END] for row in rows]
        np.testing.assert_allclose(self.encoder.encode_text(texts), NET.text(cut), atol=1e-4)

    def mended(self, text: str) -> str:
        return str(self.theirs.basic_clean(text))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clip]:
    with pytest.MonkeyPatch.context() as patch:
        theirs = open_clip_tokenizers(patch)
        tokenizer = theirs._tokenizer
        folder = tmp_path_factory.mktemp("clip") / "clip"
        immich_folder(folder, NET, published(tokenizer), "<|endoftext|>")
        yield Clip(load_encoder(str(folder)), theirs, tokenizer)


def open_clip_tokenizers(patch: pytest.MonkeyPatch) -> ModuleType:
    package = importlib.util.find_spec("open_clip")
    assert package is not None, "pip install --no-deps open_clip_torch"
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "tokenizer.py"
    torch = ModuleType("torch")
    vars(torch).update(Tensor=object, LongTensor=object)  # named in its annotations
    patch.setitem(sys.modules, "torch", torch)
    patch.setenv("TOKENIZERS_PARALLELISM", "false")  # the module sets it
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published(tokenizer: Any) -> Tokenizer:
    """open_clip's vocabulary as the tokenizer.json of OpenAI's repositories has it."""
    vocabulary = dict(tokenizer.encoder)
    vocabulary["<|startoftext|>"] = vocabulary.pop("<start_of_text>")
    vocabulary["<|endoftext|>"] = vocabulary.pop("<end_of_text>")
    assert (vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]) == (BEGIN, END)
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    made = Tokenizer(
        models.BPE(
            vocabulary,
            merges,
            unk_token="<|endoftext|>",
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.add_special_tokens([AddedToken(t) for t in ("<|startoftext|>", "<|endoftext|>")])
    made.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", BEGIN), ("<|endoftext|>", END)],
    )
    return made


def test_texts_have_open_clips_tokens(clip: Clip) -> None:
    composed = [unicodedata.normalize("NFC", text.strip()) for text in PLAIN]
    assert [clip.mended(text) for text in PLAIN] == composed
    clip.check(PLAIN, PLAIN)


def test_only_what_open_clip_mends_differs(clip: Clip) -> None:
    """Entities of HTML, curly quotes, ligatures, wide letters, texts decoded wrongly."""
    clip.check([clip.mended(text) for text in MENDED], MENDED)
    ours, theirs = clip.encoder.encode_text(MENDED), [clip.mended(text) for text in MENDED]
    assert np.all(np.abs(ours - clip.encoder.encode_text(theirs)).max(1) > 1e-3)


# Two letters have a case that depends on their place or that only open_clip's expression knows:
# capital sigma, and the iota below a letter.
letters = st.characters(exclude_categories=("Cs", "Cn", "Co", "Cc"), exclude_characters="Σ\u0345")
words = st.sampled_from(["cat", "Dog's", "42", "don't", "Grüße", "\U0001f408", "猫", "a_b", "..."])
texts = st.lists(words | st.text(letters, max_size=12), max_size=12).map(" ".join)


@given(st.lists(texts, min_size=8, max_size=8))
@settings(max_examples=30, deadline=None)
def test_any_text_has_open_clips_tokens(clip: Clip, written: list[str]) -> None:
    clip.check([clip.mended(text) for text in written], written)
