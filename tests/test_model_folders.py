"""Folders of model files: each layout's reading of texts and pictures, held against the
transformers library and NumPy, and one line for each fault of a folder."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import psutil
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from cliphouse.errors import ModelError
from cliphouse.models import load_encoder
from cliphouse.models.vision_tower import pictures_at_once
from model_folders import (
    HALF,
    MEAN,
    SENTENCES,
    STD,
    Net,
    clip_tokenizer,
    immich_folder,
    sentencepiece_tokenizer,
    transformers_js_folder,
)

if TYPE_CHECKING:  # it takes half a second to import, in every process of a parallel run
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

TEXTS = [
    *SENTENCES[:4],
    *("", "two  RED\thearts,\nand_more!", "Grüße & Küße: 50% \U0001f408", "一只猫和一只狗"),
    *("a dog " * 100, "x" * 400, "one (1) <|endoftext|> more", "it's the cat's — isn't it?"),
]
CLIP_END = 1  # the number of <|endoftext|> in the tokenizer that is trained here


@dataclass(frozen=True)
class Case:
    """A model's folder, and how the transformers library reads the same files."""

    net: Net
    write: Callable[[Path], None]
    tokenizer: str
    pad: str
    processor: Callable[[], Any]
    cleaned: Callable[[str], str] = str

    def texts(self, folder: Path) -> NDArray[np.float32]:
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / self.tokenizer), pad_token=self.pad
        )
        encoded = tokenizer(
            [self.cleaned(text) for text in TEXTS],
            padding="max_length",
            truncation=True,
            max_length=self.net.context,
        )
        counted = map(self._counted, encoded["input_ids"], encoded["attention_mask"])
        return self.net.text(list(counted))

    def _counted(self, ids: Sequence[int], mask: Sequence[int]) -> Sequence[int]:
        if self.net.pooling == "mask":
            return ids[: sum(mask)]
        return ids[: ids.index(self.net.end) + 1] if self.net.pooling == "end" else ids

    def pictures(self, images: list[Image.Image]) -> NDArray[np.float32]:
        pixels = self.processor()(images, return_tensors="np")["pixel_values"]
        return self.net.vision(np.asarray(pixels, np.float32))


def canonical(text: str) -> str:
    """What open_clip calls canonicalize."""
    text = text.replace("_", " ")
    text = "".join(letter for letter in text if letter not in string.punctuation)
    return re.sub(r"\s+", " ", text.lower()).strip()


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def cropping(size: int) -> CLIPImageProcessorPil:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    edges = {"height": size, "width": size}
    return CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size=edges, image_mean=MEAN, image_std=STD
    )


def squashing(size: int) -> SiglipImageProcessorPil:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    edges = {"height": size, "width": size}
    return SiglipImageProcessorPil(size=edges, resample=3, image_mean=HALF, image_std=HALF)


def t5() -> Any:
    return sentencepiece_tokenizer(["<pad>", "</s>", "<unk>"], "", "</s>")


def xlm() -> Any:
    return sentencepiece_tokenizer(["<s>", "<pad>", "</s>", "<unk>"], "<s>", "</s>")


CLIP = Net(768, 77, 700, 224, "end", CLIP_END, patch=32)
SIGLIP = Net(768, 64, 200, 64, "all")
XLM = Net(640, 77, 200, 240, "mask")
CANONICALIZE = {"context_length": 64, "tokenizer_kwargs": {"clean": "canonicalize"}}
CASES = {
    "immich, CLIP": Case(
        CLIP,
        lambda folder: immich_folder(folder, CLIP, clip_tokenizer(), "<|endoftext|>"),
        "textual/tokenizer.json",
        "<|endoftext|>",
        partial(cropping, 224),
        spaced,
    ),
    "immich, SigLIP": Case(
        SIGLIP,
        lambda folder: immich_folder(
            folder, SIGLIP, t5(), "</s>", squash=True, text_cfg=CANONICALIZE
        ),
        "textual/tokenizer.json",
        "</s>",
        partial(squashing, 64),
        canonical,
    ),
    "immich, XLM-Roberta": Case(
        XLM,
        lambda folder: immich_folder(folder, XLM, xlm(), "<pad>", "input_ids", text_cfg={}),
        "textual/tokenizer.json",
        "<pad>",
        partial(cropping, 240),
        spaced,
    ),
    "transformers.js, CLIP": Case(
        CLIP,
        lambda folder: transformers_js_folder(
            folder,
            CLIP,
            clip_tokenizer(),
            "<|endoftext|>",
            {"model_type": "clip", "projection_dim": 768},
        ),
        "tokenizer.json",
        "<|endoftext|>",
        partial(cropping, 224),
    ),
    "transformers.js, SigLIP": Case(
        SIGLIP,
        lambda folder: transformers_js_folder(
            folder, SIGLIP, t5(), "</s>", {"model_type": "siglip", "text_config": {}}
        ),
        "tokenizer.json",
        "</s>",
        partial(squashing, 64),
    ),
}


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width)
    noise = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
    return noise.resize((width, height), Image.Resampling.BICUBIC)


PICTURES = [picture(*size) for size in [(224, 224), (640, 481), (300, 901), (50, 41), (65, 64)]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("name", CASES)
def test_a_layout_is_read_as_transformers_reads_it(name: str, folders: Path) -> None:
    case, folder = CASES[name], folders / name.replace(", ", "-")
    case.write(folder)
    encoder = load_encoder(str(folder))
    assert (encoder.name, encoder.dim) == (folder.name, case.net.dim)
    texts = encoder.encode_text(TEXTS)
    assert (texts.shape, texts.dtype) == ((len(TEXTS), case.net.dim), np.float32)
    np.testing.assert_allclose(texts, case.texts(folder), atol=1e-4)
    expected = case.pictures(PICTURES)
    np.testing.assert_allclose(encoder.encode_image(PICTURES), expected, atol=1e-4)
    shrunk = [encoder.shrink(image) for image in PICTURES]
    np.testing.assert_allclose(encoder.encode_image(shrunk), expected, atol=1e-4)


def test_what_crop_and_scale_differ_in_is_read_too(tmp_path: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    """A square of 64 pixels from the middle of a picture whose shorter edge is scaled to 80."""
    net = Net(32, 77, 700, 64, "end", CLIP_END)
    config: dict[str, object] = {"model_type": "clip", "projection_dim": 32}
    transformers_js_folder(tmp_path / "m", net, clip_tokenizer(), "<|endoftext|>", config)
    path = tmp_path / "m" / "preprocessor_config.json"
    said = json.loads(path.read_text()) | {"size": 80, "crop_size": 64, "resample": 2}
    path.write_text(json.dumps(said))
    encoder = load_encoder(str(tmp_path / "m"))
    reference = CLIPImageProcessorPil(
        size={"shortest_edge": 80},
        crop_size={"height": 64, "width": 64},
        resample=2,
        image_mean=MEAN,
        image_std=STD,
    )
    expected = net.vision(np.asarray(reference(PICTURES, return_tensors="np")["pixel_values"]))
    np.testing.assert_allclose(encoder.encode_image(PICTURES), expected, atol=1e-4)
    shrunk = [encoder.shrink(image) for image in PICTURES]
    np.testing.assert_allclose(encoder.encode_image(shrunk), expected, atol=1e-4)


def test_a_network_exported_for_some_rows_takes_any_number(tmp_path: Path) -> None:
    folder = tmp_path / "fours"
    case = CASES["immich, XLM-Roberta"]
    case.write(folder)
    encoder = load_encoder(str(folder))
    texts, pictures = encoder.encode_text(TEXTS), encoder.encode_image(PICTURES)
    XLM.save_text(folder / "textual" / "model.onnx", "input_ids", "int32", 4, XLM.context)
    XLM.save_vision(folder / "visual" / "model.onnx", "image", 4)
    fours = load_encoder(str(folder))
    np.testing.assert_allclose(fours.encode_text(TEXTS[:9]), texts[:9], atol=1e-6)
    np.testing.assert_allclose(fours.encode_image(PICTURES), pictures, atol=1e-6)


def test_a_batch_fits_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def free(count: int) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=count))

    free(64 * 2**30)
    assert pictures_at_once(224) == pictures_at_once(512) == 32
    free(2 * 2**30)
    assert 1 < pictures_at_once(512) < pictures_at_once(336) < pictures_at_once(224) < 32
    free(0)
    assert pictures_at_once(224) == 1


def test_half_precision_is_taken_if_there_is_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "half"
    CASES["transformers.js, SigLIP"].write(folder)
    whole = load_encoder(str(folder)).encode_image(PICTURES)
    SIGLIP.save_vision(folder / "onnx" / "vision_model_fp16.onnx", "pixel_values", "batch", True)
    (folder / "onnx" / "vision_model.onnx").unlink()
    half = load_encoder(str(folder)).encode_image(PICTURES)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - whole).max() < 2e-3


Edit = Callable[[Path], object]


def said(file: str, *keys: str, **values: object) -> Edit:
    """Changes a JSON file: ``values`` replace those of its keys, ``keys`` are taken out."""

    def edit(folder: Path) -> None:
        path = folder / file
        kept = {k: v for k, v in json.loads(path.read_text()).items() if k not in keys}
        path.write_text(json.dumps(kept | values))

    return edit


def with_input(folder: Path) -> None:
    path = folder / "textual" / "model.onnx"
    model = onnx.load(path)
    model.graph.input.append(
        helper.make_tensor_value_info("token_type_ids", TensorProto.INT32, [1, 64])
    )
    onnx.save(model, path)


def with_two_outputs(folder: Path) -> None:
    path = folder / "visual" / "model.onnx"
    model = onnx.load(path)
    model.graph.output[0].name = "one"
    model.graph.node[-1].output[0] = "one"
    model.graph.node.append(helper.make_node("Identity", ["one"], ["other"]))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 768]))
    onnx.save(model, path)


def text_cfg(**values: object) -> Edit:
    return said("config.json", text_cfg=values)


PREPROCESS = "visual/preprocess_cfg.json"
WORDS, PICTURE = "words", "a picture"


@pytest.mark.parametrize(
    ("edit", "asked", "told"),
    [
        (lambda f: (f / "visual/model.onnx").unlink(), PICTURE, "/visual: model.onnx missing"),
        (
            lambda f: (f / "textual/tokenizer.json").unlink(),
            WORDS,
            "/textual: tokenizer.json missing",
        ),
        (lambda f: (f / "config.json").unlink(), WORDS, ": config.json missing"),
        (
            lambda f: (f / "config.json").write_text("{"),
            WORDS,
            "/config.json: not JSON: Expecting property name",
        ),
        (said("config.json", "embed_dim"), WORDS, "/config.json: has no embed_dim"),
        (
            said("config.json", embed_dim=512),
            PICTURE,
            "/visual/model.onnx: gives 768 dimensions instead of the 512 of model faulty",
        ),
        (
            text_cfg(context_length="77"),
            WORDS,
            '/config.json: text_cfg.context_length is not a whole number above 0: "77"',
        ),
        (
            text_cfg(context_length=32),
            WORDS,
            "/textual/model.onnx: takes 64 tokens, but the model's files say a context of 32",
        ),
        (
            text_cfg(context_length=64, tokenizer_kwargs={"clean": "stem"}),
            WORDS,
            "/config.json: text_cfg.tokenizer_kwargs.clean is none of whitespace, lower and "
            'canonicalize: "stem"',
        ),
        (
            said("textual/tokenizer_config.json", "pad_token"),
            WORDS,
            "/textual/tokenizer_config.json: has no pad_token",
        ),
        (
            said("textual/tokenizer_config.json", pad_token="<blank>"),
            WORDS,
            "/textual/tokenizer.json: has no token <blank>, which is to pad",
        ),
        (
            lambda f: (f / "textual/tokenizer.json").write_text("{}"),
            WORDS,
            "/textual/tokenizer.json: the tokenizer cannot be loaded: ",
        ),
        (with_input, WORDS, "/textual/model.onnx: unknown input token_type_ids; a text gives "),
        (
            with_two_outputs,
            PICTURE,
            "/visual/model.onnx: its outputs are one, other; the vectors must be in one of ",
        ),
        (
            lambda f: (f / "visual/model.onnx").write_bytes(b"<html>404</html>"),
            PICTURE,
            "/visual/model.onnx: the model cannot be loaded: ",
        ),
        (
            said(PREPROCESS, resize_mode="longest"),
            PICTURE,
            '/visual/preprocess_cfg.json: resize_mode is none of shortest, squash: "longest"',
        ),
        (said(PREPROCESS, "mean"), PICTURE, "/visual/preprocess_cfg.json: has no mean"),
        (
            said(PREPROCESS, std=[0.5]),
            PICTURE,
            "/visual/preprocess_cfg.json: std is not a list of three numbers: [0.5]",
        ),
        (
            said(PREPROCESS, interpolation="sinc"),
            PICTURE,
            "/visual/preprocess_cfg.json: interpolation is none of nearest, lanczos, ",
        ),
        (
            said(PREPROCESS, size=[64, 32]),
            PICTURE,
            "/visual/preprocess_cfg.json: size is not a square: [64, 32]",
        ),
        (
            said(PREPROCESS, size=96),
            PICTURE,
            "/visual/model.onnx: input image has shape [1, 3, 64, 64], but the model's files say "
            "pictures of 96 x 96 pixels",
        ),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(
    tmp_path: Path, edit: Edit, asked: str, told: str
) -> None:
    folder = tmp_path / "faulty"
    CASES["immich, SigLIP"].write(folder)
    edit(folder)
    encoder = load_encoder(str(folder))
    with pytest.raises(ModelError) as caught:
        encoder.encode_text(["a"]) if asked == WORDS else encoder.encode_image(PICTURES)
    message = str(caught.value)
    assert message.startswith(f"{folder}{told}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("edit", "asked", "told"),
    [
        (
            said("config.json", "model_type"),
            WORDS,
            "/config.json: has no model_type",
        ),
        (
            said("tokenizer_config.json", "model_max_length"),
            WORDS,
            "/tokenizer_config.json: has no model_max_length, and ",
        ),
        (
            said("tokenizer_config.json", model_max_length=10**30),
            WORDS,
            "/tokenizer_config.json: has no model_max_length, and ",
        ),
        (
            said("preprocessor_config.json", "size"),
            PICTURE,
            "/preprocessor_config.json: has no size.height",
        ),
        (
            said("preprocessor_config.json", "resample"),
            PICTURE,
            "/preprocessor_config.json: resample is not one of Pillow's numbers 0 to 5: null",
        ),
        (
            said("preprocessor_config.json", size=64),
            PICTURE,
            "/preprocessor_config.json: has no do_center_crop",
        ),
        (
            said("preprocessor_config.json", do_rescale=False),
            PICTURE,
            "/preprocessor_config.json: do_rescale must be true: false",
        ),
        (
            lambda f: (f / "onnx/text_model.onnx").unlink(),
            WORDS,
            "/onnx: text_model.onnx missing",
        ),
    ],
)
def test_a_fault_of_transformers_js_too(tmp_path: Path, edit: Edit, asked: str, told: str) -> None:
    folder = tmp_path / "faulty"
    CASES["transformers.js, SigLIP"].write(folder)
    edit(folder)
    encoder = load_encoder(str(folder))
    with pytest.raises(ModelError) as caught:
        encoder.encode_text(["a"]) if asked == WORDS else encoder.encode_image(PICTURES)
    assert str(caught.value).startswith(f"{folder}{told}")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_says_which_layouts_there_are(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty: no model in a layout that is known \(fastembed"):
        load_encoder(str(tmp_path / "empty"))
    with pytest.raises(ModelError, match="nothing: no such folder of model files"):
        load_encoder(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="model 'some/where' is unknown; there are ViT-B/32, tiny"):
        load_encoder("some/where")
