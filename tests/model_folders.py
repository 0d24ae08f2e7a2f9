"""Folders of CLIP models with random weights, in the layouts of the immich project and of
transformers.js, and what such a model gives for tokens and pixels, computed with NumPy.

Texts become the sum of their tokens' vectors, each weighted by its place: a token too many or in
another place changes the vector. Pictures become the means of their patches. Both times a matrix.
The graphs have the inputs, types and fixed or free shapes of the real exports.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

Pooling = Literal["all", "mask", "end"]
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5]
_INNER = 8
SENTENCES = [
    *("a dog and a cat on the grass", "two red hearts", "ein Hund und eine Katze im Gras"),
    *("un chat noir dort", "the quick brown fox jumps over the lazy dog", "photo of a street"),
    *("Grüße aus der schönen Stadt", "a picture of a small house by the sea", "один кот"),
]


@dataclass(frozen=True)
class Net:
    """A pair of networks of ``dim`` dimensions, over ``context`` tokens of ``words`` and pictures
    of ``size`` pixels. ``pooling`` is what a text's vector is made of: all its places, those of the
    mask, or those up to the first token ``end``."""

    dim: int
    context: int
    words: int
    size: int
    pooling: Pooling
    end: int = 0
    patch: int = 16

    def _weights(self) -> dict[str, NDArray[np.float32]]:
        rng = np.random.default_rng(self.dim + self.size)
        inner = 3 * (self.size // self.patch) ** 2
        return {
            "tokens": rng.standard_normal((self.words, _INNER)).astype("f4"),
            "places": rng.uniform(0.5, 1.5, (self.context, 1)).astype("f4"),
            "words_out": rng.standard_normal((_INNER, self.dim)).astype("f4"),
            "vision": rng.standard_normal((inner, self.dim)).astype("f4"),
        }

    def text(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The unit vectors of texts, given by the tokens that count."""
        weights = self._weights()
        sums = [(weights["tokens"][ids] * weights["places"][: len(ids)]).sum(0) for ids in rows]
        return unit(np.array(sums) @ weights["words_out"])

    def vision(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The unit vectors of pictures, given as (n, 3, size, size)."""
        each = self.size // self.patch
        parts = pixels.reshape(-1, 3, each, self.patch, each, self.patch).mean((3, 5))
        return unit(parts.reshape(len(pixels), -1) @ self._weights()["vision"])

    def save_text(
        self, path: Path, ids: str, integers: str, rows: int | str, tokens: int | str
    ) -> None:
        """Write the text network: ``ids`` is the name of its input of ``integers``."""
        weights = self._weights()
        whole = TensorProto.INT32 if integers == "int32" else TensorProto.INT64
        inputs = [helper.make_tensor_value_info(ids, whole, [rows, tokens])]
        make = helper.make_node
        nodes = [
            make("Gather", ["tokens", ids], ["words"]),
            make("Shape", [ids], ["length"], start=1, end=2),
            make("Slice", ["places", "zero", "length"], ["weights"]),
            make("Mul", ["words", "weights"], ["placed"]),
        ]
        if self.pooling == "mask":
            inputs.append(helper.make_tensor_value_info("attention_mask", whole, [rows, tokens]))
            nodes.append(make("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT))
        elif self.pooling == "end":
            nodes += [
                make("Cast", [ids], ["long"], to=TensorProto.INT64),
                make("Equal", ["long", "end"], ["is_end"]),
                make("Cast", ["is_end"], ["ends"], to=TensorProto.FLOAT),
                make("CumSum", ["ends", "axis"], ["seen"], exclusive=1),
                make("Equal", ["seen", "none"], ["is_before"]),
                make("Cast", ["is_before"], ["counts"], to=TensorProto.FLOAT),
            ]
        placed = "placed"
        if self.pooling != "all":
            nodes += [
                make("Unsqueeze", ["counts", "two"], ["counts3"]),
                make("Mul", ["placed", "counts3"], ["counted"]),
            ]
            placed = "counted"
        nodes += [
            make("ReduceSum", [placed, "one"], ["sum"], keepdims=0),
            make("MatMul", ["sum", "words_out"], ["vectors"]),
        ]
        constants = {
            **{name: weights[name] for name in ("tokens", "places", "words_out")},
            "zero": np.array([0]),
            "one": np.array([1]),
            "two": np.array([2]),
            "axis": np.array(1),
            "end": np.array(self.end),
            "none": np.array(0, np.float32),
        }
        save(path, nodes, constants, inputs, rows, self.dim)

    def save_vision(self, path: Path, pixels: str, rows: int | str, half: bool = False) -> None:
        """Write the image network: ``pixels`` is the name of its input; ``half`` is in float16."""
        kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        matrix = self._weights()["vision"].astype(np.float16 if half else np.float32)
        edges = [self.patch, self.patch]
        nodes = [
            helper.make_node("AveragePool", [pixels], ["means"], kernel_shape=edges, strides=edges),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("MatMul", ["flat", "vision"], ["vectors"]),
        ]
        shape = [rows, 3, self.size, self.size]
        node = helper.make_tensor_value_info(pixels, kind, shape)
        save(path, nodes, {"vision": matrix}, [node], rows, self.dim, kind)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[Any]],
    inputs: list[onnx.ValueInfoProto],
    rows: int | str,
    dim: int,
    kind: int = TensorProto.FLOAT,
    output: str = "",
) -> None:
    """Write a graph whose node ``vectors`` is its output, named as the real ones are."""
    name = output or ("pooler_output" if inputs[0].name == "pixel_values" else "embedding")
    nodes = [*nodes, helper.make_node("Identity", ["vectors"], [name])]
    result = helper.make_tensor_value_info(name, kind, [rows, dim])
    used = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(v, n) for n, v in weights.items() if n in used]
    graph = helper.make_graph(nodes, "clip", inputs, [result], tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def clip_tokenizer() -> Tokenizer:
    """Byte-level BPE as CLIP's, with merges learned from SENTENCES."""
    from tokenizers import trainers

    tokenizer = Tokenizer(
        models.BPE(
            unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(" ", " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return _enclosed(tokenizer, "<|startoftext|>", "<|endoftext|>")


def sentencepiece_tokenizer(specials: Sequence[str], begin: str, end: str) -> Tokenizer:
    """Unigram pieces as SentencePiece's, learned from SENTENCES; ``begin`` may be empty."""
    from tokenizers import trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=list(specials), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return _enclosed(tokenizer, begin, end)


def _enclosed(tokenizer: Tokenizer, begin: str, end: str) -> Tokenizer:
    numbers = [(token, tokenizer.token_to_id(token)) for token in (begin, end) if token]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}".strip(), special_tokens=numbers
    )
    return tokenizer


def immich_folder(
    folder: Path,
    net: Net,
    tokenizer: Tokenizer,
    pad: str,
    ids: str = "text",
    squash: bool = False,
    text_cfg: dict[str, object] | None = None,
) -> None:
    """Write a model as the immich project exports it: one row at a time, int32 tokens."""
    config = {
        "embed_dim": net.dim,
        "vision_cfg": {"image_size": net.size, "layers": 12},
        "text_cfg": {"context_length": net.context} if text_cfg is None else text_cfg,
    }
    write_json(folder / "config.json", config)
    net.save_text(folder / "textual" / "model.onnx", ids, "int32", 1, net.context)
    tokenizer.save(str(folder / "textual" / "tokenizer.json"))
    write_json(folder / "textual" / "tokenizer_config.json", {"pad_token": pad})
    net.save_vision(folder / "visual" / "model.onnx", "image", 1)
    preprocess = {
        "size": [net.size, net.size],
        "mode": "RGB",
        "mean": HALF if squash else MEAN,
        "std": HALF if squash else STD,
        "interpolation": "bicubic",
        "resize_mode": "squash" if squash else "shortest",
        "fill_color": 0,
    }
    write_json(folder / "visual" / "preprocess_cfg.json", preprocess)


def transformers_js_folder(
    folder: Path, net: Net, tokenizer: Tokenizer, pad: str, config: dict[str, object]
) -> None:
    """Write a model as for transformers.js: any number of rows and tokens, int64 tokens."""
    write_json(folder / "config.json", config)
    net.save_text(folder / "onnx" / "text_model.onnx", "input_ids", "int64", "batch", "tokens")
    net.save_vision(folder / "onnx" / "vision_model.onnx", "pixel_values", "batch")
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"pad_token": pad, "model_max_length": net.context}
    write_json(folder / "tokenizer_config.json", settings)
    is_clip = config["model_type"] == "clip"
    edges = {"height": net.size, "width": net.size}
    preprocess = {
        "do_resize": True,
        "size": {"shortest_edge": net.size} if is_clip else edges,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN if is_clip else HALF,
        "image_std": STD if is_clip else HALF,
    }
    if is_clip:
        preprocess |= {"do_center_crop": True, "crop_size": edges}
    write_json(folder / "preprocessor_config.json", preprocess)
