"""From a model to a published bundle: convert, compare with PyTorch, and only then write.

`export` puts two values together: a `Request`, what is asked, and a `Subject`, what is exported. `publish` does the
work. Nothing reaches the disk before every graph agrees with PyTorch, and the bundle's own writer renames a finished
bundle into place; so a failed export leaves no half bundle behind.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Unpack

from compat_export.check.compare import Probe
from compat_export.check.golden import Images, Vectors
from compat_export.check.measure import GraphReport, measure_graph
from compat_export.check.written import input_record, require_self_test
from compat_export.convert.graphs import convert
from compat_export.convert.shared import Shared
from compat_export.request import Asked, Request
from compat_export.subject import Subject, subject_of
from compat_sdk.bundle import Bundle, Manifest, write_bundle
from compat_sdk.bundle.publish import require_no_newer
from compat_sdk.bundle.self_test import MIN_COSINE
from compat_sdk.bundle.trust import require_current
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.progress import Progress
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.transform_run import TransformRun


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
            "role": manifest.role,
            "space": manifest.space,
            "searches": list(manifest.searches),
            "source": None if manifest.source is None else asdict(manifest.source),
            "tier": manifest.tier,
            "mmacs": manifest.mmacs,
            "graphs": [graph.to_json() for graph in self.graphs],
            "seconds": self.seconds,
        }


def export(
    source: str | Path | Checkpoint | TransformRun,
    out: str | Path,
    *,
    golden: Images | Vectors | None = None,
    probe: Probe | None = None,
    progress: Progress | None = None,
    **asked: Unpack[Asked],
) -> ExportReport:
    """Export a model as a bundle with one verified graph per target and precision.

        export("runs/query", "query.bundle", targets=["onnx", "tflite"], precisions=["fp32", "int8"])

    Args:
        source: Folder of a finished run (a query or gallery model, a side-information encoder, or a transform), or
            what was loaded from one.
        out: The bundle to make: a folder, or a file that ends with ``.zip``.
        golden: Inputs that graphs are compared on, which travel in the bundle. For a model of images prepared ones,
            uint8 ``[n, size, size, 3]`` RGB, or JPEG and PNG files, by path or content, of which 8 are kept; they come
            besides the standard golden pictures, which every bundle has. For a transform a pair of unit vectors,
            old ``[n, old_dim]`` and side-information ``[n, side_dim]`` or None, of which 32 are kept, seeded random
            ones by default.
        probe: Searches by which rank overlap and accuracy are compared; the bundled sample by default.
        progress: Called after each graph.
        **asked: ``targets``, ``precisions``, ``tier``, ``license``, ``min_cosine``, ``overwrite``, ``allow_older``,
            ``release``, ``expires``: see `compat_export.request.Request`, which has their defaults.

    Returns:
        The published bundle and how its graphs compare with PyTorch.

    Raises:
        ConfigError: Unknown target, options that a target or the model does not have, images for a transform or
            vectors for a model of images, or ``out`` exists.
        DataError: Golden images of another type, shape or format.
        VectorError: Golden vectors that are not finite, or not of unit norm.
        CheckFailedError: A graph disagrees with PyTorch, or the written bundle fails its own self-test; nothing was
            published.
        MissingExtraError: A converter or an engine is not installed.
    """
    return publish(Request(Path(out), **asked), subject_of(source, golden, probe), progress)


def publish(request: Request, subject: Subject, progress: Progress | None = None) -> ExportReport:
    """Convert a subject to each graph that is asked for, compare each before the next, and write the bundle.

    Raises:
        ConfigError: The subject or a target does not have an option that is asked for, or ``out`` exists.
        CheckFailedError: A graph disagrees with PyTorch, or the bundle fails its self-test; nothing was published.
        MissingExtraError: A converter or an engine is not installed.
    """
    started = time.perf_counter()
    subject.require(request.options)
    facts = _published(request, subject.facts)
    name, bound = facts.name, request.min_cosine
    files: dict[str, bytes] = {}
    records, reports, shared = [], [], Shared()
    for done, (target, option) in enumerate(request.graphs, 1):
        before = time.perf_counter()
        graph = convert(subject.module, subject.ports, target, option, shared)
        seconds = time.perf_counter() - before
        reports.append(measure_graph(graph, subject.golden, name, seconds=seconds, min_cosine=bound))
        # Said to whoever tests the bundle, with this package or without. A higher bound is for this export alone.
        usual = MIN_COSINE[option.precision]
        records.append(replace(graph.record, min_cosine=usual if bound is None else float(min(bound, usual))))
        files |= graph.files
        if progress is not None:
            progress("export", done, len(request.graphs), {})
    inside = request.options[0].pixels
    manifest = replace(
        facts,
        # What is inside the graphs is not left to whoever feeds them.
        preprocessing=facts.preprocessing if inside is None else inside.inside_graph(),
        tier=facts.tier if request.tier is None else request.tier,
        license=facts.license if request.license is None else request.license,
        graphs=tuple(records),
    )
    inputs = subject.golden.inputs
    if manifest.preprocessing is not None:
        inputs = (*inputs, input_record(inputs[0], manifest.preprocessing))
    bundle = write_bundle(
        request.out,
        manifest,
        files,
        (*inputs, subject.golden.reference),
        pictures=subject.golden.pictures,
        check=require_self_test,
        overwrite=request.overwrite,
        allow_older=request.allow_older,
    )
    return ExportReport(bundle, tuple(reports), time.perf_counter() - started)


def _published(request: Request, facts: Manifest) -> Manifest:
    """A model's facts with the release and the last day that are asked for, refused before any work."""
    found = replace(facts, release=request.release, expires=request.expires)
    try:
        require_current(found, request.out)
    except BundleError as error:
        raise ConfigError(f"expires is {found.expires}, which is past; expected a day to come, or none") from error
    if request.overwrite and not request.allow_older:
        require_no_newer(request.out.absolute(), found.name, found.release)
    return found
