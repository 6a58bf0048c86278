"""From the run of a transform to a published bundle: the same road as `compat_export.pack`, for vectors.

A run of a transform holds no images and no vectors, so the caller may give some. Without them the graphs are compared,
and later self-tested, on seeded random unit vectors: they show whether a graph computes what PyTorch does, not what
real embeddings make of its rounding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from compat_export.check.measure import build_graphs
from compat_export.convert.conversion import Options, Port
from compat_export.convert.unit import UnitTransform, UnitTransformWithSide
from compat_export.report import ExportReport, graph_plan
from compat_sdk.bundle import TransformSource, write_bundle
from compat_sdk.errors import ConfigError
from compat_sdk.progress import Progress
from compat_sdk.space import Embeddings
from compat_train.models.transform import transform_cost
from compat_train.runs.transform_run import TransformRun

_GOLDEN_VECTORS = 32

Vectors = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""Old vectors, float32 ``[n, old_dim]``, and their side-information, float32 ``[n, side_dim]``, or None."""


def export_transform(
    run: TransformRun,
    *,
    out: str | Path,
    targets: Sequence[str] = ("onnx",),
    options: Sequence[Options] = (Options(),),
    tier: str = "transform",
    license: str | None = None,
    vectors: Vectors | None = None,
    min_cosine: float | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Export a transform as a bundle with one graph per target and precision.

    The normalisation of the new vectors is inside every graph.

    Args:
        run: A finished run, or one in memory.
        out: The bundle to make: a folder, or a file that ends with ``.zip``.
        targets: Some of ``compat_export.convert.graphs.TARGETS``.
        options: One per precision; each is converted to each target.
        tier: Cost class recorded in the bundle.
        license: Licence of the weights; the run's own by default.
        vectors: Golden inputs of unit norm, best from the gallery that will be upgraded, of which the first 32 rows are
            kept; seeded random ones by default.
        min_cosine: Smallest cosine allowed to PyTorch; by default that of each precision.
        overwrite: Replace an existing bundle.
        progress: Called after each graph.

    Returns:
        The published bundle and how its graphs compare with PyTorch.

    Raises:
        ConfigError: Unknown target, options that a target or a transform does not have, golden inputs that are not
            those of this transform, or ``out`` exists.
        VectorError: Golden inputs are not finite, or not of unit norm.
        CheckFailedError: A graph disagrees with PyTorch; nothing was written.
        MissingExtraError: A converter or an engine is not installed.
    """
    started = time.perf_counter()
    out = Path(out)
    plan = graph_plan(targets, options, out, overwrite)
    for option in options:
        _require_vector_option(option)
    spaces = run.spaces
    source = TransformSource(spaces.old_space, spaces.old_dim, spaces.side_space, spaces.side_dim)
    inputs = _random_rows(source) if vectors is None else _checked(vectors, source)
    network = run.build()
    wrapped = UnitTransform(network) if source.side_space is None else UnitTransformWithSide(network)
    module = wrapped.eval()
    with torch.no_grad():
        reference: NDArray[np.float32] = module(*map(torch.from_numpy, inputs)).numpy()
    ports = [Port(name, array.shape[1:]) for name, array in zip(source.inputs, inputs, strict=True)]
    graphs, reports = build_graphs(
        module, ports, plan, lambda _: inputs, reference, name=run.name, min_cosine=min_cosine, progress=progress
    )
    cost = transform_cost(network)
    bundle = write_bundle(
        out,
        name=run.name,
        role="transform",
        space=spaces.space,
        searches=(),
        dim=spaces.dim,
        preprocessing=None,
        tier=tier,
        mmacs=cost.mmacs,
        mmacs_paper=cost.mmacs_paper,
        params_m=cost.params_m,
        license=run.license if license is None else license,
        arch=run.kind,
        graphs=tuple(graph.record for graph in graphs),
        graph_files={name: data for graph in graphs for name, data in graph.files.items()},
        golden=(*inputs, reference),
        source=source,
        overwrite=overwrite,
    )
    return ExportReport(bundle, tuple(reports), time.perf_counter() - started)


def _require_vector_option(option: Options) -> None:
    """Refuse what only an image has."""
    if option.precision == "int8-static":
        raise ConfigError("precision int8-static is not made for a transform; choose int8, which compresses weights")
    for name, found in (("layout nhwc", option.layout == "nhwc"), ("pixels", option.pixels is not None)):
        if found:
            raise ConfigError(f"{name} is about images, and a transform takes vectors; leave it out")


def _random_rows(source: TransformSource) -> tuple[NDArray[np.float32], ...]:
    generator = np.random.default_rng(0)
    dims = (source.old_dim,) if source.side_dim is None else (source.old_dim, source.side_dim)
    rows = [generator.standard_normal((_GOLDEN_VECTORS, dim)) for dim in dims]
    return tuple((row / np.linalg.norm(row, axis=1, keepdims=True)).astype(np.float32) for row in rows)


def _checked(vectors: Vectors, source: TransformSource) -> tuple[NDArray[np.float32], ...]:
    old, side = vectors
    given = (old,) if side is None else (old, side)
    wanted = (source.old_dim,) if source.side_dim is None else (source.old_dim, source.side_dim)
    shapes = [array.shape for array in given]
    if [shape[1:] for shape in shapes] != [(dim,) for dim in wanted] or len({shape[0] for shape in shapes}) != 1:
        raise ConfigError(
            f"found golden vectors of shape {[list(shape) for shape in shapes]}; this transform takes "
            f"{', '.join(f'{name} [n, {dim}]' for name, dim in zip(source.inputs, wanted, strict=True))}, one row each"
        )
    if len(old) == 0:
        raise ConfigError("found no golden vectors; give at least one row, or none at all for random ones")
    rows = [np.ascontiguousarray(array[:_GOLDEN_VECTORS]) for array in given]
    return tuple(Embeddings(array, source.old_space).vectors for array in rows)
