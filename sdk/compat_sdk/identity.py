"""What decides a model's vectors, and the name of its embedding space, which is a digest of just that.

Two models write in one space exactly when everything here is equal: the weights, the network that they belong to,
what is done to an image before it, and which of its outputs is taken. Training names a space so, export carries the
identity into the bundle, and whoever reads either computes the name again. A file in which one of these was edited
contradicts the name of its own space.

Releases up to 0.7 hashed the weights alone; those names end in 12 hexadecimal digits, these in 16.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from compat_sdk.errors import ConfigError
from compat_sdk.fields import exact_fields
from compat_sdk.files.documents import canonical_json
from compat_sdk.images import Preprocessing
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import check_dim

OUTPUT = "embedding, divided by its length"
"""The one output that models have so far."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_network(weights: object, arch: object, output: object, network: object) -> None:
    """Refuse what cannot say which network it is; see `Identity`, whose values these are.

    Raises:
        ConfigError: A value is of the wrong type or out of its range.
    """
    if not isinstance(weights, str) or _SHA256.fullmatch(weights) is None:
        raise ConfigError(f"weights is {shown_value(weights)}; expected a SHA-256 of 64 hexadecimal digits")
    for label, value in (("arch", arch), ("output", output)):
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{label} is {shown_value(value)}; expected text")
    if not isinstance(network, Mapping):
        raise ConfigError(f"network is {shown_value(network)}; expected settings by name")
    for name, value in network.items():
        plain = type(value) in (int, str) or (type(value) is float and math.isfinite(value))
        if not isinstance(name, str) or not plain:
            raise ConfigError(
                f"network.{shortened(str(name))} is {shown_value(value)}; expected a finite number or text"
            )


@dataclass(frozen=True)
class Identity:
    """Everything that decides a vector.

    Attributes:
        weights: SHA-256 of every tensor's name, type, shape and bytes, 64 hexadecimal digits.
        arch: Architecture name, with the genotype of a search-space member.
        dim: Numbers per embedding.
        preprocessing: The model's own: what is done to an image before the network, in a graph or outside.
        network: What else decides the network, as plain JSON values, such as ``width`` and ``stem_stride``.
        output: Which output is the embedding, and what is done to it.

    Raises:
        ConfigError: A value is of the wrong type or out of its range.
    """

    weights: str
    arch: str
    dim: int
    preprocessing: Preprocessing
    network: Mapping[str, int | float | str] = field(default_factory=dict)
    output: str = OUTPUT

    def __post_init__(self) -> None:
        check_network(self.weights, self.arch, self.output, self.network)
        check_dim("dim", self.dim)
        if not isinstance(self.preprocessing, Preprocessing):
            raise ConfigError(f"preprocessing is {shown_value(self.preprocessing)}; expected the model's own")

    @property
    def space(self) -> str:
        """Name of the embedding space: ``arch-dim-`` and 16 hexadecimal digits of the digest of all of the above."""
        digest = hashlib.sha256(canonical_json({"format": "compat-sdk-space", "version": 1} | self.to_json()))
        # A search-space member's name is too long for an identifier, and the digest tells members apart.
        return f"{self.arch.partition(':')[0]}-{self.dim}-{digest.hexdigest()[:16]}"

    def require_space(self, space: str, where: str) -> None:
        """Refuse another name than this identity's.

        Raises:
            ConfigError: ``space`` is not its name; the message begins with ``where``.
        """
        if space != self.space:
            raise ConfigError(
                f"{where} names its space {space}, but its weights, network and preprocessing make {self.space}: one "
                f"of them was changed after the space was named; restore it from a copy"
            )

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values; `from_json` reads them back to an equal object."""
        found: dict[str, object] = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return found | {"preprocessing": self.preprocessing.to_json(), "network": dict(self.network)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Identity:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: A field is missing, unknown, of the wrong type or out of its range.
        """
        found = exact_fields(value, cls, "identity")
        try:
            return cls(**found | {"preprocessing": Preprocessing.from_json(found["preprocessing"])})
        except ConfigError as error:
            raise error.within("identity.") from None
