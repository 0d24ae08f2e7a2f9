"""Train the bundled `tiny` CLIP model on drawn pictures and export it to ONNX.

The result has the files, inputs and outputs of CLIP ViT-B/32 as fastembed loads it, only smaller.
Training draws its own pictures and takes a few minutes on a CPU:

    pip install -e . torch==2.13.0 onnx onnxscript tokenizers
    python tools/train_tiny.py --work /tmp/tiny

A picture and a text belong together whenever the text is true of the picture.  That is known for
every pair in a batch, so the loss is sigmoid (as in SigLIP) with many positives per row: a caption
that also holds for another picture is never taken for a negative.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import RobertaProcessing
from torch import Tensor, nn

from cliphouse.pictures.drawn import random_picture
from cliphouse.pictures.outlines import SHAPES
from cliphouse.pictures.scenes import (
    COLOURS,
    COUNTS,
    POSITIONS,
    SIZES,
    Caption,
    Query,
    Scene,
    Thing,
)

DIM, SIDE, CONTEXT = 512, 64, 77
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
START, END = "<|startoftext|>", "<|endoftext|>"
TRAIN_SEED = 20_000
CAPTIONS, QUERIES = 4, 6  # texts per picture
DESTINATION = Path(__file__).parents[1] / "src" / "cliphouse" / "models" / "tiny"


# ---------------------------------------------------------------- training data


@dataclass
class TrainingSet:
    """Pictures, texts about them, and both their meanings as attribute codes.

    pixels: uint8 (n, 64, 64, 3); scenes: int8 (n, 2, 5), a group per row, absent groups -1;
    texts: n lists of strings; asked: int8 (n, texts, 2, 5), open properties -1.
    """

    pixels: NDArray[np.uint8]
    scenes: NDArray[np.int8]
    texts: list[list[str]]
    asked: NDArray[np.int8]


def _code(value: str | int | None, options: tuple[str | int, ...]) -> int:
    return -1 if value is None else options.index(value)


def encode(groups: Sequence[Thing | Query]) -> NDArray[np.int8]:
    """Attribute codes, int8 (2, 5): colour, shape, size, position, count of each group."""
    codes = np.full((2, 5), -1, np.int8)
    for row, group in zip(codes, groups, strict=False):
        row[:] = (
            _code(group.colour, tuple(COLOURS)),
            _code(group.shape, SHAPES),
            _code(group.size, SIZES),
            _code(group.position, POSITIONS),
            _code(group.count, COUNTS),
        )
    return codes


def random_query(scene: Scene, rng: np.random.Generator) -> Caption:
    """A short query that is true of the scene, most often colour and shape."""
    thing = scene.things[int(rng.integers(len(scene.things)))]
    keep = {"colour": 0.9, "shape": 0.9, "size": 0.2, "count": 0.4, "position": 0.2}
    dropped = {name: None for name, chance in keep.items() if rng.random() > chance}
    query = replace(thing.query(), **dropped)
    plural = thing.count > 1 and rng.random() < 0.4
    text = query.sentence(rng if rng.random() < 0.5 else None, plural=plural)
    return Caption(text, (query,))


def _draw_chunk(numbers: range) -> TrainingSet:
    pixels, scenes, texts, asked = [], [], [], []
    for number in numbers:
        picture = random_picture(TRAIN_SEED, number, "exclude")
        rng = np.random.default_rng([TRAIN_SEED + 1, number])
        width, height = picture.image.size
        short = min(width, height)
        size = (int(SIDE * width / short), int(SIDE * height / short))
        small = picture.image.resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
        pixels.append(np.asarray(small)[top : top + SIDE, left : left + SIDE])
        scenes.append(encode(picture.scene.things))
        captions = [picture.scene.describe(rng) for _ in range(CAPTIONS)]
        captions += [random_query(picture.scene, rng) for _ in range(QUERIES)]
        texts.append([caption.text for caption in captions])
        asked.append([encode(caption.queries) for caption in captions])
    return TrainingSet(np.array(pixels), np.array(scenes), texts, np.array(asked))


def draw_training_set(count: int, work: Path, jobs: int) -> TrainingSet:
    """Draw the training pictures with a process pool, or load them from the work folder."""
    path = work / f"train_{count}.npz"
    if not path.exists():
        with ProcessPoolExecutor(jobs) as pool:
            parts = list(pool.map(_draw_chunk, [range(i, i + 500) for i in range(0, count, 500)]))
        work.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            pixels=np.concatenate([part.pixels for part in parts]),
            scenes=np.concatenate([part.scenes for part in parts]),
            texts=np.array([texts for part in parts for texts in part.texts]),
            asked=np.concatenate([part.asked for part in parts]),
        )
    with np.load(path) as saved:
        texts = saved["texts"].tolist()
        return TrainingSet(saved["pixels"], saved["scenes"], texts, saved["asked"])


def truth(asked: NDArray[np.int8], scenes: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which text is true of which scene, as `Scene.satisfies`: (t, 2, 5), (s, 2, 5) -> (t, s)."""
    query, group = asked[:, None, :, None, :], scenes[None, :, None, :, :]
    match = ((query[..., :4] == -1) | (query[..., :4] == group[..., :4])).all(-1)
    match &= group[..., 4] >= 0
    count = np.where(match, group[..., 4] + 1, 0)
    wanted = asked[:, None, :, 4] + 1
    counted = (count == wanted[..., None]).any(-1) | (count.sum(-1) == wanted)
    true: NDArray[np.bool_] = np.where(wanted == 0, match.any(-1), counted).all(-1)
    return true


# ---------------------------------------------------------------- tokenizer


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A lower-casing byte-level BPE in CLIP's layout, which can encode any Unicode text."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    _set_pipeline(tokenizer)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=900,
            min_frequency=2,
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    learnt = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in learnt["merges"]]
    # CLIP's order: bytes, bytes that end a word, merges, special tokens.  The trainer only adds
    # the word-final bytes it has seen; all of them are needed to encode any text.
    tokens = alphabet + [byte + "</w>" for byte in alphabet] + ["".join(pair) for pair in merges]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    model = models.BPE(vocabulary, merges, unk_token=END, end_of_word_suffix="</w>")
    tokenizer = Tokenizer(model)
    _set_pipeline(tokenizer)
    tokenizer.add_special_tokens([START, END])
    tokenizer.post_processor = RobertaProcessing(
        (END, vocabulary[END]),
        (START, vocabulary[START]),
        trim_offsets=False,
        add_prefix_space=False,
    )
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(pad_id=vocabulary[END], pad_token=END)
    return tokenizer


def _set_pipeline(tokenizer: Tokenizer) -> None:
    words = (
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
        r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()


# ---------------------------------------------------------------- model


class Gated(nn.Module):
    """A linear map plus the product of two: colour *and* shape is a product, not a sum."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.left, self.right = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.left(x) * self.right(x)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Vision(nn.Module):
    """A small ConvNet: float32 (batch, 3, 64, 64) -> unit vectors (batch, 512)."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.early = nn.Sequential(
            conv(3, width // 4, 2),
            conv(width // 4, width // 2, 2),
            Residual(width // 2),
            conv(width // 2, width, 2),
        )
        self.place = nn.Parameter(0.02 * torch.randn(1, width, SIDE // 8, SIDE // 8))
        self.late = Residual(width)
        self.pooled = Gated(width, 256)
        # Most of a picture is background, so pictures differ little before this normalisation.
        self.spread = nn.BatchNorm1d(256)
        self.mixed = nn.Sequential(nn.Linear(256, 512), nn.GELU())
        self.project = nn.Linear(512 + 256, DIM)

    def features(self, pixel_values: Tensor) -> Tensor:
        """The convolutional part: float (batch, 96, 8, 8)."""
        x: Tensor = self.late(self.early(pixel_values) + self.place)
        return x

    def head(self, features: Tensor) -> Tensor:
        # Products before pooling: two shapes in one picture must not swap their colours.
        x = self.spread(self.pooled(features.flatten(2).transpose(1, 2)).mean(1))
        x = self.project(torch.cat([x, self.mixed(x)], dim=1))
        return nn.functional.normalize(x, dim=-1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.head(self.features(pixel_values))


class Layer(nn.Module):
    """A pre-norm transformer layer with causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5 + mask).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class Text(nn.Module):
    """A causal transformer: int64 ids and mask, (batch, length) -> unit vectors (batch, 512)."""

    def __init__(self, vocabulary: int, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        nn.init.normal_(self.tokens.weight, std=0.05)
        self.layers = nn.ModuleList(Layer(width, 4) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.project = Gated(width, DIM)
        causal = torch.full((CONTEXT, CONTEXT), -1e4).triu(1)
        self.register_buffer("causal", causal, persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        length = input_ids.shape[1]
        x = self.tokens(input_ids) + self.places[:length]
        for layer in self.layers:
            x = layer(x, self.causal[:length, :length])
        # The last real token is <|endoftext|>; causal attention hides the padding behind it.
        last = (attention_mask.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, x.shape[2])
        x = self.norm(x.gather(1, last).squeeze(1))
        return nn.functional.normalize(self.project(x), dim=-1)


class Meaning(nn.Module):
    """Attribute codes, int64 (texts, 2, 5) -> unit vectors (texts, 512); only for training.

    It stands in for the text tower: the pictures need not wait until that has learnt to read, and
    the text tower learns to read by imitating it.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        options = 1 + max(len(COLOURS), len(SHAPES))
        self.values = nn.Embedding(5 * options, width)
        nn.init.normal_(self.values.weight, std=0.5)
        self.project = Gated(width, DIM)
        self.register_buffer("offsets", options * torch.arange(5) + 1)

    def forward(self, asked: Tensor) -> Tensor:
        groups = self.project(self.values(asked + self.offsets).sum(2))
        present = (asked >= 0).any(2, keepdim=True)
        return nn.functional.normalize((groups * present).sum(1), dim=-1)


# ---------------------------------------------------------------- training


def batches(
    scenes: NDArray[np.int8], size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Picture numbers of endless batches.

    Two of three batches hold few colours and shapes, so that they are full of near misses: the
    same shape in another colour, the same group with another count.
    """
    while True:
        if rng.random() < 1 / 3:
            yield rng.integers(len(scenes), size=size)
            continue
        number = int(rng.integers(2, 6))
        colours = [-1, *rng.choice(len(COLOURS), number, replace=False)]
        shapes = [-1, *rng.choice(len(SHAPES), number, replace=False)]
        fits = np.isin(scenes[:, :, 0], colours) & np.isin(scenes[:, :, 1], shapes)
        yield rng.choice(np.flatnonzero(fits.all(1)), size, replace=True)


def augment(pixels: NDArray[np.uint8], noise: Tensor) -> Tensor:
    """Normalised float32 (n, 3, 64, 64), channels last, with noise and a little change in colour.

    The noise is cut out of a long vector: drawing it anew would cost as much as the text tower.
    """
    x = torch.from_numpy(pixels).float() / 255
    n = len(x)
    at = int(torch.randint(len(noise) - x.numel(), (1,)))
    x = x * (1 + 0.04 * torch.randn(n, 1, 1, 3)) + 0.015 * torch.randn(n, 1, 1, 3)
    x = x + 0.03 * torch.rand(n, 1, 1, 1) * noise[at : at + x.numel()].view(x.shape)
    return ((x - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


@dataclass
class Model:
    vision: Vision
    text: Text


class Similarity(nn.Module):
    """SigLIP's loss for texts (t, 512), pictures (p, 512) and signs (t, p): 1 if true, else -1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.3))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def forward(self, texts: Tensor, pictures: Tensor, signs: Tensor) -> Tensor:
        logits = texts @ pictures.T * self.scale.exp() + self.bias
        return -nn.functional.logsigmoid(signs * logits).sum(1).mean()


def train(data: TrainingSet, tokenizer: Tokenizer, steps: int, size: int, seed: int) -> Model:
    """Train both towers together, with a caption and a query per picture of a batch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    encoded = tokenizer.encode_batch([text for texts in data.texts for text in texts])
    ids = np.array([item.ids for item in encoded]).reshape(*data.asked.shape[:2], -1)
    mask = np.array([item.attention_mask for item in encoded]).reshape(ids.shape)
    model = Model(Vision(), Text(tokenizer.get_vocab_size()))
    model.vision.to(memory_format=torch.channels_last)
    meaning, similarity = Meaning(), Similarity()
    everything = nn.ModuleList([model.vision, model.text, meaning, similarity])
    optimizer = torch.optim.AdamW(everything.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    noise = torch.randn(20_000_000)
    average, start = 0.0, time.perf_counter()
    for step, rows in zip(range(1, steps + 1), batches(data.scenes, size, rng), strict=False):
        captions = (rows, rng.integers(CAPTIONS, size=size))
        queries = (rows, rng.integers(CAPTIONS, data.asked.shape[1], size=size))
        # Only the convolutions bear bfloat16; it would drown the small differences at the start.
        with torch.autocast("cpu", torch.bfloat16):
            features = model.vision.features(augment(data.pixels[rows], noise))
        pictures = model.vision.head(features.float())
        texts = []
        for pair in (captions, queries):
            longest = int(mask[pair].sum(1).max())
            tokens, used = ids[pair][:, :longest], mask[pair][:, :longest]
            texts.append(model.text(torch.from_numpy(tokens), torch.from_numpy(used)))
        said = torch.cat(texts)
        asked = np.concatenate([data.asked[captions], data.asked[queries]])
        meant = meaning(torch.from_numpy(asked).long())
        signs = torch.from_numpy(truth(asked, data.scenes[rows])).float() * 2 - 1
        by_text = similarity(said, pictures, signs)
        imitation = 1 - (said * meant.detach()).sum(1).mean()
        loss = by_text + similarity(meant, pictures, signs) + 20 * imitation
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(everything.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        average = 0.98 * average + 0.02 * by_text.item() if step > 1 else by_text.item()
        if step % 100 == 0:
            seconds = time.perf_counter() - start
            print(
                f"step {step}/{steps}  loss {average:.3f}  imitation {imitation.item():.3f}"
                f"  {seconds:.0f} s",
                flush=True,
            )
    return model


# ---------------------------------------------------------------- export


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def export(model: Model, tokenizer: Tokenizer, destination: Path) -> None:
    """Write the files that fastembed reads: text/ and vision/, each with one model.onnx."""
    text, vision = destination / "text", destination / "vision"
    text.mkdir(parents=True, exist_ok=True)
    vision.mkdir(parents=True, exist_ok=True)
    _export_onnx(model, text / "model.onnx", vision / "model.onnx")
    tokenizer.save(str(text / "tokenizer.json"))
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    _write_json(text / "special_tokens_map.json", special)
    _write_json(
        text / "tokenizer_config.json",
        {**special, "do_lower_case": True, "model_max_length": CONTEXT}
        | {"tokenizer_class": "CLIPTokenizer"},
    )
    end = tokenizer.token_to_id(END)
    _write_json(
        text / "config.json",
        {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model"}
        | {"bos_token_id": tokenizer.token_to_id(START), "eos_token_id": end, "pad_token_id": end}
        | {"max_position_embeddings": CONTEXT, "projection_dim": DIM}
        | {"vocab_size": tokenizer.get_vocab_size()},
    )
    _write_json(
        vision / "config.json",
        {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"}
        | {"image_size": SIDE, "num_channels": 3, "projection_dim": DIM},
    )
    _write_json(
        vision / "preprocessor_config.json",
        {"image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True}
        | {"do_resize": True, "size": {"shortest_edge": SIDE}, "resample": 3}
        | {"do_center_crop": True, "crop_size": {"height": SIDE, "width": SIDE}}
        | {"do_rescale": True, "rescale_factor": 1 / 255}
        | {"do_normalize": True, "image_mean": MEAN, "image_std": STD},
    )


def _export_onnx(model: Model, text: Path, vision: Path) -> None:
    model.text.eval()
    model.vision.eval().to(memory_format=torch.contiguous_format)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("sequence", max=CONTEXT)
    # Two tensors: the exporter takes one that is passed twice for a single input.
    ids, mask = torch.ones(2, 9, dtype=torch.int64), torch.ones(2, 9, dtype=torch.int64)
    torch.onnx.export(
        model.text,
        (ids, mask),
        text,
        input_names=["input_ids", "attention_mask"],
        output_names=["text_embeds"],
        dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
        external_data=False,
        verbose=False,
    )
    torch.onnx.export(
        model.vision,
        (torch.zeros(2, 3, SIDE, SIDE),),
        vision,
        input_names=["pixel_values"],
        output_names=["image_embeds"],
        dynamic_shapes=({0: batch},),
        external_data=False,
        verbose=False,
    )
    shrink(text)
    shrink(vision)
    some = torch.randint(model.text.tokens.num_embeddings, (3, 7))
    used = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5])
    _check(text, model.text, {"input_ids": some, "attention_mask": used})
    _check(vision, model.vision, {"pixel_values": torch.randn(3, 3, SIDE, SIDE)})


def shrink(path: Path) -> None:
    """Store large weights as float16, cast on loading, and drop notes on the source code."""
    model = onnx.load(path)
    graph = model.graph
    for node in graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*graph.value_info, *graph.input, *graph.output):
        value.ClearField("metadata_props")
    graph.ClearField("metadata_props")
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > 4096:
            name, half = tensor.name, f"{tensor.name}_half"
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, half))
            graph.node.insert(0, helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _check(path: Path, model: nn.Module, inputs: dict[str, Tensor]) -> None:
    """Make sure that ONNX gives what PyTorch gives, up to the rounding of the weights."""
    session = ReferenceEvaluator(str(path))
    outputs: Any = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        expected = model(*inputs.values()).numpy()
    np.testing.assert_allclose(outputs[0], expected, atol=2e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path("tiny-work"), help="drawn pictures")
    parser.add_argument("--out", type=Path, default=DESTINATION, help="where the model goes")
    parser.add_argument("--pictures", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes and threads")
    options = parser.parse_args()
    torch.set_num_threads(options.jobs)
    data = draw_training_set(options.pictures, options.work, options.jobs)
    tokenizer = train_tokenizer([text for texts in data.texts for text in texts])
    model = train(data, tokenizer, options.steps, options.batch, options.seed)
    export(model, tokenizer, options.out)

    from measure_tiny import measure

    print(measure(options.out).table())


if __name__ == "__main__":
    main()
