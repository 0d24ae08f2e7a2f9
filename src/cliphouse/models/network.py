"""A network on ONNX Runtime: one ONNX file, its inputs, and the output with the vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliphouse.errors import ModelError
from cliphouse.models.devices import Device, providers, started

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ERRORS = 3  # warnings about how a network was exported help nobody who only uses it
# The outputs that hold one vector a row, of a network that has others beside it.
_OUTPUTS = ("text_embeds", "image_embeds", "embedding", "pooler_output")
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


@dataclass(frozen=True)
class Input:
    """An input of a network: the NumPy name of its dtype, and its shape; None is any length."""

    dtype: str
    shape: tuple[int | None, ...]


class Network:
    """An ONNX file, loaded. ``threads`` limits ONNX Runtime's threads; None uses all cores.

    ``inputs`` are the inputs by name. ``dim`` is the dimension of the vectors, None if the file
    leaves it open. Raises ModelError if the file is damaged, or its outputs are not understood, or
    the device is not there.
    """

    def __init__(self, path: Path, device: Device = "auto", threads: int | None = None) -> None:
        import onnxruntime

        self.path = path
        wanted = providers(device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS
        if threads is not None:
            options.intra_op_num_threads = options.inter_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
        # ONNX Runtime raises bare Exception types of its own for damaged files.
        except Exception as error:
            raise ModelError(f"{path}: the model cannot be loaded: {_reason(error)}") from error
        if not started(device, self._session.get_providers()):
            raise ModelError(
                f"device {device}: ONNX Runtime knows it but could not start it; its libraries or "
                "drivers are missing on this machine"
            )
        self.inputs = {node.name: self._input(node) for node in self._session.get_inputs()}
        self._output = self._choose([node.name for node in self._session.get_outputs()])
        (shape,) = (n.shape for n in self._session.get_outputs() if n.name == self._output)
        self.dim = shape[-1] if shape and isinstance(shape[-1], int) else None

    def run(self, given: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The vectors of a batch: float32 of shape (rows, dim).

        ``given`` has an array of ``rows`` rows for each input. A network that was exported for a
        fixed number of rows is run as often as that takes.
        """
        import numpy as np

        arrays = {
            name: np.ascontiguousarray(given[name], dtype=node.dtype)
            for name, node in self.inputs.items()
        }
        rows = len(next(iter(arrays.values())))
        fixed = next((node.shape[0] for node in self.inputs.values()), None)
        if fixed is None:
            return self._run(arrays)
        parts = [
            self._run(
                {name: _filled(array[i : i + fixed], fixed) for name, array in arrays.items()}
            )
            for i in range(0, rows, fixed)
        ]
        return np.concatenate(parts)[:rows]

    def _run(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        import numpy as np

        try:
            (rows,) = self._session.run([self._output], arrays)
        except Exception as error:
            raise ModelError(f"{self.path}: the model failed: {_reason(error)}") from error
        if rows.ndim != 2:
            raise ModelError(
                f"{self.path}: output {self._output} has shape {rows.shape}, not a vector for "
                "each row"
            )
        return np.asarray(rows, np.float32)

    def _input(self, node: Any) -> Input:
        if node.type not in _DTYPES:
            raise ModelError(f"{self.path}: input {node.name} is of an unknown type, {node.type}")
        lengths = tuple(n if isinstance(n, int) and n > 0 else None for n in node.shape)
        return Input(_DTYPES[node.type], lengths)

    def _choose(self, outputs: list[str]) -> str:
        if len(outputs) == 1:
            return outputs[0]
        known = [name for name in _OUTPUTS if name in outputs]
        if not known:
            raise ModelError(
                f"{self.path}: its outputs are {', '.join(outputs)}; the vectors must be in one of "
                f"{', '.join(_OUTPUTS)}"
            )
        return known[0]


def _filled(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """``array`` with its last row repeated up to ``rows`` rows."""
    import numpy as np

    missing = rows - len(array)
    return np.concatenate([array, *[array[-1:]] * missing]) if missing else array


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or repr(error)
