"""One graph of a bundle: converted, opened by the engine that will run it, and compared with PyTorch.

A Core ML package is run by its reader on this machine (`compat_export.mil`), from the files that ship; on macOS also
by Core ML itself, and both must agree with PyTorch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from compat_export.convert.adopted_onnx import adopted_graph
from compat_export.convert.conversion import OUTPUT, Options, Port
from compat_export.convert.shared import Shared
from compat_sdk.bundle.graph import Graph
from compat_sdk.engines import Engine
from compat_sdk.engines.choice import ExecuTorchEngine, LiteRTEngine, OnnxRuntimeEngine
from compat_sdk.engines.coreml import coreml_problem
from compat_sdk.errors import ConfigError

TARGETS = ("onnx", "tflite", "coreml", "executorch")
"""Graph formats. ``tflite`` is LiteRT's."""

_FILES = {"onnx": "model.onnx", "tflite": "model.tflite", "coreml": "model.mlpackage", "executorch": "model.pte"}


@dataclass(frozen=True, eq=False)
class Converted:
    """A graph that is not in a bundle yet.

    Attributes:
        record: What the manifest will say of it.
        files: Content by name inside the bundle.
    """

    record: Graph
    files: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(map(len, self.files.values()))

    def alone(self) -> dict[str, bytes]:
        """Content by name without the folder that the bundle keeps it in."""
        folder = self.record.file.rpartition("/")[0]
        return {name.removeprefix(f"{folder}/"): data for name, data in self.files.items()}


def convert(
    module: nn.Module, ports: Sequence[Port], target: str, options: Options, shared: Shared | None = None
) -> Converted:
    """A module as a graph of a target; the files lie in ``TARGET-PRECISION/`` inside the bundle.

    Args:
        module: See the converters, ``to_*.convert``.
        ports: Its inputs, in order.
        target: One of ``TARGETS``.
        options: How to convert.
        shared: What other precisions of the same graph started from, which is then not made again.

    Raises:
        ConfigError: Unknown target, or options that it does not have.
        MissingExtraError: The converter is not installed.
    """
    from compat_export.convert import to_coreml, to_executorch, to_litert, to_onnx

    if target != "onnx" and adopted_graph(module) is not None:
        raise ConfigError(
            f"this model was adopted as an ONNX graph, which no converter to {target} reads; choose target onnx, or "
            f"adopt the network itself, such as timm:NAME or module:PACKAGE.MODULE:CALLABLE"
        )
    match target:
        case "onnx":
            files = to_onnx.convert(module, ports, options, shared)
        case "tflite":
            files = to_litert.convert(module, ports, options, shared)
        case "coreml":
            files = to_coreml.convert(module, ports, options, shared)
        case "executorch":
            files = to_executorch.convert(module, ports, options)
        case _:
            raise ConfigError(f"found target {target!r}; expected one of {', '.join(TARGETS)}, or all")
    folder = f"{target}-{options.precision}"
    record = Graph(
        target=target,
        precision=options.precision,
        file=f"{folder}/{_FILES[target]}",
        inputs=tuple(port.name for port in ports),
        output=OUTPUT,
        batch=_fixed_batch(target, options),
        layout=options.layout,
        values="prepared" if options.pixels is None else "pixels",
    )
    return Converted(record, {f"{folder}/{name}": data for name, data in files.items()})


@contextmanager
def opened(converted: Converted, threads: int = 1) -> Iterator[list[Engine]]:
    """The engines that can run a graph on this machine: its own, or for Core ML its twin and, on macOS, both.

    Raises:
        MissingExtraError: The engine is not installed.
        BundleError: It cannot load the graph.
    """
    record, files = converted.record, converted.alone()
    data = next(iter(files.values()))
    match record.target:
        case "onnx":
            yield [OnnxRuntimeEngine(data, input=record.inputs, output=OUTPUT, batch=record.batch, threads=threads)]
        case "tflite":
            yield [LiteRTEngine(data, input=record.inputs, output=OUTPUT, batch=record.batch, threads=threads)]
        case "executorch":
            yield [ExecuTorchEngine(data, batch=record.batch, threads=threads)]
        case "coreml":
            from compat_export.mil.engine import CoreMLTwin
            from compat_export.mil.package import Package

            twin = CoreMLTwin(Package.from_files(files), inputs=record.inputs, output=OUTPUT)
            if coreml_problem() is not None:
                yield [twin]
                return
            from compat_sdk.engines.choice import CoreMLEngine

            with tempfile.TemporaryDirectory(prefix="compat-sdk-") as folder:
                for name, content in files.items():
                    path = Path(folder) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                package = Path(folder) / _FILES["coreml"]
                yield [twin, CoreMLEngine(package, input=record.inputs, output=OUTPUT, batch=record.batch)]


def _fixed_batch(target: str, options: Options) -> int | None:
    """The batch that the converter fixes where none was asked for; see each converter."""
    if options.batch is None and (target in ("tflite", "executorch") or (target == "coreml" and options.pixels)):
        return 1
    return options.batch
