"""What `app web` finds where npm installed the engine: three files, of which a test needs no content."""

from __future__ import annotations

from pathlib import Path


def onnxruntime_web(node_modules: Path) -> Path:
    """Make the package, and return where it was put."""
    dist = node_modules / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (dist / name).write_bytes(name.encode())
    return node_modules
