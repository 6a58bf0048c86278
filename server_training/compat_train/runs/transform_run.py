"""A trained transform between embedding spaces, as training leaves it behind in a RUN folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, nn

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.shown import shortened
from compat_sdk.space import TransformSpaces
from compat_sdk.transform_identity import TransformIdentity
from compat_train.models.transform import ForwardAdaptation, ForwardTransform
from compat_train.runs.run_files import RECORD, read_run, write_run
from compat_train.runs.weights_digest import weights_digest

Kind = Literal["forward-transform", "forward-adaptation"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TransformRun:
    """A transform of old embeddings into a new model's space, and everything needed to use it.

    Attributes:
        path: RUN folder.
        method: How it was trained, such as ``fct`` or ``dmu``.
        kind: Which network it is: ``forward-transform`` (FCT's h) or ``forward-adaptation`` (DMU's psi).
        spaces: From where to where it leads.
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
    spaces: TransformSpaces
    hidden: int
    license: str
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind is {self.kind!r}; expected one of {', '.join(get_args(Kind))}")
        side = self.spaces.side_space
        if self.kind == "forward-adaptation" and side is not None:
            raise ConfigError(
                f"a forward-adaptation takes no side-information, found space {side}; leave it out, or "
                f"choose kind forward-transform"
            )
        if type(self.hidden) is not int or self.hidden < 1:
            raise ConfigError(f"hidden is {self.hidden!r}; expected an integer of at least 1")

    @property
    def name(self) -> str:
        """Name of the RUN folder."""
        return self.path.resolve().name

    @property
    def identity(self) -> TransformIdentity:
        """Everything that decides its vectors; RUN and bundle bear its name."""
        return TransformIdentity(weights_digest(self.state), self.kind, {"hidden": self.hidden}, self.spaces)

    def build(self) -> nn.Module:
        """The network with the trained weights, on the CPU, in eval mode.

        Returns:
            Takes ``[n, old_dim]`` and, where there is side-information, ``[n, side_dim]``; gives ``[n, dim]``, not
            normalised.
        """
        old, side, new = self.spaces.old_dim, self.spaces.side_dim, self.spaces.dim
        model: nn.Module
        if self.kind == "forward-transform":
            model = ForwardTransform(old=old, side=side, new=new, hidden=self.hidden)
        else:
            model = ForwardAdaptation(old=old, new=new, hidden=self.hidden)
        model.load_state_dict(self.state)
        return model.eval()

    @staticmethod
    def load(run: str | Path) -> TransformRun:
        """Reads a finished RUN folder; the digest is checked before the weights are parsed.

        Raises:
            TrainingError: The folder has no finished model, or one that takes images instead of embeddings.
            CorruptFileError: A file is damaged or of a newer version, or the transform is not the one that was named.
        """
        path = Path(run)
        record, tensors = read_run(path, ("transform",))
        try:
            found = TransformRun(
                path=path,
                state={name.removeprefix("transform."): value for name, value in tensors.items()},
                spaces=TransformSpaces(**{name: record[name] for name in _SPACES}),
                **{name: record[name] for name in _PLAIN},
            )
        except (KeyError, TypeError, ConfigError) as error:
            raise CorruptFileError(
                f"{path / RECORD} lacks or misuses {shortened(str(error), 160)}; expected a transform record"
            ) from error
        if "identity" in record:  # a record of 0.7 names none
            try:
                found.identity.require_name(record["identity"], "it")
            except ConfigError as error:
                said = shortened(str(error).removeprefix("it "), 240)
                raise CorruptFileError(f"{path / RECORD} {said}") from error
        return found

    def save(self) -> None:
        """Writes the weights, then the record that makes them count, each atomically."""
        model = {"role": "transform", "identity": self.identity.name} | asdict(self.spaces)
        model |= {name: getattr(self, name) for name in _PLAIN}
        write_run(self.path, model, {f"transform.{name}": value for name, value in self.state.items()})


_PLAIN = ("method", "kind", "hidden", "license", "config")
_SPACES = tuple(field.name for field in fields(TransformSpaces))
