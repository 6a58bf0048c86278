"""One exported form of a model: its file, and what goes in and comes out."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from compat_sdk.bundle.names import check_file_name
from compat_sdk.errors import ConfigError
from compat_sdk.images import Preprocessing
from compat_sdk.shown import shown_value

_WORD = re.compile(r"[A-Za-z0-9._-]{1,120}")


@dataclass(frozen=True)
class Graph:
    """One exported form of the model.

    Attributes:
        target: Format, such as ``"onnx"``.
        precision: Of the weights, such as ``"fp32"``.
        file: Name inside the bundle, with ``/``: a file, or the folder of a format that is one (``.mlpackage``).
        inputs: Names of the graph's inputs, in the order in which an engine takes them: one for images, float32
            ``[n, 3, size, size]`` or as ``layout`` says; ``old``, float32 ``[n, old_dim]``, for a transform, then
            ``side``, float32 ``[n, side_dim]``, where it takes side-information.
        output: Name of the graph's output, float32 ``[n, dim]``.
        batch: The one number of images or vectors that the graph takes, 1 to 1024, or None for any.
        layout: Order of an image's axes: ``"nchw"``, or ``"nhwc"`` for ``[n, size, size, 3]``.
        values: ``"prepared"``, or ``"pixels"`` where the graph takes RGB in [0, 255] and does mean, standard
            deviation and channel order itself. Either way a client does what the manifest's preprocessing says.
        min_cosine: Smallest cosine to the trained model's vectors that the maker allowed, below that of the precision,
            -1 to 1; None for that of the precision, see `compat_sdk.bundle.self_test.MIN_COSINE`.
    """

    target: str
    precision: str
    file: str
    inputs: tuple[str, ...] = ("image",)
    output: str = "embedding"
    batch: int | None = None
    layout: str = "nchw"
    values: str = "prepared"
    min_cosine: float | None = None

    def __post_init__(self) -> None:
        check_word("graph target", self.target)
        check_word("graph precision", self.precision)
        check_file_name(self.file)
        if not isinstance(self.inputs, tuple) or not self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise ConfigError(f"graph inputs are {shown_value(self.inputs)}; expected at least one name, each once")
        for name in (*self.inputs, self.output):
            if not isinstance(name, str) or not name:
                raise ConfigError(f"a graph input or output is named {shown_value(name)}; expected a name")
        if self.batch is not None and (type(self.batch) is not int or not 1 <= self.batch <= 1024):
            raise ConfigError(f"graph batch is {shown_value(self.batch)}; expected 1 to 1024, or none")
        if self.layout not in ("nchw", "nhwc"):
            raise ConfigError(f"graph layout is {shown_value(self.layout)}; expected nchw or nhwc")
        if self.values not in ("prepared", "pixels"):
            raise ConfigError(f"graph values is {shown_value(self.values)}; expected prepared or pixels")
        if self.min_cosine is not None and (type(self.min_cosine) is not float or not -1 <= self.min_cosine <= 1):
            raise ConfigError(f"graph min_cosine is {shown_value(self.min_cosine)}; expected -1 to 1, or none")

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values, without a ``min_cosine`` that is None, as 0.7 wrote them."""
        found = dataclasses.asdict(self) | {"inputs": list(self.inputs)}
        if self.min_cosine is None:
            del found["min_cosine"]
        return found

    def client_part(self, preprocessing: Preprocessing) -> Preprocessing:
        """Return what a client does to an image for this graph; the rest is inside.

        Args:
            preprocessing: The manifest's or the model's own. Bundles of 0.7 and before state the latter even where
                their graphs take pixels.
        """
        return preprocessing if self.values == "prepared" else preprocessing.inside_graph()

    def is_made_of(self, file: str) -> bool:
        """Whether ``file``, a name inside the bundle, is this graph's file or lies in its folder."""
        return file == self.file or file.startswith(f"{self.file}/")


def check_word(label: str, value: object) -> None:
    """Return only if a value is a short word that is safe in names of files.

    Args:
        label: What it is, for the error.
        value: Of any type.

    Raises:
        ConfigError: It is no text, or has other characters or another length.
    """
    if not isinstance(value, str) or _WORD.fullmatch(value) is None:
        raise ConfigError(f"{label} is {shown_value(value)}; expected 1 to 120 of the characters A-Z a-z 0-9 . _ -")
