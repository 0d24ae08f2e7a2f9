"""CLIP ViT-B/32's files as its hub repositories lay them out, with random weights.

A stand-in for the real weights, which are 590 MB and cannot be part of a test: the same files, the
same inputs and outputs (77 tokens, 224 x 224 pixels, 512 dimensions), and networks small enough to
be computed again with numpy. Text is the sum of its token's vectors, a picture the means of its
32 x 32 patches, each times a matrix.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

DIM = 512
CONTEXT = 77
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_INNER = 16
_VOCABULARY = 49_408


@dataclass
class ClipFiles:
    """The folder with its two towers, and the weights to compute expectations with."""

    folder: Path
    tokens: NDArray[np.float32]
    text_matrix: NDArray[np.float32]
    vision_matrix: NDArray[np.float32]

    def expected_text(self, text: str) -> NDArray[np.float32]:
        tokenizer = Tokenizer.from_file(str(self.folder / "text" / "tokenizer.json"))
        ids = tokenizer.encode(text).ids
        if len(ids) > CONTEXT:  # the last token stays the end of text
            ids = [*ids[: CONTEXT - 1], ids[-1]]
        return _unit(self.tokens[ids].sum(0) @ self.text_matrix)

    def expected_image(self, image: Image.Image) -> NDArray[np.float32]:
        short = min(image.size)
        size = (int(224 * image.width / short), int(224 * image.height / short))
        scaled = image.resize(size, Image.Resampling.BICUBIC)
        left, top = (scaled.width - 224) // 2, (scaled.height - 224) // 2
        pixels = np.asarray(scaled.crop((left, top, left + 224, top + 224)), np.float64) / 255
        pixels = (pixels - MEAN) / STD
        patches = pixels.transpose(2, 0, 1).reshape(3, 7, 32, 7, 32).mean((2, 4))
        return _unit(patches.reshape(-1).astype(np.float32) @ self.vision_matrix)


def make_clip_files(folder: Path) -> ClipFiles:
    """Write both towers below ``folder`` as text/ and vision/."""
    rng = np.random.default_rng(32)
    made = ClipFiles(
        folder,
        rng.standard_normal((_VOCABULARY, _INNER)).astype("f4"),
        rng.standard_normal((_INNER, DIM)).astype("f4"),
        rng.standard_normal((147, DIM)).astype("f4"),
    )
    (folder / "text").mkdir(parents=True)
    (folder / "vision").mkdir()
    _write_text(folder / "text", made)
    _write_vision(folder / "vision", made)
    return made


def _write_text(folder: Path, made: ClipFiles) -> None:
    nodes = [
        helper.make_node("Gather", ["tokens", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["embedded", "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "middle"], ["summed"], keepdims=0),
        helper.make_node("MatMul", ["summed", "matrix"], ["text_embeds"]),
    ]
    weights = {
        "tokens": made.tokens,
        "matrix": made.text_matrix,
        "last": np.array([2], np.int64),
        "middle": np.array([1], np.int64),
    }
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    _save(folder, nodes, weights, inputs, "text_embeds")
    _tokenizer().save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    special |= {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    settings = special | {"model_max_length": CONTEXT, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "config.json").write_text(json.dumps({"model_type": "clip_text_model"}))


def _write_vision(folder: Path, made: ClipFiles) -> None:
    nodes = [
        helper.make_node(
            "AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32]
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["image_embeds"]),
    ]
    pixels = helper.make_tensor_value_info(
        "pixel_values", TensorProto.FLOAT, ["batch", 3, 224, 224]
    )
    _save(folder, nodes, {"matrix": made.vision_matrix}, [pixels], "image_embeds")
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": 224},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": "clip_vision_model"}))


def _save(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[np.generic]],
    inputs: list[onnx.ValueInfoProto],
    output: str,
) -> None:
    graph = helper.make_graph(
        nodes,
        "clip",
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", DIM])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")


def _tokenizer() -> Tokenizer:
    """Byte-level BPE with CLIP's normaliser, word ends and special tokens at 49406 and 49407.

    It has no merges: every byte is a token, which needs none of CLIP's own vocabulary.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    words += [f"unused{number}" for number in range(_VOCABULARY - 2 - len(words))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [], unk_token="<|endoftext|>", end_of_word_suffix="</w>")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(" ", " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for name in ("<|startoftext|>", "<|endoftext|>"):
        tokenizer.add_special_tokens([AddedToken(name, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 49_406), ("<|endoftext|>", 49_407)],
    )
    return tokenizer


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.linalg.norm(vector)
