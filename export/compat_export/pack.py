"""From a run to a published bundle: convert, compare with PyTorch, and only then write.

Nothing reaches the disk before parity holds for every graph, and the bundle's own writer renames a finished bundle
into place; so a failed export leaves no half bundle behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_export.compare import Probe, sample_probe
from compat_export.conversion import Options, Port
from compat_export.graphs import TARGETS, Converted, convert
from compat_export.measure import GraphReport, measure_graph
from compat_export.to_onnx import INPUT, UnitEmbedder
from compat_sdk.bundle import Bundle, write_bundle
from compat_sdk.dataset import open_dataset
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.preprocess import Preprocessing, pixels_at
from compat_train.checkpoint import Checkpoint
from compat_train.embed import embed_images
from compat_train.models.cost import Cost, count_cost

__all__ = ["TARGETS", "ExportReport", "GraphReport", "choose_tier", "export_checkpoint", "export_run", "golden_images"]

TIERS = (100, 230, 330)
"""Budgets of seed 000 for query models, in millions of multiply-accumulates."""
GOLDEN_IMAGES = 8

Progress = Callable[[str, int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        bundle: The published bundle.
        graphs: One report per graph, in the bundle's order.
        seconds: Conversion, comparison and writing.
    """

    bundle: Bundle
    graphs: tuple[GraphReport, ...]
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
            "graphs": [graph.to_json() for graph in self.graphs],
            "seconds": self.seconds,
        }


def export_run(
    run: str | Path,
    *,
    out: str | Path,
    targets: Sequence[str] = ("onnx",),
    options: Sequence[Options] = (Options(),),
    tier: str | None = None,
    license: str | None = None,
    images: NDArray[np.uint8] | None = None,
    probe: Probe | None = None,
    min_cosine: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Export a finished run as a bundle with one graph per target and precision.

    Args:
        run: Folder of a finished run.
        out: The bundle to make: a folder, or a file that ends with ``.zip``.
        targets: Some of ``TARGETS``.
        options: One per precision; each is converted to each target.
        tier: Cost class recorded in the bundle; by default ``"gallery"`` for a gallery model, otherwise the
            smallest of ``TIERS`` that holds the model's multiply-accumulates, or ``"other"``.
        license: Licence of the weights; the run's own by default.
        images: Golden images, uint8 ``[n, size, size, 3]`` RGB, of which the first 8 are kept; real images
            from the sample data by default.
        probe: Searches by which rank overlap and accuracy are compared; the bundled sample by default.
        min_cosine: Smallest cosine allowed to PyTorch; by default that of each precision.
        overwrite: Replace an existing bundle.
        progress: Called after each graph.

    Returns:
        The published bundle and how its graphs compare with PyTorch.

    Raises:
        ConfigError: Unknown target, options that a target does not have, or ``out`` exists.
        CheckFailedError: A graph disagrees with PyTorch; nothing was written.
        MissingExtraError: A converter or an engine is not installed.
    """
    return export_checkpoint(
        Checkpoint.load(Path(run)),
        out=out,
        targets=targets,
        options=options,
        tier=tier,
        license=license,
        images=images,
        probe=probe,
        min_cosine=min_cosine,
        overwrite=overwrite,
        progress=progress,
    )


def export_checkpoint(
    checkpoint: Checkpoint,
    *,
    out: str | Path,
    targets: Sequence[str] = ("onnx",),
    options: Sequence[Options] = (Options(),),
    tier: str | None = None,
    license: str | None = None,
    images: NDArray[np.uint8] | None = None,
    probe: Probe | None = None,
    min_cosine: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """As ``export_run``, for a checkpoint in memory. Same arguments, result and errors."""
    started = time.perf_counter()
    out = Path(out)
    _require_sensible(targets, options, out, overwrite)
    preprocessing = checkpoint.preprocessing
    pixels = golden_images(preprocessing) if images is None else _checked(images, preprocessing)
    model = checkpoint.build()
    reference = embed_images(model, pixels, preprocessing)
    if probe is None:
        probe = sample_probe(checkpoint)
    module = UnitEmbedder(checkpoint.build()).eval()
    port = Port(INPUT, (3, preprocessing.size, preprocessing.size))
    pairs = [(target, option) for target in targets for option in options]
    graphs: list[Converted] = []
    reports: list[GraphReport] = []
    for done, (target, option) in enumerate(pairs, 1):
        before = time.perf_counter()
        graph = convert(module, port, target, option)
        seconds = time.perf_counter() - before
        what = f"the {target} {option.precision} graph of {checkpoint.name}"
        reports.append(measure_graph(graph, pixels, reference, preprocessing, probe, what, min_cosine, seconds))
        graphs.append(graph)
        if progress is not None:
            progress("export", done, len(pairs), {})
    cost = count_cost(model, preprocessing.size)
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
        graphs=tuple(graph.record for graph in graphs),
        graph_files={name: data for graph in graphs for name, data in graph.files.items()},
        golden=(pixels, reference),
        overwrite=overwrite,
    )
    return ExportReport(bundle, tuple(reports), time.perf_counter() - started)


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


def _require_sensible(targets: Sequence[str], options: Sequence[Options], out: Path, overwrite: bool) -> None:
    if unknown := [target for target in targets if target not in TARGETS]:
        raise ConfigError(f"found target {unknown[0]!r}; expected some of {', '.join(TARGETS)}")
    precisions = [option.precision for option in options]
    if not targets or not options or len(set(targets)) < len(targets) or len(set(precisions)) < len(precisions):
        raise ConfigError(
            f"found targets {list(targets)} and precisions {precisions}; expected at least one of each, each once"
        )
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another name, or allow it to be overwritten")


def _checked(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    expected = (preprocessing.size, preprocessing.size, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected or len(images) == 0:
        raise DataError(
            f"found golden images {images.dtype} {list(images.shape)}; expected uint8 "
            f"[n, {expected[0]}, {expected[0]}, 3] with n at least 1; prepare them with to_pixels"
        )
    return np.ascontiguousarray(images[:GOLDEN_IMAGES])
