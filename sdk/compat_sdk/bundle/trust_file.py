"""The file that says whom a reader trusts, TOML or JSON.

Keys are PEM files beside it, or their content:

    galleries = true                # galleries must be signed too; false if left out

    [[makers]]
    name = "Example AG"
    public_key = "example.pem"
    roles = ["query", "transform"]  # may sign these alone; anything if left out; "index" stands for galleries
    spaces = ["query-128-..."]      # of these embedding spaces
    bundles = ["phone model"]       # of these names

    [least_release]
    "phone model" = 3               # an older release is refused, though its signature holds
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compat_sdk.bundle.maker import Maker
from compat_sdk.bundle.signature import PublicKey
from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.documents import parse_json, parse_toml
from compat_sdk.files.plain import read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened, shown_value

_FILE_LIMIT = 1 << 20


def read_trust_file(file: Path) -> Mapping[str, object]:
    """Return the document of a trust file, unchecked: JSON if its name ends with ``.json``, else TOML.

    Raises:
        ConfigError: It is missing, malformed or has more than 1 MiB.
        SystemRefusedError: The system refused to read it.
    """
    if not file.is_file():  # a pipe would block whoever opens it
        raise ConfigError(f"there is no trust file {file}; name one, see README, Signatures")
    try:
        data = read_plain(file, _FILE_LIMIT)
    except CorruptFileError as error:
        raise ConfigError(f"trust file {error}; expected a few makers") from error
    except OSError as error:
        raise_if_refused(file, error)
        raise ConfigError(f"cannot read trust file {file}: {error.strerror or error}; name another") from error
    try:
        return (parse_json if file.suffix.lower() == ".json" else parse_toml)(data, "it")
    except CorruptFileError as error:
        raise ConfigError(f"trust file {file} is not valid TOML or JSON ({error}); mend it") from error


def trusted_by(document: Mapping[str, object], folder: Path) -> tuple[tuple[Maker, ...], dict[str, int], bool]:
    """Return what a trust file says: makers with their keys read, least releases, and whether galleries are signed.

    Args:
        document: Of the file.
        folder: That of the file, in which the files of keys are.

    Raises:
        ConfigError: There is a key that is not known, a value of another kind, or a key file that is not there.
    """
    known = _only(document, {"makers": list, "least_release": dict, "galleries": bool}, "it")
    makers = tuple(_maker(item, folder) for item in known.get("makers", []))
    return makers, known.get("least_release", {}), known.get("galleries", False)


def _maker(value: object, folder: Path) -> Maker:
    """A maker as the file has it, its key read."""
    kinds = {"name": str, "public_key": str, "roles": list, "spaces": list, "bundles": list}
    found = _only(value, kinds, "a maker")
    if missing := {"name", "public_key"} - found.keys():
        raise ConfigError(f"a maker has no {min(missing)}; expected a name and a public_key")
    name, key = found["name"], found["public_key"]
    for label in ("roles", "spaces", "bundles"):
        if not all(isinstance(item, str) for item in found.get(label, [])):
            raise ConfigError(f"{label} of maker {shortened(name)} are {shown_value(found[label])}; expected texts")
        if label in found:
            found[label] = tuple(found[label])
    pem = PublicKey(name, key.encode()) if "-----BEGIN" in key else PublicKey.read(folder / key)
    return Maker(name, pem, found.get("roles"), found.get("spaces"), found.get("bundles"))


def _only(value: object, kinds: Mapping[str, type[object]], what: str) -> dict[str, Any]:
    """A table that has no keys but these, each of its kind."""
    if not isinstance(value, dict):
        raise ConfigError(f"{what} is {shown_value(value)}; expected a table with {', '.join(kinds)}")
    for key, item in value.items():
        if key not in kinds:
            raise ConfigError(f"{what} has the key {shown_value(key)}; expected some of {', '.join(kinds)}")
        if type(item) is not kinds[key]:
            raise ConfigError(f"{key} is {shown_value(item)}; expected a {kinds[key].__name__}")
    return dict(value)
