"""What is exported, from a checkpoint or from the run of a transform: module, inputs, golden rows and facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard, cast

import numpy as np
import torch
from numpy.typing import NDArray

from compat_export.check.compare import Probe, sample_probe
from compat_export.check.golden import (
    Golden,
    Images,
    Vectors,
    checked_vectors,
    golden_pixels,
    random_vectors,
)
from compat_export.convert.conversion import INPUT, Options, Port
from compat_export.convert.unit import Unit, UnitEmbedder, UnitTransform, UnitTransformWithSide, without_in_place
from compat_sdk.bundle import Manifest, TransformSource
from compat_sdk.errors import ConfigError
from compat_train.embed import embed_images
from compat_train.models.cost import Cost, count_cost
from compat_train.models.timm_network import as_deployed
from compat_train.models.transform import transform_cost
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.run_files import read_role
from compat_train.runs.transform_run import TransformRun

_TIERS = (100, 230, 330)  # budgets of CMP-NAS for query models, in millions of multiply-accumulates


@dataclass(frozen=True, eq=False)
class Subject:
    """A network that can be converted, compared and described.

    Attributes:
        module: The network with the normalisation after it, in evaluation mode.
        ports: Its inputs.
        golden: What its graphs are compared on.
        facts: What its bundle will say of it: a manifest without graphs and files.
    """

    module: Unit
    ports: tuple[Port, ...]
    golden: Golden
    facts: Manifest

    def require(self, options: Sequence[Options]) -> None:
        """Return only if these options mean something for it.

        Raises:
            ConfigError: Options of an image for a transform, or a preprocessing that is not the model's own.
        """
        own = self.facts.preprocessing
        for option in options:
            if own is None:
                _require_vector_option(option)
            elif option.pixels not in (None, own):
                raise ConfigError(f"found pixels of {option.pixels}; expected the model's own preprocessing, {own}")


def subject_of(
    source: str | Path | Checkpoint | TransformRun,
    golden: Images | Vectors | None = None,
    probe: Probe | None = None,
) -> Subject:
    """What is exported of a run or of a model in memory.

    Args:
        source: Folder of a finished run, or what was loaded from one.
        golden: Images besides the standard pictures, of which 8 are kept; for a transform a pair of vectors or None.
        probe: Searches by which rank overlap and accuracy are compared; the bundled sample by default.

    Raises:
        ConfigError: Images or a probe for a transform, or vectors for a model of images.
    """
    if isinstance(source, str | Path):
        is_transform = read_role(source) == "transform"
        source = TransformRun.load(Path(source)) if is_transform else Checkpoint.load(Path(source))
    if isinstance(source, TransformRun):
        if probe is not None or (golden is not None and not _are_vectors(golden)):
            raise ConfigError(
                f"{source.path} is a transform, which takes no images; leave images and probe out, give vectors"
            )
        return _of_transform(source, golden)
    if _are_vectors(golden):
        raise ConfigError(f"{source.path} is a model of images; leave vectors out, give images")
    return _of_checkpoint(source, cast("Images | None", golden), probe)


def _are_vectors(golden: Images | Vectors | None) -> TypeGuard[Vectors]:
    """Whether these are a transform's golden inputs: a pair of arrays, or of an array and None."""
    return isinstance(golden, tuple) and len(golden) == 2 and isinstance(golden[0], np.ndarray)


def _of_checkpoint(checkpoint: Checkpoint, images: Images | None, probe: Probe | None) -> Subject:
    """A model of images as it is exported.

    Args:
        checkpoint: A query or gallery model, or a side-information encoder.
        images: Golden images besides the standard pictures, of which the first 8 are kept.
        probe: Searches by which rank overlap and accuracy are compared; the bundled sample by default.

    Raises:
        DataError: Golden images of another type, shape or format.
    """
    preprocessing = checkpoint.preprocessing
    pictures, pixels = golden_pixels(images, preprocessing)
    # Graphs are made of the network as it is deployed, and compared with the network as it was trained.
    model = checkpoint.build()
    deployed = as_deployed(checkpoint.build(), preprocessing.size)
    cost = count_cost(deployed, preprocessing.size)
    return Subject(
        module=UnitEmbedder(without_in_place(deployed)).eval(),
        ports=(Port(INPUT, (3, preprocessing.size, preprocessing.size)),),
        golden=Golden(
            (pixels,),
            embed_images(model, pixels, preprocessing),
            preprocessing,
            sample_probe(checkpoint) if probe is None else probe,
            pictures,
        ),
        facts=Manifest(
            name=checkpoint.name,
            role=checkpoint.role,
            space=checkpoint.space,
            searches=checkpoint.searches,
            dim=checkpoint.dim,
            preprocessing=preprocessing,
            tier=choose_tier(checkpoint.role, cost),
            mmacs=cost.mmacs,
            mmacs_paper=cost.mmacs_paper,
            params_m=cost.params_m,
            license=checkpoint.license,
            arch=checkpoint.arch,
            identity=checkpoint.identity,
            certificates=checkpoint.certificates,
        ),
    )


def _of_transform(run: TransformRun, vectors: Vectors | None) -> Subject:
    """A transform as it is exported, with the normalisation of the new vectors inside.

    Args:
        run: A finished run, or one in memory.
        vectors: Golden inputs of unit norm, best from the gallery that will be upgraded, of which the first 32 rows are
            kept; seeded random ones by default.

    Raises:
        ConfigError: The vectors are not those that this transform takes.
        VectorError: They are not finite, or not of unit norm.
    """
    source = TransformSource(run.spaces.old_space, run.spaces.old_dim, run.spaces.side_space, run.spaces.side_dim)
    inputs = random_vectors(source) if vectors is None else checked_vectors(vectors, source)
    network = without_in_place(run.build())
    module = (UnitTransform(network) if source.side_space is None else UnitTransformWithSide(network)).eval()
    with torch.no_grad():
        reference: NDArray[np.float32] = module(*map(torch.from_numpy, inputs)).numpy()
    cost = transform_cost(network)
    return Subject(
        module=module,
        ports=tuple(Port(name, array.shape[1:]) for name, array in zip(source.inputs, inputs, strict=True)),
        golden=Golden(inputs, reference),
        facts=Manifest(
            name=run.name,
            role="transform",
            space=run.spaces.space,
            searches=(),
            dim=run.spaces.dim,
            preprocessing=None,
            tier="transform",
            mmacs=cost.mmacs,
            mmacs_paper=cost.mmacs_paper,
            params_m=cost.params_m,
            license=run.license,
            arch=run.kind,
            source=source,
            identity=run.identity,
        ),
    )


def choose_tier(role: str, cost: Cost) -> str:
    """The cost class of a model of images: gallery, side-info, 100, 230, 330 (millions of MACs) or other."""
    if role in ("gallery", "side-info"):
        return role
    return next((str(tier) for tier in _TIERS if cost.mmacs <= tier), "other")


def _require_vector_option(option: Options) -> None:
    """Refuse what only an image has."""
    if option.precision == "int8-static":
        raise ConfigError("precision int8-static is not made for a transform; choose int8, which compresses weights")
    for name, found in (("layout nhwc", option.layout == "nhwc"), ("pixels", option.pixels is not None)):
        if found:
            raise ConfigError(f"{name} is about images, and a transform takes vectors; leave it out")
