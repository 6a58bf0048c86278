"""Profiles of what is not a bundle yet: an architecture's name, or a run.

Both are exported to a temporary bundle first, so that every figure is measured on the graph and the engine
that a device would use, and never on PyTorch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from compat_export.check.compare import Probe
from compat_export.check.golden import golden_images
from compat_export.pack import export
from compat_sdk.images import Preprocessing
from compat_sdk.profile import Profile, profile_bundle
from compat_train.config.parts import Classification
from compat_train.embed import embed_images
from compat_train.models.build import build_model
from compat_train.models.timm_network import require_size
from compat_train.runs.checkpoint import Checkpoint


def profile_architecture(
    name: str,
    *,
    size: int = 112,
    dim: int = 128,
    width: float = 1.0,
    engine: str = "auto",
    threads: int = 1,
    runs: int = 100,
) -> Profile:
    """Profile an untrained model of an architecture; weights that are not 0 do not change what it costs.

    Args:
        name: An architecture, such as ``"mobilenet_v2"``.
        size: Height and width of the input, in pixels.
        dim: Dimension of the embedding.
        width: Multiplier of the channel counts, above 0.
        engine: ``"auto"`` or the name of an inference engine.
        threads: Threads for the engine, at least 1.
        runs: Warm calls measured.

    Returns:
        Operations, latency and memory at stem stride 1, as CMP-NAS counts them.

    Raises:
        ConfigError: Unknown architecture, or a setting out of range.
        MissingExtraError: The converter or the engine is not installed.
    """
    checkpoint = untrained_checkpoint(name, size=size, dim=dim, width=width)
    return _profile(checkpoint, name, engine, threads, runs)


def untrained_checkpoint(arch: str, *, size: int = 112, dim: int = 128, width: float = 1.0) -> Checkpoint:
    """A checkpoint of fresh weights, the same every time, in no space that anything else is in.

    Residual branches that begin switched off, by a last batch norm of weight 0, are switched on: a converter that folds
    constants would drop them, and what is left costs a fraction of the network.

    Args:
        arch: An architecture, such as ``"mobilenet_v2"``.
        size: Height and width of the input, in pixels.
        dim: Dimension of the embedding.
        width: Multiplier of the channel counts, above 0.

    Raises:
        ConfigError: Unknown architecture, a setting out of range, or a size that the network does not take.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(arch, dim=dim, width=width)
    require_size(model, arch, size)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d) and not layer.weight.any():
            torch.nn.init.constant_(layer.weight, 0.1)
    word = arch.partition(":")[0]  # the name of a search space's member is neither a file name nor an identifier
    return Checkpoint(
        path=Path(word),
        arch=arch,
        dim=dim,
        width=width,
        stem_stride=1,
        preprocessing=Preprocessing(size=size),
        role="query",
        space=f"{word}-{dim}-untrained",
        searches=(),
        classes=(),
        method="untrained",
        classification=Classification(),
        license="none",
        config={},
        state=model.state_dict(),
        classifier=None,
    )


def profile_run(run: str | Path, *, engine: str = "auto", threads: int = 1, runs: int = 100) -> Profile:
    """Profile a finished run.

    Args:
        run: Folder of the run.
        engine: ``"auto"`` or the name of an inference engine.
        threads: Threads for the engine, at least 1.
        runs: Warm calls measured.

    Returns:
        Operations, latency and memory at the run's own image size.

    Raises:
        ConfigError: A setting is out of range.
        CheckFailedError: The exported graph disagrees with PyTorch.
        MissingExtraError: The converter or the engine is not installed.
    """
    checkpoint = Checkpoint.load(Path(run))
    return _profile(checkpoint, checkpoint.name, engine, threads, runs)


def _profile(checkpoint: Checkpoint, name: str, engine: str, threads: int, runs: int) -> Profile:
    with tempfile.TemporaryDirectory(prefix="compat-sdk-profile-") as folder:
        # Two images are enough for a probe that nobody reads.
        images = golden_images(checkpoint.preprocessing, 2)
        vectors = embed_images(checkpoint.build(), images, checkpoint.preprocessing)
        probe = Probe(images, vectors, vectors, None)
        bundle = export(checkpoint, Path(folder) / "bundle", probe=probe).bundle
        return profile_bundle(bundle.path, engine=engine, threads=threads, name=name, runs=runs)
