"""Core ML packages (``.mlpackage``), run by coremltools and Apple's framework. macOS only."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compat_sdk.engines.batches import Arrays, Input, checked, fixed_batch, names_of, not_loadable, run_in_blocks
from compat_sdk.errors import BundleError, ConfigError, MissingExtraError

ComputeUnits = Literal["all", "cpu_only", "cpu_and_gpu", "cpu_and_ne"]

# ArrayFeatureType.ArrayDataType and ImageFeatureType.ColorSpace of Core ML's model format.
_FLOATS = {65552: "float16", 65568: "float32"}
_COLOURS = (20, 30)  # RGB, BGR


class CoreMLEngine:
    """A Core ML package run by Apple's framework.

    Where it runs, and with which arithmetic, is the framework's choice within ``compute_units``: results of the
    Neural Engine differ from those of the CPU by the rounding of 16-bit floats. It also decides on threads itself.
    Calls from several threads wait for each other: a loaded model is for one thread at a time.

    An image input takes pictures, so `run` turns its float32 ``[n, 3, h, w]`` of whole numbers in [0, 255] back
    into them.

    Args:
        package: Folder of the ``.mlpackage``, which must stay as long as the engine does. The framework compiles
            it: verify its digests first.
        input: Name of its input, or the names of several in the order in which `run` takes them.
        output: Name of its output.
        batch: The one number of samples that the model takes; None for what the model itself says.
        compute_units: What may be used: ``"all"``, ``"cpu_only"``, ``"cpu_and_gpu"`` or ``"cpu_and_ne"``.

    Raises:
        ConfigError: This is not macOS, or ``compute_units`` is unknown.
        MissingExtraError: coremltools is not installed.
        BundleError: The package cannot be loaded, or has no such input or output.
    """

    name = "coreml"

    def __init__(
        self,
        package: str | os.PathLike[str],
        *,
        input: str | Sequence[str] = "image",
        output: str = "embedding",
        batch: int | None = None,
        compute_units: ComputeUnits = "all",
    ) -> None:
        if (problem := coreml_problem()) is not None:
            raise ConfigError(f"{problem}; run another graph of the bundle, such as onnx, on this machine")
        if compute_units not in get_args(ComputeUnits):
            raise ConfigError(
                f"compute_units is {compute_units!r}; expected one of {', '.join(get_args(ComputeUnits))}"
            )
        try:
            import coremltools
        except ModuleNotFoundError as error:
            raise MissingExtraError("coremltools", "coreml") from error
        units = getattr(coremltools.ComputeUnit, compute_units.upper())
        try:
            self._model: Any = coremltools.models.MLModel(os.fspath(Path(package)), compute_units=units)
            description = self._model.get_spec().description
        except Exception as error:  # coremltools raises plain Exception
            raise not_loadable(self.name, error) from error
        ports = {port.name: port.type for port in description.input}
        if set(ports) != set(names_of(input)):
            raise BundleError(f"the model has the inputs {sorted(ports)}; expected {list(names_of(input))}")
        outputs = {port.name: port.type for port in description.output}
        if output not in outputs or _array_type(outputs[output]) is None:
            raise BundleError(f"the model has the outputs {sorted(outputs)}; expected a float array named {output!r}")
        self._pictures = {name for name, kind in ports.items() if kind.WhichOneof("Type") == "imageType"}
        described = [_describe(name, ports[name]) for name in names_of(input)]
        self._inputs = [one for one, _ in described]
        self._most = min((most for _, most in described if most is not None), default=None)
        self._batch = fixed_batch(batch, self._inputs)
        if self._pictures and len(ports) > 1:
            raise BundleError(f"the model has an image input among {sorted(ports)}; expected it to be the only one")
        if self._pictures and self._batch not in (None, 1):
            raise BundleError(f"batch is {self._batch}, but an image input takes one picture; export the model again")
        self._output = output
        self._lock = threading.Lock()

    def run(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 ``[n, dim]`` for one float32 ``[n, *shape]`` per input, n at least 1.

        Raises:
            BundleError: The model does not take these shapes or, as pictures, these values; or fails on them.
        """
        arrays = checked(self.name, self._inputs, inputs)
        if self._pictures:
            return self._run_pictures(arrays[0])
        return run_in_blocks(self._run, arrays, batch=self._batch, most=self._most)

    def _run(self, arrays: Arrays) -> NDArray[np.float32]:
        feed = {one.name: array for one, array in zip(self._inputs, arrays, strict=True)}
        return self._answer(self._predict(feed))

    def _run_pictures(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        pixels = np.clip(np.rint(images), 0, 255)
        if not np.array_equal(pixels, images):
            raise BundleError(
                f"{self.name} was given values from {images.min()} to {images.max()} for an image input; expected "
                f"whole numbers from 0 to 255; the manifest must say values = pixels"
            )
        pictures = [Image.fromarray(one) for one in pixels.astype(np.uint8).transpose(0, 2, 3, 1)]
        name = self._inputs[0].name
        return np.concatenate([self._answer(self._predict({name: picture})) for picture in pictures])

    def _predict(self, feed: dict[str, Any]) -> Mapping[str, Any]:
        try:
            with self._lock:
                found: Mapping[str, Any] = self._model.predict(feed)
        except Exception as error:  # as above, and NSError's text as RuntimeError
            raise BundleError(f"{self.name} failed on input {sorted(feed)}: {error}") from error
        return found

    def _answer(self, found: Mapping[str, Any]) -> NDArray[np.float32]:
        if self._output not in found:
            raise BundleError(f"{self.name} gave {sorted(found)}; expected an output named {self._output!r}")
        # Outputs of 16-bit floats are widened, which changes no value.
        return np.array(found[self._output], dtype=np.float32)


def coreml_problem() -> str | None:
    """Why Core ML cannot run on this system, or None."""
    system = platform.system()
    return None if system == "Darwin" else f"Core ML runs on macOS and iOS only, and this is {system}"


def _array_type(kind: Any) -> str | None:
    """The float type of a port that is an array of floats, or None."""
    return _FLOATS.get(kind.multiArrayType.dataType) if kind.WhichOneof("Type") == "multiArrayType" else None


def _describe(name: str, kind: Any) -> tuple[Input, int | None]:
    """An input and the most samples that it takes, None for no bound."""
    if kind.WhichOneof("Type") == "imageType":
        if kind.imageType.colorSpace not in _COLOURS:
            raise BundleError(f"the model takes {name!r} in colour space {kind.imageType.colorSpace}; expected colour")
        return Input(name, (3, kind.imageType.height, kind.imageType.width)), 1
    if _array_type(kind) is None:
        raise BundleError(f"the model's input {name!r} is {kind}; expected an image or an array of floats")
    array = kind.multiArrayType
    shape = tuple(int(axis) for axis in array.shape)
    # With a list of shapes, the first one is the default and serves for every batch.
    if array.WhichOneof("ShapeFlexibility") != "shapeRange":
        return Input(name, shape[1:], shape[0]), None
    rows = array.shapeRange.sizeRanges[0]
    if rows.lowerBound > 1 or rows.lowerBound == rows.upperBound:
        return Input(name, shape[1:], shape[0]), None
    return Input(name, shape[1:]), int(rows.upperBound) if rows.upperBound > 0 else None
