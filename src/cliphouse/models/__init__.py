"""CLIP encoders on ONNX Runtime: vectors of words and of pictures."""

from cliphouse.models.encoder import ClipEncoder, Encoder, load_encoder
from cliphouse.models.registry import DEFAULT_MODEL, MODELS, ModelSpec, model_spec

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "ClipEncoder",
    "Encoder",
    "ModelSpec",
    "load_encoder",
    "model_spec",
]
