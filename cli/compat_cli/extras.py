"""The extras of the distribution: what each is for, and a clear refusal where a command needs one that is absent."""

from __future__ import annotations

from importlib.util import find_spec

from compat_sdk.errors import MissingExtraError

# What each extra makes possible, and the modules that must import for it to work.
EXTRAS = {
    "cli": ("the command compat-sdk", ("typer",)),
    "onnxruntime": ("run bundles", ("onnxruntime",)),
    "litert": ("run LiteRT bundles", ("ai_edge_litert.interpreter",)),
    "coreml": ("run Core ML bundles, on macOS", ("coremltools",)),
    "executorch": ("run ExecuTorch bundles", ("torch", "executorch.runtime")),
    "heif": ("read the .heic pictures of phones", ("pillow_heif",)),
    "usearch": ("approximate search", ("usearch.index",)),
    "parquet": ("vectors from and to Parquet and Arrow files", ("pyarrow.parquet",)),
    "qdrant": ("galleries in Qdrant", ("qdrant_client",)),
    "hnswlib": ("approximate search by hnswlib, and its files", ("hnswlib",)),
    "faiss": ("approximate and exact search by faiss, and its files", ("faiss",)),
    "serve": ("answer searches over HTTP", ("fastapi", "uvicorn")),
    "ray": ("upgrade galleries on a Ray cluster", ("ray",)),
    "sign": ("sign bundles and check signatures", ("model_signing", "OpenSSL")),
    "train": ("train models", ("torch", "safetensors.torch")),
    "adopt-onnx": ("adopt gallery models that are ONNX files or bundles", ("torch", "onnx", "onnxruntime")),
    "open-clip": ("adopt models of open_clip", ("open_clip",)),
    "huggingface": ("adopt image models of transformers", ("transformers",)),
    "tensorboard": ("log for TensorBoard", ("torch.utils.tensorboard",)),
    "report": ("draw plots", ("matplotlib",)),
    "export-onnx": ("export to ONNX", ("torch", "onnx", "onnxscript", "onnxruntime")),
    "export-coreml": ("export to Core ML", ("torch", "coremltools", "sklearn")),
    "export-litert": ("export to LiteRT", ("torch", "litert_torch", "ai_edge_quantizer", "ai_edge_litert.interpreter")),
    "export-executorch": ("export to ExecuTorch", ("torch", "executorch.exir")),
    "quickstart": (
        "everything the quickstart uses",
        ("torch", "safetensors.torch", "onnxscript", "onnxruntime", "usearch.index", "matplotlib"),
    ),
}


def require(extra: str) -> None:
    """Raises MissingExtraError, before any work is done, if a package of an extra is not installed.

    It only looks for the packages: importing torch takes seconds, and `compat-sdk doctor` imports them all.
    """
    for module in EXTRAS[extra][1]:
        package = module.partition(".")[0]
        if find_spec(package) is None:
            raise MissingExtraError(package, extra)
