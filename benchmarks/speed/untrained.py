"""A model to time, where none is given."""

from __future__ import annotations

from pathlib import Path


def untrained_bundle(arch: str, size: int, out: Path) -> Path:
    """A bundle of an untrained architecture; weights do not change what it costs."""
    from compat_export import export
    from compat_export.profile_model import untrained_checkpoint

    return export(untrained_checkpoint(arch, size=size), out).bundle.path
