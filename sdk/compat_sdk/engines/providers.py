"""Where onnxruntime computes: on the CPU, or on a device that somebody asked for by name.

A provider that is not there is refused, because onnxruntime itself goes on with the CPU and says so on a terminal at
most. What a device computes depends on its kernels, so that a bundle opened on one passes its golden self-test first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compat_sdk.errors import ConfigError
from compat_sdk.shown import shown_value


@dataclass(frozen=True)
class Provider:
    """One place where onnxruntime computes.

    Attributes:
        name: What onnxruntime calls it.
        options: What it is told; see onnxruntime's page of the provider.
        missing: What to do on a machine whose onnxruntime is built without it.
        unusable: What to look at where it is built in and does not start.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""
    unusable: str = ""


PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider("CPUExecutionProvider"),
    "cuda": Provider(
        "CUDAExecutionProvider",
        # TF32 rounds what the CPU does not. Kernels that are chosen by trial change the last bits from start to start.
        {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
        missing="on Linux or Windows replace the package onnxruntime by onnxruntime-gpu",
        unusable="look for the driver, CUDA and cuDNN that this onnxruntime-gpu was built for",
    ),
    "coreml": Provider(
        "CoreMLExecutionProvider",
        {"ModelFormat": "MLProgram"},
        missing="it is in the package onnxruntime for macOS alone",
        unusable="Core ML of macOS 12 or later runs it",
    ),
}
"""By the name that stands behind the colon of an engine's, as in ``onnxruntime:cuda``."""


def provider_of(onnxruntime: Any, device: str) -> Provider:
    """Return the provider of a device, if this onnxruntime has it.

    Args:
        onnxruntime: The module.
        device: ``"cpu"``, ``"cuda"`` or ``"coreml"``.

    Raises:
        ConfigError: Another device, or one that this onnxruntime was not built for.
    """
    if device not in PROVIDERS:
        raise ConfigError(f"onnxruntime's device is {shown_value(device)}; expected one of {', '.join(PROVIDERS)}")
    provider, here = PROVIDERS[device], onnxruntime.get_available_providers()
    if provider.name not in here:
        raise ConfigError(
            f"onnxruntime:{device} was asked for, but onnxruntime {onnxruntime.__version__} here has "
            f"{', '.join(here)} alone; {provider.missing}, or take the engine onnxruntime"
        )
    return provider


def require_started(session: Any, device: str) -> None:
    """Refuse a session that went on with another provider than was asked for.

    Raises:
        ConfigError: The provider is not the session's first.
    """
    provider, found = PROVIDERS[device], session.get_providers()
    if found[:1] != [provider.name]:
        raise ConfigError(
            f"onnxruntime:{device} was asked for, but its {provider.name} did not start and {', '.join(found)} would "
            f"compute instead; {provider.unusable}, or take the engine onnxruntime"
        )
