"""What holds before any test: how many threads compute, and what is loaded first."""

import os
from contextlib import suppress

# Read once by torch and by numpy's BLAS, as they load, and by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

with suppress(ImportError):
    # A test may load usearch by itself: `compat_sdk.index.approximate` says why this one goes first.
    import onnxruntime  # noqa: F401
