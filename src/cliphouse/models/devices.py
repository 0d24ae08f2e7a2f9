"""Where a network runs: the devices that the installed ONNX Runtime knows."""

from __future__ import annotations

from typing import Literal, get_args

from cliphouse.errors import ModelError

Device = Literal["auto", "cpu", "cuda", "coreml", "openvino"]
DEVICES: tuple[Device, ...] = get_args(Device)
DEVICE_VARIABLE = "CLIPHOUSE_DEVICE"

_PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
_PACKAGES = {"cuda": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}


def installed_devices() -> list[Device]:
    """The devices of the installed ONNX Runtime, the processor among them."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [device for device, provider in _PROVIDERS.items() if provider in available]


def providers(device: Device) -> list[str]:
    """The names by which ONNX Runtime knows ``device``, with the processor for what a network has
    that the device cannot run. ``auto`` is CUDA if it is installed, otherwise the processor.

    Raises ModelError if the installed ONNX Runtime does not have the device.
    """
    installed = installed_devices()
    if device == "auto":
        device = "cuda" if "cuda" in installed else "cpu"
    if device not in installed:
        package = _PACKAGES.get(device)
        hint = f"; install {package} in the place of onnxruntime" if package else ""
        raise ModelError(
            f"device {device}: the installed ONNX Runtime has only {', '.join(installed)}{hint}"
        )
    return list(dict.fromkeys([_PROVIDERS[device], _PROVIDERS["cpu"]]))


def started(device: Device, running: list[str]) -> bool:
    """Whether a network that was asked for on ``device`` runs there: ONNX Runtime goes on with the
    processor if the device's libraries are missing."""
    return device == "auto" or _PROVIDERS[device] in running
