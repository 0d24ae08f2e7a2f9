"""CLIP ViT-B/32 at its true size, with random weights: for speed it is as good as the real one.

Two transformers of 12 layers as in Radford et al. 2021: text of width 512 over 77 tokens, pictures
of width 768 over 49 patches of 32 x 32 pixels and a class token. The files around them (tokenizer,
settings) are those that the tests make. Text is pooled by its mean, which costs the same as taking
the last token.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from clip_files import CONTEXT, DIM, make_clip_files  # type: ignore[import-not-found]

LAYERS = 12
VOCABULARY = 49_408
HEAD = 64  # dimensions of an attention head, in both


class Graph:
    """An ONNX graph that is put together node by node. Methods return the name of the output."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: NDArray[np.generic] | list[int]) -> str:
        name = f"w{len(self.weights)}"
        array = np.array(values, np.int64) if isinstance(values, list) else values
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape: int) -> str:
        return self.constant(self._rng.standard_normal(shape, np.float32) * np.float32(0.02))

    def norm(self, x: str, width: int) -> str:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.op("LayerNormalization", x, self.constant(ones), self.constant(zeros), axis=-1)

    def dense(self, x: str, rows: int, columns: int) -> str:
        return self.op(
            "Add", self.op("MatMul", x, self.random(rows, columns)), self.random(columns)
        )

    def attention(self, x: str, width: int, mask: str | None) -> str:
        split = self.constant([0, 0, width // HEAD, HEAD])
        query, key, value = (
            self.op("Reshape", self.dense(x, width, width), split) for _ in range(3)
        )
        query = self.op("Transpose", query, perm=[0, 2, 1, 3])
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 2, 3, 1]))
        scores = self.op("Mul", scores, self.constant(np.array(HEAD**-0.5, np.float32)))
        if mask is not None:
            scores = self.op("Add", scores, mask)
        value = self.op("Transpose", value, perm=[0, 2, 1, 3])
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        mixed = self.op("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.dense(self.op("Reshape", mixed, self.constant([0, 0, width])), width, width)

    def layers(self, x: str, width: int, mask: str | None = None) -> str:
        for _ in range(LAYERS):
            x = self.op("Add", x, self.attention(self.norm(x, width), width, mask))
            inner = self.dense(self.norm(x, width), width, 4 * width)
            scaled = self.op("Mul", inner, self.constant(np.array(1.702, np.float32)))
            inner = self.op("Mul", inner, self.op("Sigmoid", scaled))
            x = self.op("Add", x, self.dense(inner, 4 * width, width))
        return self.norm(x, width)

    def save(self, path: Path, inputs: list[onnx.ValueInfoProto], result: str, name: str) -> None:
        self.nodes.append(helper.make_node("Identity", [result], [name]))
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", DIM])
        graph = helper.make_graph(self.nodes, "clip", inputs, [output], self.weights)
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
            path,
        )


def write_vit(folder: Path) -> None:
    """Write both towers below ``folder`` as text/ and vision/, 600 MB."""
    make_clip_files(folder)
    _write_text(folder / "text" / "model.onnx")
    _write_vision(folder / "vision" / "model.onnx")


def _write_text(path: Path) -> None:
    graph, width = Graph(1), 512
    length = graph.op("Shape", "input_ids", start=1, end=2)
    start = graph.constant([0])
    positions = graph.op("Slice", graph.random(CONTEXT, width), start, length)
    x = graph.op("Add", graph.op("Gather", graph.random(VOCABULARY, width), "input_ids"), positions)
    causal = np.triu(np.full((CONTEXT, CONTEXT), -1e9, np.float32), 1)
    ends = graph.op("Concat", length, length, axis=0)
    mask = graph.op(
        "Slice", graph.constant(causal), graph.constant([0, 0]), ends, graph.constant([0, 1])
    )
    x = graph.layers(x, width, mask)
    seen = graph.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    seen = graph.op("Unsqueeze", seen, graph.constant([2]))
    pooled = graph.op("ReduceSum", graph.op("Mul", x, seen), graph.constant([1]), keepdims=0)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    result = graph.op("MatMul", pooled, graph.random(width, DIM))
    graph.save(path, inputs, result, "text_embeds")


def _write_vision(path: Path) -> None:
    graph, width = Graph(2), 768
    patches = graph.op(
        "Conv",
        "pixel_values",
        graph.random(width, 3, 32, 32),
        kernel_shape=[32, 32],
        strides=[32, 32],
    )
    patches = graph.op("Reshape", patches, graph.constant([0, width, 49]))
    patches = graph.op("Transpose", patches, perm=[0, 2, 1])
    batch = graph.op("Shape", "pixel_values", start=0, end=1)
    shape = graph.op("Concat", batch, graph.constant([1, width]), axis=0)
    tokens = graph.op("Expand", graph.random(1, 1, width), shape)
    x = graph.op("Concat", tokens, patches, axis=1)
    x = graph.norm(graph.op("Add", x, graph.random(50, width)), width)
    x = graph.layers(x, width)
    first = graph.op("Gather", x, graph.constant(np.array(0, np.int64)), axis=1)
    pixels = helper.make_tensor_value_info(
        "pixel_values", TensorProto.FLOAT, ["batch", 3, 224, 224]
    )
    result = graph.op("MatMul", first, graph.random(width, DIM))
    graph.save(path, [pixels], result, "image_embeds")
