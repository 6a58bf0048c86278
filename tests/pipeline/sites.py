"""What `app web` finds where npm installed the engine: six files, of which a test needs no content."""

from __future__ import annotations

from pathlib import Path


def onnxruntime_web(node_modules: Path) -> Path:
    """Make the package, and return where it was put."""
    dist = node_modules / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for part in ("wasm.min.mjs", "webgpu.min.mjs"):
        (dist / f"ort.{part}").write_bytes(part.encode())
    for part in ("mjs", "wasm", "asyncify.mjs", "asyncify.wasm"):
        (dist / f"ort-wasm-simd-threaded.{part}").write_bytes(part.encode())
    return node_modules
