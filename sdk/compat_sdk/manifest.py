"""What a bundle says about its model: one frozen object, one JSON form, checked in both directions."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.files import canonical_json
from compat_sdk.preprocess import Preprocessing
from compat_sdk.space import check_space

FORMAT = "compat-sdk-bundle"
VERSION = 1
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"

Role = Literal["query", "gallery"]

_WORD = re.compile(r"[A-Za-z0-9._-]{1,120}")
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What Windows takes for a device whatever the suffix, so that such a file cannot be made there.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class FileRecord:
    """Which file it must be: SHA-256 of its content (64 hexadecimal digits) and its size in bytes."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or _SHA256.fullmatch(self.sha256) is None:
            raise ConfigError(f"SHA-256 is {self.sha256!r}; expected 64 lower-case hexadecimal digits")
        if not isinstance(self.bytes, int) or isinstance(self.bytes, bool) or self.bytes < 0:
            raise ConfigError(f"a file size is {self.bytes!r}; expected a number of bytes")


@dataclass(frozen=True)
class Graph:
    """One exported form of the model.

    Attributes:
        target: Format, such as ``"onnx"``.
        precision: Of the weights, such as ``"fp32"``.
        file: Name inside the bundle, with ``/``: a file, or the folder of a format that is one (``.mlpackage``).
        input: Name of the graph's input, float32 ``[n, 3, size, size]``, or as ``layout`` says.
        output: Name of the graph's output, float32 ``[n, dim]``.
        batch: The one number of images that the graph takes, 1 to 1024, or None for any.
        layout: Order of the input's axes: ``"nchw"``, or ``"nhwc"`` for ``[n, size, size, 3]``.
        values: ``"prepared"``, or ``"pixels"`` where the graph takes RGB in [0, 255] and does mean, standard
            deviation and channel order itself.
    """

    target: str
    precision: str
    file: str
    input: str = "image"
    output: str = "embedding"
    batch: int | None = None
    layout: str = "nchw"
    values: str = "prepared"

    def __post_init__(self) -> None:
        _check_word("graph target", self.target)
        _check_word("graph precision", self.precision)
        check_file_name(self.file)
        for name in (self.input, self.output):
            if not isinstance(name, str) or not name:
                raise ConfigError(f"a graph input or output is named {name!r}; expected a name")
        if self.batch is not None and (type(self.batch) is not int or not 1 <= self.batch <= 1024):
            raise ConfigError(f"graph batch is {self.batch!r}; expected 1 to 1024, or none")
        if self.layout not in ("nchw", "nhwc"):
            raise ConfigError(f"graph layout is {self.layout!r}; expected nchw or nhwc")
        if self.values not in ("prepared", "pixels"):
            raise ConfigError(f"graph values is {self.values!r}; expected prepared or pixels")

    def is_made_of(self, file: str) -> bool:
        """Whether ``file``, a name inside the bundle, is this graph's file or lies in its folder."""
        return file == self.file or file.startswith(f"{self.file}/")


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about its model.

    Attributes:
        name: Name of the model for people, 1 to 120 printable characters.
        role: Which side of a search it was made for.
        space: Embedding space that it writes in.
        searches: Gallery spaces that its vectors may search, besides their own.
        dim: Numbers per embedding.
        preprocessing: What is done to an image before the model sees it.
        tier: ``"100"``, ``"230"``, ``"330"`` (millions of multiply-accumulates), ``"gallery"``, ``"other"``.
        mmacs: Millions of convolution and linear multiply-accumulates per image.
        mmacs_paper: The same plus 2 per batch-norm element.
        params_m: Millions of parameters.
        license: Licence of the weights, as an SPDX identifier or in words; empty if nobody stated one.
        arch: Architecture name.
        graphs: At least one exported form.
        created_by: Program and version that wrote the bundle.
        files: Every file of the bundle except the manifest and a signature, by its name inside the bundle.

    Raises:
        ConfigError: A value is out of its range, or a graph's file is not among ``files``.
    """

    name: str
    role: Role
    space: str
    searches: tuple[str, ...]
    dim: int
    preprocessing: Preprocessing
    tier: str
    mmacs: float
    mmacs_paper: float
    params_m: float
    license: str
    arch: str
    graphs: tuple[Graph, ...]
    created_by: str
    files: Mapping[str, FileRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name) <= 120 or not self.name.isprintable():
            raise ConfigError(f"name is {self.name!r}; expected 1 to 120 printable characters")
        _check_word("tier", self.tier)
        if self.role not in get_args(Role):
            raise ConfigError(f"role is {self.role!r}; expected one of {', '.join(get_args(Role))}")
        for space in (self.space, *self.searches):
            check_space(space)
        if not isinstance(self.dim, int) or isinstance(self.dim, bool) or not 1 <= self.dim <= 65536:
            raise ConfigError(f"dim is {self.dim!r}; expected an integer from 1 to 65536")
        for label in ("mmacs", "mmacs_paper", "params_m"):
            value = getattr(self, label)
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ConfigError(f"{label} is {value!r}; expected a finite number of at least 0")
        for label in ("license", "arch", "created_by"):
            if not isinstance(getattr(self, label), str):
                raise ConfigError(f"{label} is {getattr(self, label)!r}; expected text")
        if not self.graphs:
            raise ConfigError("there is no graph; expected at least one exported form of the model")
        check_file_names(self.files)
        missing = [graph.file for graph in self.graphs if not any(map(graph.is_made_of, self.files))]
        if missing:
            raise ConfigError(f"graph files {missing} are not among the files of the bundle")

    def to_json(self) -> dict[str, object]:
        """Return the manifest as JSON values, with format, version and the digest of all the rest."""
        found = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        found |= {
            "format": FORMAT,
            "version": VERSION,
            "searches": list(self.searches),
            "preprocessing": self.preprocessing.to_json(),
            "graphs": [dataclasses.asdict(graph) for graph in self.graphs],
            "files": {name: dataclasses.asdict(record) for name, record in self.files.items()},
        }
        return found | {"digest": hashlib.sha256(canonical_json(found)).hexdigest()}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            BundleError: Another format or version, a digest that does not match, a field that is missing,
                unknown, of the wrong type or out of its range.
        """
        if value.get("format") != FORMAT:
            raise BundleError(f"{MANIFEST} says format {value.get('format')!r}; expected {FORMAT!r}")
        if value.get("version") != VERSION:
            raise BundleError(
                f"{MANIFEST} says version {value.get('version')!r}, this release reads version {VERSION}; "
                f"upgrade compat-sdk or export the model again"
            )
        rest = {name: item for name, item in value.items() if name != "digest"}
        digest = hashlib.sha256(canonical_json(rest)).hexdigest()
        if digest != value.get("digest"):
            raise BundleError(
                f"{MANIFEST} has digest {digest}, but states {value.get('digest')!r}: it was changed after it "
                f"was written; restore the bundle from its source"
            )
        expected = {item.name for item in dataclasses.fields(cls)} | {"format", "version"}
        if set(rest) != expected:
            missing, unknown = sorted(expected - set(rest)), sorted(set(rest) - expected)
            raise BundleError(f"{MANIFEST} lacks the fields {missing} and has the unknown fields {unknown}")
        try:
            return cls._build(rest)
        except (ConfigError, TypeError, AttributeError) as error:
            raise BundleError(f"{MANIFEST} is malformed: {error}") from error

    @classmethod
    def _build(cls, rest: dict[str, object]) -> Manifest:
        graphs = cast("list[dict[str, Any]]", rest["graphs"])
        files = cast("dict[str, dict[str, object]]", rest["files"])
        if not isinstance(rest["searches"], list):
            raise ConfigError("searches is not a list")
        parsed: dict[str, object] = {name: rest[name] for name in rest if name not in ("format", "version")}
        parsed |= {
            "searches": tuple(rest["searches"]),
            "preprocessing": Preprocessing.from_json(cast("dict[str, object]", rest["preprocessing"])),
            "graphs": tuple(Graph(**graph) for graph in graphs),
            "files": {name: FileRecord(**record) for name, record in files.items()},  # type: ignore[arg-type]
        }
        return cls(**parsed)  # type: ignore[arg-type]  # every field is checked on construction


def record_of(data: bytes) -> FileRecord:
    """Return the record of a file with this content."""
    return FileRecord(hashlib.sha256(data).hexdigest(), len(data))


def check_file_name(name: str) -> str:
    """Return ``name`` if it is a plain relative name that means the same file on every system.

    Raises:
        ConfigError: It is absolute, climbs with ``..``, is the manifest's or the signature's own, starts or ends a
            part with a dot, is a device on Windows, or has characters other than letters, digits, dot, dash,
            underscore and ``/``.
    """
    plain = isinstance(name, str) and len(name) <= 240 and all(_is_plain_part(part) for part in name.split("/"))
    if not plain or name.casefold() in (MANIFEST, SIGNATURE):
        raise ConfigError(f"{name!r} is not a plain relative file name such as model.onnx or golden/images.npy")
    return name


def check_file_names(names: Iterable[str]) -> None:
    """Check that these files can lie in one folder on every system.

    Raises:
        ConfigError: A name is not plain (see `check_file_name`), two names or the folders in them differ only in
            case, or a file is also another one's folder.
    """
    files: set[str] = set()
    folders: dict[str, str] = {}
    for name in names:
        folded = check_file_name(name).casefold()
        if folded in files:
            raise ConfigError(f"two file names differ only in upper and lower case: {name!r}; rename one")
        files.add(folded)
        for end in (position for position, letter in enumerate(name) if letter == "/"):
            if folders.setdefault(folded[:end], name[:end]) != name[:end]:
                raise ConfigError(f"two folder names differ only in upper and lower case: {name!r}; rename one")
    if both := sorted(files & folders.keys()):
        raise ConfigError(f"{both[0]!r} is a file and a folder at once; rename one")


def _is_plain_part(part: str) -> bool:
    return _PART.fullmatch(part) is not None and not part.endswith(".") and _DEVICE.fullmatch(part) is None


def _check_word(label: str, value: object) -> None:
    if not isinstance(value, str) or _WORD.fullmatch(value) is None:
        raise ConfigError(f"{label} is {value!r}; expected 1 to 120 of the characters A-Z a-z 0-9 . _ -")
