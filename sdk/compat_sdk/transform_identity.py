"""What decides a transform's vectors, and its name, which ends in a digest of just that.

The space that a transform writes in is the new model's, so that the space cannot be its name. Training writes the name
into the RUN, export carries the identity into the bundle, and whoever reads either computes the name again. A file in
which the weights, the network or the spaces were edited contradicts the name.

Releases up to 0.7 named no transform.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from compat_sdk.errors import ConfigError
from compat_sdk.fields import exact_fields
from compat_sdk.files.documents import canonical_json
from compat_sdk.identity import OUTPUT, check_network
from compat_sdk.shown import shown_value
from compat_sdk.space import TransformSpaces


@dataclass(frozen=True)
class TransformIdentity:
    """Everything that decides a transformed vector.

    Attributes:
        weights: SHA-256 of every tensor's name, type, shape and bytes, 64 hexadecimal digits.
        arch: Which network it is, such as ``"forward-transform"``.
        network: What else decides the network, as plain JSON values, such as ``hidden``.
        spaces: From where to where it leads, with all dimensions: they are the ports of its graphs.
        output: Which output is the new vector, and what is done to it.

    Raises:
        ConfigError: A value is of the wrong type or out of its range.
    """

    weights: str
    arch: str
    network: Mapping[str, int | float | str]
    spaces: TransformSpaces
    output: str = OUTPUT

    def __post_init__(self) -> None:
        check_network(self.weights, self.arch, self.output, self.network)
        if not isinstance(self.spaces, TransformSpaces):
            raise ConfigError(f"spaces is {shown_value(self.spaces)}; expected from where to where it leads")

    @property
    def name(self) -> str:
        """``arch-dim-`` and 16 hexadecimal digits of the digest of all of the above."""
        said = {"format": "compat-sdk-transform", "version": 1, **self._said()}
        return f"{self.arch}-{self.spaces.dim}-{hashlib.sha256(canonical_json(said)).hexdigest()[:16]}"

    def require_name(self, name: object, where: str) -> None:
        """Refuse another name than this identity's.

        Raises:
            ConfigError: ``name`` is not it; the message begins with ``where``.
        """
        if name != self.name:
            raise ConfigError(
                f"{where} names its transform {shown_value(name)}, but its weights, network and spaces make "
                f"{self.name}: one of them was changed after the transform was named; restore it from a copy"
            )

    def to_json(self) -> dict[str, object]:
        """Return the name and the fields as JSON values; `from_json` reads them back to an equal object."""
        return {"name": self.name, **self._said()}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> TransformIdentity:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: A field is missing, unknown, of the wrong type or out of its range, or the name is that of
                another transform.
        """
        rest = {key: item for key, item in value.items() if key != "name"} if isinstance(value, Mapping) else value
        found = exact_fields(rest, cls, "identity")
        try:
            spaces = TransformSpaces(**exact_fields(found["spaces"], TransformSpaces, "spaces"))
            made = cls(**found | {"spaces": spaces})
        except ConfigError as error:
            raise error.within("identity.") from None
        made.require_name(value.get("name"), "it")
        return made

    def _said(self) -> dict[str, object]:
        found = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return found | {"network": dict(self.network), "spaces": dataclasses.asdict(self.spaces)}
