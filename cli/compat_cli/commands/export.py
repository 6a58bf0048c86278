"""`compat-sdk export`: a trained run becomes a verified bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compat_cli import console, extras, options
from compat_sdk.errors import ConfigError
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compat_export import ExportReport, Options, Probe
    from compat_export.convert.conversion import Precision
    from compat_export.request import Asked
    from compat_train.runs.checkpoint import Checkpoint

_EXTRAS = {
    "onnx": ("export-onnx",),
    "tflite": ("export-litert",),
    "coreml": ("export-coreml",),
    "executorch": ("export-executorch",),
}
_OF_IMAGES = ("layout", "pixels", "data", "root", "gallery", "queries", "calibration")
"""Options that mean nothing for a transform, which takes vectors."""


def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that a train command wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Bundle to write: a folder, or a file that ends with .zip.")],
    target: Annotated[
        list[str], typer.Option("--target", help="onnx, tflite, coreml, executorch or all; repeat for several.")
    ] = ["onnx"],  # noqa: B006  # Typer copies it
    precision: Annotated[
        list[str],
        typer.Option(
            "--precision",
            help="fp32, fp16, int8 (weights), int8-static (activations too), int4, palette8, palette6, palette4; "
            "repeat for several.",
        ),
    ] = ["fp32"],  # noqa: B006  # Typer copies it
    ios: Annotated[int, typer.Option("--ios", help="Oldest iOS of a Core ML package: 16, 17 or 18.")] = 16,
    batch: Annotated[
        int | None,
        typer.Option("--batch", help="Fixed batch; free where the format allows it if not given.", show_default=False),
    ] = None,
    layout: Annotated[str, typer.Option("--layout", help="Axes of the image input: nchw or nhwc (tflite).")] = "nchw",
    pixels: Annotated[
        bool, typer.Option("--pixels", help="The graph takes RGB in [0, 255]: mean and deviation are inside it.")
    ] = False,
    data: options.OptionalData = None,
    root: options.Root = None,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", help="Gallery RUN; with --data, M(q,g) is compared.", show_default=False),
    ] = None,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Queries that M(q,g) is measured on.")] = 1000,
    calibration: Annotated[
        int, typer.Option("--calibration", min=1, help="Training images of --data that int8-static is calibrated on.")
    ] = 128,
    min_cosine: Annotated[
        float | None,
        typer.Option("--min-cosine", help="Smallest cosine to PyTorch; by precision if not given.", show_default=False),
    ] = None,
    tier: Annotated[
        str | None, typer.Option("--tier", help="Cost tier; from the MACs if not given.", show_default=False)
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="Licence of the weights.", show_default=False)
    ] = None,
    release: Annotated[
        int, typer.Option("--release", min=1, help="Counts the published versions of one model; never goes back.")
    ] = 1,
    expires: Annotated[
        str | None,
        typer.Option("--expires", help="Last day of use, such as 2027-12-31, in UTC.", show_default=False),
    ] = None,
    overwrite: options.Overwrite = False,
    allow_older: options.AllowOlder = False,
    as_json: options.Json = False,
) -> None:
    """Convert, compare with the checkpoint row by row, and publish only what agrees.

    RUN is a query or gallery model, a side-information encoder, or a transform of embeddings.
    """
    from compat_sdk.bundle.publish import require_free

    options.require_overwrite(overwrite, allow_older)
    require_free(out.absolute(), overwrite)
    targets = list(_EXTRAS) if "all" in target else target
    if unknown := [name for name in targets if name not in _EXTRAS]:
        raise ConfigError(f"found target {unknown[0]!r}; expected some of {', '.join(_EXTRAS)}, or all")
    if gallery is not None and data is None:
        raise ConfigError("--gallery needs --data: M(q,g) is measured on its queries and its gallery")
    for name in targets:
        for extra in _EXTRAS[name]:
            extras.require(extra)
    from compat_export import export as export_model
    from compat_train.runs.checkpoint import Checkpoint
    from compat_train.runs.run_files import read_role

    asked: Asked = {
        "targets": targets, "tier": tier, "license": license_name, "min_cosine": min_cosine, "overwrite": overwrite,
        "allow_older": allow_older, "release": release, "expires": expires,
    }  # fmt: skip
    values: dict[str, Any] = {"ios": ios, "batch": batch, "layout": layout}
    with console.working() as progress:
        if read_role(run) == "transform":
            _require_no_image_option(context, run)
            asked["precisions"] = _options(precision, values)
            done = export_model(run, out, progress=progress, **asked)
        else:
            checkpoint = Checkpoint.load(run)
            images = _Images(checkpoint, data, root)
            values["pixels"] = checkpoint.preprocessing if pixels else None
            asked["precisions"] = _options(precision, values, lambda: images.calibration(calibration))
            done = export_model(checkpoint, out, probe=images.probe(gallery, queries), progress=progress, **asked)
    console.report(done.to_json(), _text(done, out), as_json=as_json)


def _require_no_image_option(context: typer.Context, run: Path) -> None:
    # By name: Typer brings a copy of click, so that click's own enumeration may be another one.
    sources = {name: context.get_parameter_source(name) for name in _OF_IMAGES}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise ConfigError(
            f"{run} is a transform of embeddings, and {', '.join(f'--{name}' for name in given)} is about images; "
            f"leave it out"
        )


def _options(
    precisions: Sequence[str],
    values: dict[str, Any],
    calibration: Callable[[], NDArray[np.float32] | None] = lambda: None,
) -> list[Precision | Options]:
    from compat_export import Options

    return [
        Options(precision=name, calibration=calibration() if name == "int8-static" else None, **values)  # type: ignore[arg-type]
        for name in precisions
    ]


@dataclass(frozen=True)
class _Images:
    """What the options about images say: a model, and the data that it is calibrated and compared on."""

    checkpoint: Checkpoint
    data: str | None
    root: Path | None

    def calibration(self, count: int) -> NDArray[np.float32] | None:
        from compat_export import calibration_images
        from compat_sdk.images import to_input

        if self.data is None:
            return None
        preprocessing = self.checkpoint.preprocessing
        return to_input(calibration_images(self.data, self.root, preprocessing, count), preprocessing)

    def probe(self, gallery: Path | None, queries: int) -> Probe | None:
        if gallery is None or self.data is None:
            return None
        from compat_export import data_probe
        from compat_sdk.datasets import open_dataset

        return data_probe(open_dataset(self.data, self.root), self.checkpoint, gallery, queries)


def _text(done: ExportReport, out: Path) -> str:
    manifest = done.bundle.manifest
    where = f"space {manifest.space}"
    if manifest.source is not None:
        where = f"{' and '.join(filter(None, (manifest.source.old_space, manifest.source.side_space)))} -> {where}"
    if manifest.searches:
        where += f", searches {', '.join(manifest.searches)}"
    header = ["target", "precision", "size", "max diff", "mean cosine", "worst cosine"]
    rows = [
        [
            graph.target,
            graph.precision,
            console.size_text(graph.bytes),
            f"{graph.parity.max_abs_difference:.1e}",
            f"{graph.parity.mean_cosine:.6f}",
            f"{graph.parity.worst_cosine:.6f}",
        ]
        for graph in done.graphs
    ]
    if manifest.source is None:  # a transform makes no queries
        header += ["overlap@10", "M(q,g) points"]
        for row, graph in zip(rows, done.graphs, strict=True):
            row.append("" if graph.rank_overlap is None else f"{graph.rank_overlap:.3f}")
            row.append("" if graph.accuracy_change is None else f"{100 * graph.accuracy_change:+.1f}")
    header += ["p50 ms", "compared on"]
    for row, graph in zip(rows, done.graphs, strict=True):
        row += ["" if graph.latency is None else f"{graph.latency.p50_ms:.2f}", graph.engine]
    return f"{console.table(header, rows)}\n{escaped(str(out))}: {manifest.role} bundle, {escaped(str(where))}"
