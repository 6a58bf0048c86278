"""The files of a ``.mlpackage`` and its parsed model.

Manifest.json                                       which item is the model
Data/com.apple.CoreML/model.mlmodel                 protobuf: inputs, outputs, program
Data/com.apple.CoreML/weights/weight.bin            large constants
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compat_export.mil.quiet import model_message
from compat_sdk.errors import BundleError

MANIFEST = "Manifest.json"
_MODEL_PATH = "@model_path/"


@dataclass(frozen=True, eq=False)
class Package:
    """A package in memory.

    Attributes:
        files: Content of every file by its name inside the package, with ``/``.
        model: Name of the model file among them.
        spec: The parsed model, a ``CoreML.Specification.Model`` message.
    """

    files: Mapping[str, bytes]
    model: str
    spec: Any

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Package:
        """Read a ``.mlpackage`` folder. Links in it are refused.

        Raises:
            BundleError: It is no folder, or no package; see `from_files`.
            MissingExtraError: coremltools, which brings the format's definition, is not installed.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BundleError(f"{folder} is not a folder; expected a .mlpackage folder")
        files = {}
        for item in sorted(folder.rglob("*")):
            if item.is_symlink():
                raise BundleError(f"{item} is a link; a package holds plain files only")
            if item.is_file():
                files[item.relative_to(folder).as_posix()] = item.read_bytes()
        return cls.from_files(files)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Package:
        """Read a package from its files' content.

        Args:
            files: By name. A common folder in front, such as ``model.mlpackage/``, is taken off.

        Raises:
            BundleError: The manifest or the model file is missing or cannot be parsed, or the model is not an
                ML program.
            MissingExtraError: coremltools is not installed.
        """
        manifests = [name for name in files if name.rpartition("/")[2] == MANIFEST]
        if len(manifests) != 1:
            raise BundleError(f"found {len(manifests)} files {MANIFEST} among {sorted(files)[:5]}; a package has one")
        root = manifests[0].removesuffix(MANIFEST)
        inside = {name.removeprefix(root): data for name, data in files.items() if name.startswith(root)}
        model = _model_file(inside[MANIFEST])
        if model not in inside:
            raise BundleError(f"the package lacks its model file {model}; it has {sorted(inside)}; export it again")
        spec = model_message()
        try:
            spec.ParseFromString(inside[model])
            kind = spec.WhichOneof("Type")
        except Exception as error:  # protobuf's implementations share no base error
            raise BundleError(f"{model} cannot be parsed: {error}; export the model again") from error
        if kind != "mlProgram":
            raise BundleError(f"{model} holds a model of type {kind}; expected mlProgram (iOS 15 or later)")
        return cls(inside, model, spec)

    def blob_file(self, name: str) -> bytes:
        """Content of a file that a constant points at.

        Args:
            name: As the program states it, such as ``"@model_path/weights/weight.bin"``.

        Raises:
            BundleError: The package has no such file.
        """
        folder = self.model.rpartition("/")[0]
        file = f"{folder}/{name.removeprefix(_MODEL_PATH)}"
        if not name.startswith(_MODEL_PATH) or file not in self.files:
            raise BundleError(f"a constant points at the file {name!r}, which the package lacks; export it again")
        return self.files[file]


def _model_file(manifest: bytes) -> str:
    try:
        content = json.loads(manifest)
        path = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{MANIFEST} names no root model ({error!r}); export the model again") from error
    return f"Data/{path}"
