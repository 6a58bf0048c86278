"""A program read from a package, ready to run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compat_export.mil.operations import OPERATIONS
from compat_export.mil.package import Package
from compat_export.mil.values import TensorType, Value, read_type, read_value
from compat_sdk.errors import BundleError, CheckFailedError, CompatError

_FUNCTION = "main"
_FLOATS = ("FLOAT16", "FLOAT32")


@dataclass(frozen=True)
class Input:
    """An input of a program.

    Attributes:
        lengths: Smallest and largest length of each axis.
        picture: None for numbers; ``"RGB"`` or ``"BGR"`` for an image input. An image is always given as RGB
            values, float32 ``[1, 3, h, w]`` in [0, 255]; the order that the program wants is made here, as Core
            ML makes it of a picture.
    """

    lengths: tuple[tuple[int, int], ...]
    picture: str | None = None


@dataclass(frozen=True, eq=False)
class _Step:
    """One operation: what it is called with, by parameter, and the values that nobody needs after it."""

    kind: str
    function: Callable[..., Tensor | tuple[Tensor, ...]]
    constants: Mapping[str, Value]
    variables: Mapping[str, tuple[str, ...]]
    outputs: tuple[tuple[str, TensorType], ...]
    last_use: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return f"operation {self.kind} (output {self.outputs[0][0] if self.outputs else 'none'})"


class Program:
    """The main function of a package's ML program. Reading it decodes and decompresses all weights.

    Args:
        package: An opened package.

    Attributes:
        inputs: By name, in the order of the program.
        outputs: Names.
        operations: Kinds of operation that it runs, constants left out, in order.

    Raises:
        BundleError: The package is damaged or contradicts itself.
        CheckFailedError: It holds an operation, or a kind of constant, that is not computed here.
    """

    def __init__(self, package: Package) -> None:
        functions = package.spec.mlProgram.functions
        if _FUNCTION not in functions:
            raise BundleError(f"the program has the functions {sorted(functions)}; expected {_FUNCTION!r}")
        function = functions[_FUNCTION]
        if function.opset not in function.block_specializations:
            raise BundleError(f"the program has no block for its operation set {function.opset!r}; export it again")
        block = function.block_specializations[function.opset]
        self.inputs: dict[str, Input] = {item.name: _input(item, package.spec.description) for item in function.inputs}
        self.outputs: tuple[str, ...] = tuple(block.outputs)
        self._values: dict[str, Value] = {}
        steps = [step for item in block.operations if (step := self._read(item, package)) is not None]
        self.operations: tuple[str, ...] = tuple(step.kind for step in steps)
        self._steps = _with_last_uses(steps, self.outputs)
        self._require_wired()

    def run(self, **inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, float32.

        Safe from several threads at once: nothing in the program changes.

        Args:
            **inputs: One float32 array per input, of a shape within its `Input.lengths`.

        Raises:
            BundleError: Inputs are missing, unknown or of another shape, or an operation does not fit its inputs.
        """
        if set(inputs) != set(self.inputs):
            raise BundleError(f"the program was given the inputs {sorted(inputs)}; expected {sorted(self.inputs)}")
        values: dict[str, Value] = {name: _given(name, array, self.inputs[name]) for name, array in inputs.items()}
        with torch.inference_mode():
            for step in self._steps:
                results = self._call(step, values)
                values.update(zip((name for name, _ in step.outputs), results, strict=True))
                for name in step.last_use:
                    values.pop(name, None)
        found = {name: values.get(name, self._values.get(name)) for name in self.outputs}
        return {name: np.array(value.numpy(), np.float32) for name, value in found.items() if isinstance(value, Tensor)}

    def _read(self, item: Any, package: Package) -> _Step | None:
        """One operation; None for a constant, whose value is kept."""
        outputs = []
        for output in item.outputs:
            declared = read_type(output.type, f"operation {item.type} (output {output.name})")
            outputs.append((output.name, declared or TensorType("LIST", ())))
        where = f"operation {item.type} (output {outputs[0][0] if outputs else 'none'})"
        fixed = {
            name: read_value(value, package, f"{where}, {name}")
            for name, value in item.attributes.items()
            if name != "name"
        }
        if item.type == "const":
            if "val" not in fixed or len(outputs) != 1:
                raise BundleError(f"{where}: a constant without one value; export the model again")
            self._values[outputs[0][0]] = fixed["val"]
            return None
        if item.type not in OPERATIONS or item.blocks:
            raise CheckFailedError(f"{where} is not computed here; known are {', '.join(OPERATIONS)}")
        variables: dict[str, tuple[str, ...]] = {}
        for name, argument in item.inputs.items():
            if len(argument.arguments) == 1 and argument.arguments[0].WhichOneof("binding") == "value":
                fixed[name] = read_value(argument.arguments[0].value, package, f"{where}, {name}")
            elif all(binding.WhichOneof("binding") == "name" for binding in argument.arguments):
                variables[name] = tuple(binding.name for binding in argument.arguments)
            else:
                raise CheckFailedError(f"{where}, {name}: names and constants in one list are not known here")
        step = _Step(item.type, OPERATIONS[item.type], fixed, variables, tuple(outputs))
        try:
            inspect.signature(step.function).bind(**fixed, **variables)
        except TypeError as error:
            raise CheckFailedError(f"{where}: {error}; its parameters are {sorted({*fixed, *variables})}") from None
        if item.type.startswith("constexpr_"):
            self._values[outputs[0][0]] = self._call(step, {})[0]
            return None
        return step

    def _call(self, step: _Step, values: Mapping[str, Value]) -> tuple[Tensor, ...]:
        arguments = dict(step.constants)
        for parameter, names in step.variables.items():
            found = tuple(values[name] if name in values else self._values[name] for name in names)
            arguments[parameter] = found[0] if len(found) == 1 else found
        try:
            result = step.function(**arguments)
        except CompatError as error:
            raise type(error)(f"{step.where}: {error}") from error
        except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as error:  # what torch raises
            raise BundleError(f"{step.where} does not fit its inputs: {error}; export the model again") from error
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(step.outputs):
            raise BundleError(f"{step.where} gives {len(results)} values; the program names {len(step.outputs)}")
        return tuple(
            _as_declared(value, declared, step.where)
            for value, (_, declared) in zip(results, step.outputs, strict=True)
        )

    def _require_wired(self) -> None:
        known = {*self.inputs, *self._values}
        for step in self._steps:
            missing = [name for names in step.variables.values() for name in names if name not in known]
            if missing:
                raise BundleError(f"{step.where} reads {missing[0]!r}, which nothing before it makes; export it again")
            known.update(name for name, _ in step.outputs)
        if not self.outputs or not known.issuperset(self.outputs):
            raise BundleError(f"the program's outputs are {list(self.outputs)}, which its operations do not make")


def _input(item: Any, description: Any) -> Input:
    where = f"input {item.name}"
    declared = read_type(item.type, where)
    features = {feature.name: feature.type for feature in description.input}
    if declared is None or item.name not in features:
        raise BundleError(f"{where}: the model's description lists {sorted(features)}; export the model again")
    feature = features[item.name]
    kind = feature.WhichOneof("Type")
    if kind == "imageType":
        color = feature.imageType.ColorSpace.Name(feature.imageType.colorSpace)
        if color not in ("RGB", "BGR") or None in declared.shape:
            raise CheckFailedError(f"{where}: a {color} image of shape {declared.shape} is not known here")
        return Input(tuple((length, length) for length in declared.shape if length is not None), color)
    if kind != "multiArrayType" or declared.dtype not in _FLOATS:
        raise CheckFailedError(f"{where}: {kind} of {declared.dtype} is not known here; expected float arrays")
    array = feature.multiArrayType
    ranges = [(r.lowerBound, r.upperBound) for r in array.shapeRange.sizeRanges]
    if not ranges:
        shapes = [list(s.shape) for s in array.enumeratedShapes.shapes] or [list(array.shape)]
        ranges = [(min(lengths), max(lengths)) for lengths in zip(*shapes, strict=True)]
    if len(ranges) != len(declared.shape):
        raise BundleError(f"{where}: {len(ranges)} axes described, {len(declared.shape)} declared; export it again")
    return Input(tuple((low, high if high > 0 else 1 << 31) for low, high in ranges))  # -1: no upper bound


def _given(name: str, array: NDArray[np.float32], expected: Input) -> Tensor:
    lengths = expected.lengths
    fits = array.ndim == len(lengths) and all(a <= n <= b for n, (a, b) in zip(array.shape, lengths, strict=True))
    if array.dtype != np.float32 or not fits:
        wanted = [str(low) if low == high else f"{low} to {high}" for low, high in lengths]
        raise BundleError(f"input {name} is {array.dtype} {list(array.shape)}; expected float32 [{', '.join(wanted)}]")
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.flip(1) if expected.picture == "BGR" else tensor


def _as_declared(value: Tensor, declared: TensorType, where: str) -> Tensor:
    if not declared.fits(value.shape):
        raise BundleError(f"{where} gives {list(value.shape)}; the program declares {list(declared.shape)}")
    if value.is_floating_point() != (declared.dtype in _FLOATS):
        raise BundleError(f"{where} gives {value.dtype}; the program declares {declared.dtype}")
    return value.half().float() if declared.dtype == "FLOAT16" else value


def _with_last_uses(steps: list[_Step], outputs: tuple[str, ...]) -> list[_Step]:
    """The steps, each with the names that no later step reads."""
    seen, found = set(outputs), []
    for step in reversed(steps):
        used = {name for names in step.variables.values() for name in names} | {name for name, _ in step.outputs}
        last = tuple(sorted(used - seen))
        seen |= used
        found.append(_Step(step.kind, step.function, step.constants, step.variables, step.outputs, last))
    return found[::-1]
