"""The bridge from a trained checkpoint to a verified bundle.

    from compat_export import export

    report = export("runs/query", "query.bundle", targets=["onnx", "tflite"], precisions=["fp32", "int8"])

`export` converts (``convert/``), compares every graph with PyTorch through the engine that will run it (``check/``),
and publishes nothing that failed. `compat_export.mil` reads a saved Core ML package on any machine, and
`compat_export.profile_model` measures an architecture or a run by way of a temporary bundle. What ``__all__`` does not
name is not for users. Importing this package loads neither torch nor a converter; each name is loaded when it is
first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_sdk.door import door

if TYPE_CHECKING:
    from compat_export.check.compare import Probe, calibration_images, data_probe
    from compat_export.check.golden import golden_images
    from compat_export.check.measure import GraphReport
    from compat_export.check.parity import Parity
    from compat_export.convert.conversion import PRECISIONS, Options
    from compat_export.convert.graphs import TARGETS
    from compat_export.pack import ExportReport, export
    from compat_export.profile_model import profile_architecture, profile_run

__all__ = [
    "PRECISIONS",
    "TARGETS",
    "ExportReport",
    "GraphReport",
    "Options",
    "Parity",
    "Probe",
    "calibration_images",
    "data_probe",
    "export",
    "golden_images",
    "profile_architecture",
    "profile_run",
]

__getattr__, __dir__ = door(
    __name__,
    {
        "PRECISIONS": "convert.conversion",
        "TARGETS": "convert.graphs",
        "ExportReport": "pack",
        "GraphReport": "check.measure",
        "Options": "convert.conversion",
        "Parity": "check.parity",
        "Probe": "check.compare",
        "calibration_images": "check.compare",
        "data_probe": "check.compare",
        "export": "pack",
        "golden_images": "check.golden",
        "profile_architecture": "profile_model",
        "profile_run": "profile_model",
    },
)
