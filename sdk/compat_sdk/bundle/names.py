"""Names of files inside a bundle: those that are fixed, and what the others may be called."""

from __future__ import annotations

from collections.abc import Iterable

from compat_sdk.errors import ConfigError
from compat_sdk.names import is_name
from compat_sdk.shown import shown_value

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
CARD = "MODEL_CARD.md"
"""The manifest as a page for people, see `compat_sdk.bundle.card`; bundles of 0.7 and before have none."""
PICTURES = "golden/pictures/"
"""Folder of the golden pictures, see `compat_sdk.bundle.golden`."""


def check_file_name(name: str) -> str:
    """Return ``name`` if it is a plain relative name that means the same file on every system.

    Raises:
        ConfigError: It is absolute, climbs with ``..``, is the manifest's or the signature's own, starts or ends a
            part with a dot, is a device on Windows, or has characters other than letters, digits, dot, dash,
            underscore and ``/``.
    """
    plain = isinstance(name, str) and len(name) <= 240 and all(is_name(part) for part in name.split("/"))
    if not plain or name.casefold() in (MANIFEST, SIGNATURE):
        raise ConfigError(
            f"{shown_value(name)} is not a plain relative file name such as model.onnx or golden/images.npy"
        )
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
            raise ConfigError(f"two file names differ only in upper and lower case: {shown_value(name)}; rename one")
        files.add(folded)
        for end in (position for position, letter in enumerate(name) if letter == "/"):
            if folders.setdefault(folded[:end], name[:end]) != name[:end]:
                raise ConfigError(
                    f"two folder names differ only in upper and lower case: {shown_value(name)}; rename one"
                )
    if both := sorted(files & folders.keys()):
        raise ConfigError(f"{shown_value(both[0])} is a file and a folder at once; rename one")
