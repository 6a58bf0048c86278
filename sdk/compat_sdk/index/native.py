"""Native search libraries, loaded in an order in which they do not end the process."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from compat_sdk.errors import ConfigError, MissingExtraError


def usearch() -> Any:
    """Return usearch's module of indexes.

    usearch makes the symbols of its numkong global, and an onnxruntime loaded after that kills the process (seen with
    usearch 2.26.6 and onnxruntime 1.31.1 on Linux); one loaded before does not. So it goes first.

    Raises:
        MissingExtraError: usearch is not installed.
    """
    if "usearch" not in sys.modules:
        with suppress(ImportError):
            import onnxruntime  # noqa: F401
    try:
        import usearch.index
    except ImportError as error:
        raise MissingExtraError("usearch", "usearch") from error
    return usearch.index


def hnswlib() -> Any:
    """Return the module hnswlib.

    Raises:
        MissingExtraError: hnswlib is not installed.
    """
    try:
        import hnswlib
    except ImportError as error:
        raise MissingExtraError("hnswlib", "hnswlib") from error
    return hnswlib


def faiss() -> Any:
    """Return the module faiss, of whichever of its wheels is installed.

    Raises:
        MissingExtraError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("faiss", "faiss") from error
    return faiss


def faiss_with_device() -> Any:
    """Return the module faiss, after seeing that it was built for CUDA and finds a device.

    Raises:
        MissingExtraError: faiss is not installed.
        ConfigError: It is a build for processors alone, or it finds no CUDA device.
    """
    module = faiss()
    if not hasattr(module, "StandardGpuResources"):
        raise ConfigError(
            "the installed faiss is built for processors alone; put faiss-gpu in the place of faiss-cpu "
            "(Linux, x86-64, a CUDA device), or search without faiss-gpu"
        )
    if module.get_num_gpus() < 1:
        raise ConfigError("faiss finds no CUDA device; check the driver with nvidia-smi, or search without faiss-gpu")
    return module
