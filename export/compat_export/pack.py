"""From a run to a published bundle: convert, compare with PyTorch, and only then write.

Nothing reaches the disk before parity holds, and the bundle's own writer renames a finished folder into place;
so a failed export leaves no half bundle behind.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_export.parity import Parity, measure_parity, require_parity
from compat_export.to_onnx import INPUT, OUTPUT, export_onnx
from compat_sdk.bundle import Bundle, Graph, write_bundle
from compat_sdk.dataset import open_dataset
from compat_sdk.engine import Engine, OnnxRuntimeEngine
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.preprocess import Preprocessing, pixels_at, to_input
from compat_train.checkpoint import Checkpoint
from compat_train.embed import embed_images
from compat_train.models.cost import Cost, count_cost

TARGETS = ("onnx",)
PRECISIONS = ("fp32",)
TIERS = (100, 230, 330)
"""Budgets of seed 000 for query models, in millions of multiply-accumulates."""
GOLDEN_IMAGES = 8


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and how well it agrees with PyTorch.

    Attributes:
        bundle: The published bundle.
        target: Kind of graph.
        precision: Number format of its weights and activations.
        parity: Measured through the engine, on the golden images.
        bytes: Size of the graph.
        seconds: Conversion, comparison and writing.
    """

    bundle: Bundle
    target: str
    precision: str
    parity: Parity
    bytes: int
    seconds: float

    def to_json(self) -> dict[str, object]:
        """The report as a JSON object."""
        manifest = self.bundle.manifest
        return {
            "bundle": str(self.bundle.path),
            "name": manifest.name,
            "space": manifest.space,
            "searches": list(manifest.searches),
            "tier": manifest.tier,
            "mmacs": manifest.mmacs,
            "target": self.target,
            "precision": self.precision,
            "parity": self.parity.to_json(),
            "bytes": self.bytes,
            "seconds": self.seconds,
        }


def export_run(
    run: str | Path,
    *,
    out: str | Path,
    target: str = "onnx",
    precision: str = "fp32",
    tier: str | None = None,
    license: str | None = None,
    images: NDArray[np.uint8] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Export a finished run as a bundle.

    Args:
        run: Folder of a finished run.
        out: The bundle's folder, to be made.
        target: One of ``TARGETS``.
        precision: One of ``PRECISIONS``.
        tier: Cost class recorded in the bundle; by default ``"gallery"`` for a gallery model, otherwise the
            smallest of ``TIERS`` that holds the model's multiply-accumulates, or ``"other"``.
        license: Licence of the weights; the run's own by default.
        images: Golden images, uint8 ``[n, size, size, 3]`` RGB, of which the first 8 are kept; real images
            from the sample data by default.
        overwrite: Replace an existing bundle.

    Returns:
        The published bundle and its parity with PyTorch.

    Raises:
        ConfigError: Unknown target or precision, or ``out`` exists.
        CheckFailedError: The graph disagrees with PyTorch; nothing was written.
        MissingExtraError: The converter or the engine is not installed.
    """
    _require_known(target, precision)
    return export_checkpoint(
        Checkpoint.load(Path(run)),
        out=out,
        target=target,
        precision=precision,
        tier=tier,
        license=license,
        images=images,
        overwrite=overwrite,
    )


def export_checkpoint(
    checkpoint: Checkpoint,
    *,
    out: str | Path,
    target: str = "onnx",
    precision: str = "fp32",
    tier: str | None = None,
    license: str | None = None,
    images: NDArray[np.uint8] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """As ``export_run``, for a checkpoint in memory. Same arguments, result and errors."""
    started = time.perf_counter()
    _require_known(target, precision)
    out = Path(out)
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another folder, or allow it to be overwritten")
    preprocessing = checkpoint.preprocessing
    pixels = golden_images(preprocessing) if images is None else _checked(images, preprocessing)
    model = checkpoint.build()
    reference = embed_images(model, pixels, preprocessing)
    graph = _convert(checkpoint, target)
    parity = measure_parity(_open(graph, target), to_input(pixels, preprocessing), reference)
    require_parity(parity, f"the {target} {precision} graph of {checkpoint.name}")
    cost = count_cost(model, preprocessing.size)
    record = Graph(target=target, precision=precision, file="model.onnx", input=INPUT, output=OUTPUT)
    bundle = write_bundle(
        out,
        name=checkpoint.name,
        role=checkpoint.role,
        space=checkpoint.space,
        searches=checkpoint.searches,
        dim=checkpoint.dim,
        preprocessing=preprocessing,
        tier=choose_tier(checkpoint.role, cost) if tier is None else tier,
        mmacs=cost.mmacs,
        mmacs_paper=cost.mmacs_paper,
        params_m=cost.params_m,
        license=checkpoint.license if license is None else license,
        arch=checkpoint.arch,
        graphs=(record,),
        graph_files={record.file: graph},
        golden=(pixels, reference),
        overwrite=overwrite,
    )
    return ExportReport(bundle, target, precision, parity, len(graph), time.perf_counter() - started)


def golden_images(preprocessing: Preprocessing, count: int = GOLDEN_IMAGES) -> NDArray[np.uint8]:
    """Real images for self-tests: evenly spaced through the sample data's queries, always the same.

    Args:
        preprocessing: How the model wants its images.
        count: How many, at least 1.

    Returns:
        uint8 ``[count, size, size, 3]``, RGB.
    """
    split = open_dataset("sample").splits["query"]
    rows = np.linspace(0, len(split) - 1, count).round().astype(int).tolist()
    return np.stack([pixels_at(split.images, row, preprocessing) for row in rows])


def choose_tier(role: str, cost: Cost) -> str:
    """The cost class of a model: ``"gallery"``, ``"100"``, ``"230"``, ``"330"`` (MMACs) or ``"other"``."""
    if role == "gallery":
        return "gallery"
    return next((str(tier) for tier in TIERS if cost.mmacs <= tier), "other")


def _require_known(target: str, precision: str) -> None:
    if target not in TARGETS:
        raise ConfigError(f"found target {target!r}; expected one of {', '.join(TARGETS)}")
    if precision not in PRECISIONS:
        raise ConfigError(f"found precision {precision!r} for target {target}; expected one of {', '.join(PRECISIONS)}")


def _checked(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    expected = (preprocessing.size, preprocessing.size, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected or len(images) == 0:
        raise DataError(
            f"found golden images {images.dtype} {list(images.shape)}; expected uint8 "
            f"[n, {expected[0]}, {expected[0]}, 3] with n at least 1; prepare them with to_pixels"
        )
    return np.ascontiguousarray(images[:GOLDEN_IMAGES])


def _convert(checkpoint: Checkpoint, target: str) -> bytes:
    match target:
        case "onnx":
            return export_onnx(checkpoint)
    raise AssertionError(target)  # _require_known has passed


def _open(graph: bytes, target: str) -> Engine:
    """The engine that will run the graph on the device, or its twin on this machine."""
    match target:
        case "onnx":
            return OnnxRuntimeEngine(graph, input=INPUT, output=OUTPUT, threads=1)
    raise AssertionError(target)
