"""A trained network that embeds images, as training leaves it behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.certificate import Certificate
from compat_sdk.errors import ConfigError, CorruptFileError, DataError
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing
from compat_sdk.shown import shortened
from compat_sdk.space import check_space, covers_all
from compat_sdk.spelling import composed
from compat_train.config.parts import Classification
from compat_train.config.settings import config_from_json
from compat_train.models.adopted import build_adopted, is_adopted
from compat_train.models.build import build_model
from compat_train.runs.certificates import read_certificates
from compat_train.runs.model_record import PLAIN, check_fields
from compat_train.runs.run_files import RECORD, WEIGHTS, read_run, write_run
from compat_train.runs.space_name import identity_of, is_old_name, old_name

Role = Literal["gallery", "query", "side-info"]

SPACE = "space"
"""In `Checkpoint.network` of stored vectors: the space that their gallery names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A trained model and everything needed to use it or to train against it.

    Attributes:
        path: RUN folder.
        role: ``gallery``, ``query``, or ``side-info`` for an encoder whose embeddings help a transform.
        arch: Architecture name, for `build_model`.
        dim: Embedding dimension.
        width: Factor on the channel counts.
        stem_stride: Stride of the first convolution.
        preprocessing: From an image file to the network's input.
        space: Embedding space the model writes in: the digest of its `identity`, or of old its weights alone.
        searches: Gallery spaces that the model was trained to search.
        classes: Class name of each classifier row.
        method: How it was trained.
        classification: The loss its classifier was trained with.
        license: Licence of the weights.
        config: The whole configuration of the run, as JSON values.
        state: Weights of the embedding network.
        classifier: ``[classes, dim]`` weights of the last layer, kappa in CMP-NAS; None when it has none.
        network: What else decides a network that was not trained here, by name.
        of_bundle: Identity of the model in a bundle that this one was taken from, whose space it keeps.
    """

    path: Path
    role: Role
    arch: str
    dim: int
    width: float
    stem_stride: int
    preprocessing: Preprocessing
    space: str
    searches: tuple[str, ...]
    classes: tuple[str, ...]
    method: str
    classification: Classification
    license: str
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    classifier: Tensor | None
    network: Mapping[str, int | float | str] = field(default_factory=dict)
    of_bundle: Identity | None = None

    @property
    def name(self) -> str:
        """Name of the RUN folder."""
        return self.path.resolve().name

    @property
    def identity(self) -> Identity | None:
        """Everything that decides its vectors; None in an old space, which is a digest of the weights alone."""
        return self._identity() if covers_all(self.space) and SPACE not in self.network else None

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Evaluations, kept in the RUN folder, that show what the model may search.

        Raises:
            CorruptFileError: One was changed after it was written, or is of another model.
        """
        return read_certificates(self.path, self.space)

    def stored(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of pictures, of a gallery model of which only vectors are known.

        Args:
            ids: Paths of pictures, below the folder that the vectors were matched with.

        Returns:
            float32 ``[n, dim]``, unit norm.

        Raises:
            DataError: A picture has no vector.
            CorruptFileError: The RUN's table of ids is damaged.
        """
        try:
            names = json.loads(self.state["ids"].numpy().tobytes())
            rows = {composed(name): row for row, name in enumerate(names)}
            vectors: NDArray[np.float32] = self.state["vectors"].numpy()
        except (KeyError, ValueError, TypeError) as error:
            raise CorruptFileError(f"{self.path / WEIGHTS} holds no table of vectors; adopt them again") from error
        missing = [name for name in ids if composed(name) not in rows]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(ids)} pictures (such as {shortened(missing[0])!r}) have no vector in "
                f"{self.path}, which has {len(rows)}; use the pictures that it was adopted with"
            )
        return vectors[[rows[composed(name)] for name in ids]]

    def _identity(self) -> Identity:
        if self.of_bundle is not None:
            return self.of_bundle
        return identity_of(
            self.state,
            arch=self.arch,
            dim=self.dim,
            width=self.width,
            stem_stride=self.stem_stride,
            preprocessing=self.preprocessing,
            network=self.network,
        )

    def _require_own_space(self) -> None:
        """Refuse a name that is the digest of something else.

        Raises:
            ConfigError: The space contradicts the weights, the network or the preprocessing.
        """
        if SPACE in self.network:
            if self.space != self.network[SPACE]:
                raise ConfigError(
                    f"{self.path / RECORD} names its space {self.space}, but its vectors are of {self.network[SPACE]}: "
                    f"it was changed after it was written; restore it from a copy"
                )
        elif covers_all(self.space):
            self._identity().require_space(self.space, str(self.path / RECORD))
        elif is_adopted(self.arch):
            return  # from a bundle of 0.7, whose space is a digest of weights that are not here
        elif is_old_name(self.space) and self.space != (own := old_name(self.arch, self.dim, self.state)):
            raise ConfigError(
                f"{self.path / RECORD} names its space {self.space}, but its weights make {own}: it was changed after "
                f"it was written; restore it from a copy"
            )

    def build(self) -> nn.Module:
        """The embedding network with the trained weights, on the CPU, in eval mode.

        Raises:
            CorruptFileError: The weights are those of another network.
            ConfigError: Of an adopted model only the vectors are known, or its module may not be imported.
            MissingExtraError: A package that an adopted model needs is not installed.
        """
        if is_adopted(self.arch):
            return build_adopted(self.arch, self.network, self.state)
        model = build_model(self.arch, dim=self.dim, width=self.width, stem_stride=self.stem_stride)
        try:
            model.load_state_dict(self.state)
        except RuntimeError as error:
            raise CorruptFileError(
                f"{self.path / RECORD} says {shortened(self.arch)} of {self.dim}, but {WEIGHTS} holds weights "
                f"of another network; restore both from a copy"
            ) from error
        return model.eval()

    @staticmethod
    def load(run: str | Path) -> Checkpoint:
        """Reads a finished RUN folder; the digests are checked before the weights are parsed, and the space after.

        Raises:
            TrainingError: The folder has no finished model, or one that takes no images: a transform.
            CorruptFileError: A file is damaged or of a newer version, or the space is not that of the model.
        """
        path = Path(run)
        fields, tensors = read_run(path, get_args(Role))
        try:
            check_fields(fields)
            found = Checkpoint(
                path=path,
                state={
                    name.removeprefix("embedder."): value
                    for name, value in tensors.items()
                    if name.startswith("embedder.")
                },
                classifier=tensors.get("classifier"),
                preprocessing=Preprocessing.from_json(fields["preprocessing"]),
                classification=config_from_json(Classification, fields["classification"]),
                searches=tuple(fields["searches"]),
                classes=tuple(fields["classes"]),
                space=check_space(fields["space"]),
                network=fields.get("network", {}),
                of_bundle=None if (kept := fields.get("of_bundle")) is None else Identity.from_json(kept),
                **{name: fields[name] for name in PLAIN},
            )
        except (AttributeError, KeyError, TypeError, ValueError, ConfigError) as error:
            raise CorruptFileError(
                f"{path / RECORD} lacks or misuses {shortened(str(error), 160)}; expected a model record"
            ) from error
        try:
            found._require_own_space()
        except ConfigError as error:
            said = str(error).removeprefix(f"{path / RECORD} ")
            raise CorruptFileError(f"{path / RECORD} {shortened(said, 240)}") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"{path / RECORD} misuses a setting of its network: {shortened(str(error), 160)}; train again"
            ) from error
        return found

    def save(self) -> None:
        """Writes the weights, then the record that makes them count, each atomically."""
        tensors = {f"embedder.{name}": value for name, value in self.state.items()}
        if self.classifier is not None:
            tensors["classifier"] = self.classifier
        model = {name: getattr(self, name) for name in PLAIN} | {
            "preprocessing": self.preprocessing.to_json(),
            "classification": asdict(self.classification),
            "searches": list(self.searches),
            "classes": list(self.classes),
            "space": self.space,
        }
        if self.network:
            model["network"] = dict(self.network)
        if self.of_bundle is not None:
            model["of_bundle"] = self.of_bundle.to_json()
        write_run(self.path, model, tensors)
