"""From a run to a published bundle: convert, compare with PyTorch, and only then write.

Nothing reaches the disk before parity holds for every graph, and the bundle's own writer renames a finished bundle
into place; so a failed export leaves no half bundle behind.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_export.check.compare import Probe, sample_probe
from compat_export.check.measure import GraphReport, build_graphs
from compat_export.convert.conversion import Options, Port
from compat_export.convert.graphs import TARGETS
from compat_export.convert.to_onnx import INPUT
from compat_export.convert.unit import UnitEmbedder
from compat_export.pack_transform import Vectors, export_transform
from compat_export.report import ExportReport, graph_plan
from compat_sdk.bundle import write_bundle
from compat_sdk.datasets import open_dataset
from compat_sdk.embedder import graph_input
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.images import Preprocessing
from compat_sdk.images.preprocess import pixels_at
from compat_sdk.progress import Progress
from compat_sdk.spread import spread
from compat_train.embed import embed_images
from compat_train.models.cost import Cost, count_cost
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.run_files import read_role
from compat_train.runs.transform_run import TransformRun

__all__ = [
    "TARGETS",
    "ExportReport",
    "GraphReport",
    "choose_tier",
    "export_checkpoint",
    "export_run",
    "export_transform",
    "golden_images",
]

TIERS = (100, 230, 330)
"""Budgets of seed 000 for query models, in millions of multiply-accumulates."""
_GOLDEN_IMAGES = 8


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
    vectors: Vectors | None = None,
    min_cosine: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Export a finished run as a bundle with one graph per target and precision.

    Args:
        run: Folder of a finished run: a query or gallery model, a side-information encoder, or a transform.
        out: The bundle to make: a folder, or a file that ends with ``.zip``.
        targets: Some of ``TARGETS``.
        options: One per precision; each is converted to each target.
        tier: Cost class recorded in the bundle; by default ``"gallery"`` for a gallery model, ``"side-info"`` for a
            side-information encoder, ``"transform"`` for a transform, otherwise the smallest of ``TIERS`` that holds
            the model's multiply-accumulates, or ``"other"``.
        license: Licence of the weights; the run's own by default.
        images: Golden images, uint8 ``[n, size, size, 3]`` RGB, of which the first 8 are kept; real images
            from the sample data by default.
        probe: Searches by which rank overlap and accuracy are compared; the bundled sample by default.
        vectors: Golden inputs of a transform, see `compat_export.pack_transform.export_transform`.
        min_cosine: Smallest cosine allowed to PyTorch; by default that of each precision.
        overwrite: Replace an existing bundle.
        progress: Called after each graph.

    Returns:
        The published bundle and how its graphs compare with PyTorch.

    Raises:
        ConfigError: Unknown target, options that a target does not have, images for a transform or vectors for a model
            of images, or ``out`` exists.
        CheckFailedError: A graph disagrees with PyTorch; nothing was written.
        MissingExtraError: A converter or an engine is not installed.
    """
    if read_role(run) == "transform":
        if images is not None or probe is not None:
            raise ConfigError(f"{run} is a transform, which takes no images; leave images and probe out, give vectors")
        return export_transform(
            TransformRun.load(run),
            out=out,
            targets=targets,
            options=options,
            tier="transform" if tier is None else tier,
            license=license,
            vectors=vectors,
            min_cosine=min_cosine,
            overwrite=overwrite,
            progress=progress,
        )
    if vectors is not None:
        raise ConfigError(f"{run} is a model of images; leave vectors out, give images")
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
    plan = graph_plan(targets, options, out, overwrite)
    preprocessing = checkpoint.preprocessing
    pixels = golden_images(preprocessing) if images is None else _checked(images, preprocessing)
    model = checkpoint.build()
    reference = embed_images(model, pixels, preprocessing)
    if probe is None:
        probe = sample_probe(checkpoint)
    module = UnitEmbedder(checkpoint.build()).eval()
    port = Port(INPUT, (3, preprocessing.size, preprocessing.size))
    graphs, reports = build_graphs(
        module,
        [port],
        plan,
        lambda record: [graph_input(pixels, preprocessing, record)],
        reference,
        name=checkpoint.name,
        probe=(probe, preprocessing),
        min_cosine=min_cosine,
        progress=progress,
    )
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


def golden_images(preprocessing: Preprocessing, count: int = _GOLDEN_IMAGES) -> NDArray[np.uint8]:
    """Real images for self-tests: evenly spaced through the sample data's queries, always the same.

    Args:
        preprocessing: How the model wants its images.
        count: How many, at least 1.

    Returns:
        uint8 ``[count, size, size, 3]``, RGB.
    """
    split = open_dataset("sample").splits["query"]
    rows = spread(len(split), count).tolist()
    return np.stack([pixels_at(split.images, row, preprocessing) for row in rows])


def choose_tier(role: str, cost: Cost) -> str:
    """The cost class of a model of images: gallery, side-info, 100, 230, 330 (millions of MACs) or other."""
    if role in ("gallery", "side-info"):
        return role
    return next((str(tier) for tier in TIERS if cost.mmacs <= tier), "other")


def _checked(images: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    expected = (preprocessing.size, preprocessing.size, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected or len(images) == 0:
        raise DataError(
            f"found golden images {images.dtype} {list(images.shape)}; expected uint8 "
            f"[n, {expected[0]}, {expected[0]}, 3] with n at least 1; prepare them with to_pixels"
        )
    return np.ascontiguousarray(images[:_GOLDEN_IMAGES])
