"""CLIP encoders on ONNX Runtime: words to vectors and pictures to vectors."""

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
