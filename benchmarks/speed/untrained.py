"""A model to time, where none is given."""

from __future__ import annotations

from pathlib import Path


def untrained_bundle(arch: str, size: int, out: Path) -> Path:
    """A bundle of an untrained architecture; weights do not change what it costs."""
    from compat_export.pack import export_checkpoint
    from compat_export.profile_model import untrained_checkpoint

    return export_checkpoint(untrained_checkpoint(arch, size=size), out=out).bundle.path
