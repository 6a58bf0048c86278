"""What is loaded before any test: `compat_sdk.index.approximate` says why."""

from contextlib import suppress

with suppress(ImportError):
    import onnxruntime  # noqa: F401  # a test may load usearch by itself
