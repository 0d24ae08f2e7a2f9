"""cliphouse models: the list, and fetching a model from a stand-in for the hub on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from clip_files import make_clip_files
from cliphouse.errors import ModelError
from cliphouse.models import MODELS, load_encoder
from cliphouse.models.fetch import fetch_model
from cliphouse.models.listing import list_models
from conftest import Run
from hub_server import Hub, serve_hub
from model_folders import Net, clip_tokenizer, immich_folder, transformers_js_folder

NET = Net(768, 77, 700, 224, "end", 1, patch=32)
REPOSITORY = "immich-app/ViT-L-14__openai"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of ViT-L/14's repository, of random weights, and what is not to be fetched."""
    folder = tmp_path_factory.mktemp("made") / "ViT-L-14__openai"
    immich_folder(folder, NET, clip_tokenizer(), "<|endoftext|>")
    (folder / "textual" / "fp16").mkdir()
    for name in ("README.md", "textual/model.armnn", "textual/fp16/model.armnn"):
        (folder / name).write_bytes(b"not for us")
    return folder


@pytest.fixture
def hub(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    paths = [path for path in made.rglob("*") if path.is_file()]
    files = {path.relative_to(made).as_posix(): path.read_bytes() for path in paths}
    with serve_hub({REPOSITORY: files}) as served:
        yield served


def test_a_fetched_model_is_used_by_its_name(hub: Hub, made: Path, tmp_path: Path) -> None:
    folder = fetch_model("ViT-L/14", tmp_path, hub.url, quiet=True)
    assert folder == tmp_path / "ViT-L-14"
    wanted = {p.relative_to(made) for p in made.rglob("*.*") if p.suffix in (".json", ".onnx")}
    arrived = {p.relative_to(folder) for p in folder.rglob("*.*") if ".cache" not in p.parts}
    assert arrived == wanted
    for name in wanted:
        assert (folder / name).read_bytes() == (made / name).read_bytes()
    encoder = load_encoder("ViT-L/14", str(tmp_path))
    assert (encoder.name, encoder.dim) == ("ViT-L/14", 768)
    own = load_encoder(str(made)).encode_text(["a dog"])
    np.testing.assert_array_equal(encoder.encode_text(["a dog"]), own)
    assert fetch_model("openai/clip-vit-large-patch14", tmp_path, hub.url, quiet=True) == folder


def test_a_fetch_that_breaks_off_goes_on(
    hub: Hub, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    path = "visual/model.onnx"
    hub.cut[path] = 150_000
    try:
        fetch_model("ViT-L/14", tmp_path, hub.url, quiet=True)
    except ModelError as error:
        assert "what has arrived is kept, so run the same command again" in str(error)
        fetch_model("ViT-L/14", tmp_path, hub.url, quiet=True)
    assert (tmp_path / "ViT-L-14" / path).read_bytes() == (made / path).read_bytes()
    assert path in hub.ranges


def test_what_arrives_damaged_is_removed_and_fetched_again(
    hub: Hub, made: Path, tmp_path: Path
) -> None:
    hub.damaged |= {"visual/model.onnx", "config.json"}
    with pytest.raises(ModelError) as caught:
        fetch_model("ViT-L/14", tmp_path, hub.url, quiet=True)
    assert "visual/model.onnx" in str(caught.value)
    assert "config.json" in str(caught.value)
    assert "arrived damaged and was removed; run the same command again" in str(caught.value)
    hub.damaged.clear()
    folder = fetch_model("ViT-L/14", tmp_path, hub.url, quiet=True)
    for path in ("visual/model.onnx", "config.json"):
        assert (folder / path).read_bytes() == (made / path).read_bytes()


def test_towers_that_are_repositories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    made = make_clip_files(tmp_path / "made")
    towers = {
        f"Qdrant/clip-ViT-B-32-{kind}": {
            path.name: path.read_bytes() for path in (made.folder / kind).iterdir()
        }
        for kind in ("text", "vision")
    }
    with serve_hub(towers) as served:
        folder = fetch_model("ViT-B/32", tmp_path / "models", served.url, quiet=True)
    assert folder == tmp_path / "models" / "ViT-B-32"
    vectors = load_encoder("ViT-B/32", str(tmp_path / "models")).encode_text(["cat"])
    np.testing.assert_allclose(vectors[0], made.expected_text("cat"), atol=1e-5)


def test_any_repository_of_a_known_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    config: dict[str, object] = {"model_type": "clip", "projection_dim": 768}
    transformers_js_folder(tmp_path / "made", NET, clip_tokenizer(), "<|endoftext|>", config)
    paths = [path for path in (tmp_path / "made").rglob("*") if path.is_file()]
    files = {path.relative_to(tmp_path / "made").as_posix(): path.read_bytes() for path in paths}
    others = {"README.md": b"x", "onnx/model.onnx": b"x", "onnx/text_model_quantized.onnx": b"x"}
    with serve_hub({"some/own-clip": files | others, "some/text": {"config.json": b"{}"}}) as hub:
        folder = fetch_model("some/own-clip", tmp_path / "models", hub.url, quiet=True)
        with pytest.raises(ModelError, match="no model in a layout that is known"):
            fetch_model("some/text", tmp_path / "models", hub.url, quiet=True)
    arrived = {p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if p.is_file()}
    assert {name for name in arrived if not name.startswith(".cache")} == set(files)
    encoder = load_encoder("own-clip", str(tmp_path / "models"))
    assert (encoder.name, encoder.encode_text(["cat"]).shape) == ("own-clip", (1, 768))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tiny", "model 'tiny' comes with cliphouse; ViT-B/32, ViT-L/14"),
        ("bert", "model 'bert' is unknown; ViT-B/32, ViT-L/14"),
        (
            "XLM-Roberta-Large-Vit-L-14",
            "huggingface.co/immich-app/XLM-Roberta-Large-Vit-L-14 could",
        ),
    ],
)
def test_what_cannot_be_fetched_is_one_line(hub: Hub, tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ModelError) as caught:
        fetch_model(name, tmp_path, hub.url, quiet=True)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_list(made: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ViT-L-14").symlink_to(made)
    (tmp_path / "models" / "own").symlink_to(made)
    (tmp_path / "models" / "notes").mkdir()
    told = json.loads(run("models", "--model-dir", "models", "--json").stdout)
    names = [model["name"] for model in told["models"]]
    assert names == [*(known.name for known in MODELS), "own"]
    by_name = {model["name"]: model for model in told["models"]}
    assert by_name["ViT-L/14"]["here"] == "models/ViT-L-14"
    assert (by_name["own"]["dim"], by_name["own"]["here"]) == (768, "models/own")
    assert by_name["tiny"]["here"].endswith("cliphouse/models/tiny")
    assert by_name["ViT-B/32"]["here"] == ""
    (tmp_path / "models" / "XLM-Roberta-Large-Vit-L-14").mkdir()
    (tmp_path / "models" / "XLM-Roberta-Large-Vit-L-14" / "textual").symlink_to(made / "textual")
    half = {model.name: model.here for model in list_models(str(tmp_path / "models"))}
    assert half["XLM-Roberta-Large-Vit-L-14"] == ""
    assert "cpu" in told["devices"]
    drawn = run("models")
    assert drawn.returncode == 0, drawn.stderr
    for known in MODELS:
        (line,) = (line for line in drawn.stdout.splitlines() if line.startswith(known.name + " "))
        assert str(known.dim) in line
        assert known.languages in line
    assert "devices of the installed ONNX Runtime: cpu" in drawn.stdout
    failed = run("models", "fetch", "tiny", "--to", "models")
    assert failed.returncode == 2
    assert failed.stderr.startswith("cliphouse: model 'tiny' comes with cliphouse")


def test_towers_beside_one_another_are_listed(tmp_path: Path) -> None:
    made = make_clip_files(tmp_path / "models")
    listed = {model.name: model.here for model in list_models(str(made.folder))}
    assert listed["ViT-B/32"] == str(made.folder)


def test_every_known_name_is_a_name() -> None:
    for known in MODELS:
        assert [m.name for m in MODELS if m.is_called(known.name)] == [known.name]
    listed = list_models()
    assert [model.name for model in listed] == [known.name for known in MODELS]


def test_a_device_that_is_not_there_is_named(run: Run) -> None:
    missing = next(
        device
        for device, provider in (("coreml", "CoreML"), ("openvino", "OpenVINO"))
        if f"{provider}ExecutionProvider" not in onnxruntime.get_available_providers()
    )
    with pytest.raises(ModelError, match=f"device {missing}: the installed ONNX Runtime has only"):
        load_encoder("tiny", device=missing).encode_text(["a"])  # type: ignore[arg-type]
    cpu = load_encoder("tiny", device="cpu", threads=1).encode_text(["a star"])
    np.testing.assert_array_equal(load_encoder("tiny").encode_text(["a star"]), cpu)
    refused = run("embed", "none", "--to", "s", "--device", "abacus")
    assert refused.returncode == 2
    assert "abacus" in refused.stderr
