"""CLIP encoders on ONNX Runtime: vectors of words and of pictures."""

from cliphouse.models.devices import Device
from cliphouse.models.encoder import ClipEncoder, Encoder, load_encoder
from cliphouse.models.model_files import absolute_model, model_name
from cliphouse.models.registry import DEFAULT_MODEL, MODELS, KnownModel, known_model

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "ClipEncoder",
    "Device",
    "Encoder",
    "KnownModel",
    "absolute_model",
    "known_model",
    "load_encoder",
    "model_name",
]
