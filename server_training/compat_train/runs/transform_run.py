"""A trained transform between embedding spaces, as training leaves it behind in a RUN folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, nn

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.space import check_space
from compat_train.models.transform import ForwardAdaptation, ForwardTransform
from compat_train.runs.run_files import RECORD, read_run, write_run

Kind = Literal["forward-transform", "forward-adaptation"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TransformRun:
    """A transform of old embeddings into a new model's space, and everything needed to use it.

    Attributes:
        path: RUN folder.
        method: How it was trained, such as ``fct`` or ``dmu``.
        kind: Which network it is: ``forward-transform`` (FCT's h) or ``forward-adaptation`` (DMU's psi).
        old_space: Embedding space of its input.
        old_dim: Numbers per old embedding.
        side_space: Space of its side-information; None where it takes none.
        side_dim: Numbers of side-information per row; None where it takes none.
        space: Space of its output, the new model's.
        dim: Numbers per new embedding.
        hidden: Width of the hidden layers.
        license: Licence of the weights.
        config: The whole configuration of the run, as JSON values.
        state: Weights of the network.

    Raises:
        ConfigError: Fields that do not go together.
    """

    path: Path
    method: str
    kind: Kind
    old_space: str
    old_dim: int
    side_space: str | None
    side_dim: int | None
    space: str
    dim: int
    hidden: int
    license: str
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for space in (self.old_space, self.space, *(() if self.side_space is None else (self.side_space,))):
            check_space(space)
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind is {self.kind!r}; expected one of {', '.join(get_args(Kind))}")
        if self.old_space == self.space:
            raise ConfigError(f"a transform from {self.space} to itself; expected the space of a new model")
        if (self.side_space is None) != (self.side_dim is None):
            raise ConfigError(
                f"side_space is {self.side_space!r} and side_dim {self.side_dim!r}; expected both, or none where the "
                f"transform takes no side-information"
            )
        if self.kind == "forward-adaptation" and self.side_space is not None:
            raise ConfigError(
                f"a forward-adaptation takes no side-information, found space {self.side_space}; leave it out, or "
                f"choose kind forward-transform"
            )
        sizes = {"old_dim": self.old_dim, "dim": self.dim, "hidden": self.hidden, "side_dim": self.side_dim}
        for name, value in sizes.items():
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"{name} is {value!r}; expected an integer of at least 1")

    @property
    def name(self) -> str:
        """Name of the RUN folder."""
        return self.path.resolve().name

    def build(self) -> nn.Module:
        """The network with the trained weights, on the CPU, in eval mode.

        Returns:
            Takes ``[n, old_dim]`` and, where there is side-information, ``[n, side_dim]``; gives ``[n, dim]``, not
            normalised.
        """
        model: nn.Module
        if self.kind == "forward-transform":
            model = ForwardTransform(old=self.old_dim, side=self.side_dim, new=self.dim, hidden=self.hidden)
        else:
            model = ForwardAdaptation(old=self.old_dim, new=self.dim, hidden=self.hidden)
        model.load_state_dict(self.state)
        return model.eval()

    @staticmethod
    def load(run: str | Path) -> TransformRun:
        """Reads a finished RUN folder; the digest is checked before the weights are parsed.

        Raises:
            TrainingError: The folder has no finished model, or one that takes images instead of embeddings.
            CorruptFileError: A file is damaged or of a newer version.
        """
        path = Path(run)
        fields, tensors = read_run(path, ("transform",))
        try:
            return TransformRun(
                path=path,
                state={name.removeprefix("transform."): value for name, value in tensors.items()},
                **{name: fields[name] for name in _PLAIN},
            )
        except (KeyError, TypeError, ConfigError) as error:
            raise CorruptFileError(f"{path / RECORD} lacks or misuses {error}; expected a transform record") from error

    def save(self) -> None:
        """Writes the weights, then the record that makes them count, each atomically."""
        model = {"role": "transform"} | {name: getattr(self, name) for name in _PLAIN}
        write_run(self.path, model, {f"transform.{name}": value for name, value in self.state.items()})


_PLAIN = (
    "method",
    "kind",
    "old_space",
    "old_dim",
    "side_space",
    "side_dim",
    "space",
    "dim",
    "hidden",
    "license",
    "config",
)
