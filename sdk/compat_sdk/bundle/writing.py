"""Bundles made: written from a manifest and its files, and signed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from compat_sdk.bundle.bundle import Bundle, reopened
from compat_sdk.bundle.card import model_card
from compat_sdk.bundle.files import open_files
from compat_sdk.bundle.golden import (
    Arrays,
    golden_files,
    golden_problem,
    picture_files,
)
from compat_sdk.bundle.manifest import Manifest
from compat_sdk.bundle.names import CARD, MANIFEST, SIGNATURE
from compat_sdk.bundle.publish import publish, require_free
from compat_sdk.bundle.records import record_of
from compat_sdk.bundle.signature import make_signature
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.files.documents import indented_json


def write_bundle(
    path: str | os.PathLike[str],
    manifest: Manifest,
    graph_files: Mapping[str, bytes],
    golden: Arrays,
    *,
    pictures: Sequence[bytes] = (),
    check: Callable[[Bundle], object] | None = None,
    overwrite: bool = False,
    allow_older: bool = False,
) -> Bundle:
    """Write a bundle under a temporary name, verify it, and give it its name.

    A process that dies on the way leaves the old bundle or the new, and at most a ``.NAME.*.tmp`` beside it; see
    `compat_sdk.bundle.folder.replace_folder`.

    Args:
        path: The bundle to make, a zip if it ends with ``.zip``, else a folder. Equal arguments give equal bytes.
        manifest: What it says, without its files.
        graph_files: Content of every file except the golden ones and the model card, which is made of the manifest,
            by name inside the bundle; a graph that is a folder has its files there as ``FOLDER/...``.
        golden: uint8 ``[m, size, size, 3]``, or for a transform the float32 ``[m, ...]`` of each input; then the
            float32 ``[m, dim]`` that the trained model makes of them. With pictures the statistics of the model's
            input, float32 ``[m, 3, 2]``, lie between the two, and the first rows are the pictures'.
        pictures: Golden pictures of a model of images, each the content of a JPEG or PNG file; see
            `compat_sdk.bundle.golden`.
        check: Called with the bundle under its temporary name; what it raises stops the publication.
        overwrite: Replace an existing bundle of the same form; anything else never is.
        allow_older: Also replace a newer release of the same model.

    Raises:
        ConfigError: The manifest has files already or lacks a graph or a graph's file, a file has the card's name, the
            preprocessing is not what all graphs take, ``path`` exists, or is to be overwritten and is no bundle.
        BundleError: The golden arrays do not fit, or a file is a pickle or an archive.
        OSError: The bundle cannot be written; nothing is published.
    """
    target = Path(path).absolute()
    require_free(target, overwrite)
    if manifest.files:
        raise ConfigError(f"the manifest lists {len(manifest.files)} files; expected none, they are taken from content")
    if CARD in graph_files:
        raise ConfigError(f"graph_files has a {CARD}; expected none: the card is written from the manifest")
    files = {**graph_files, CARD: model_card(manifest).encode(), **picture_files(pictures)}
    problem = golden_problem(
        golden,
        dim=manifest.dim,
        preprocessing=manifest.preprocessing,
        source=manifest.source,
        pictures=len(pictures),
    )
    if problem is not None:
        raise BundleError(f"{target}: {problem}")
    files |= golden_files(manifest.source, len(pictures), golden)
    whole = dataclasses.replace(manifest, files={file: record_of(data) for file, data in files.items()})
    whole.require_complete()
    _require_one_arithmetic(whole)
    contents = {MANIFEST: indented_json(whole.to_json()), **files}

    def verify(written: Path) -> None:
        bundle = reopened(written)
        if check is not None:
            check(bundle)

    publish(target, contents, verify=verify, overwrite=overwrite, allow_older=allow_older)
    return Bundle(open_files(Path(path)), whole, hashlib.sha256(contents[MANIFEST]).hexdigest())


def _require_one_arithmetic(manifest: Manifest) -> None:
    """Refuse a bundle in which a client that does what the preprocessing says would be wrong for some graph."""
    taking = {graph.values for graph in manifest.graphs}
    if "pixels" not in taking or manifest.preprocessing is None:
        return
    if len(taking) > 1 or manifest.preprocessing != manifest.preprocessing.inside_graph():
        raise ConfigError(
            f"graphs that take {' and '.join(sorted(taking))} values under a preprocessing of mean "
            f"{list(manifest.preprocessing.mean)}; expected graphs of one kind, and where they take pixels what "
            f"Preprocessing.inside_graph leaves to do"
        )


def sign_bundle(
    path: str | os.PathLike[str],
    private_key: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    allow_older: bool = False,
) -> Bundle:
    """Verify a bundle and sign every file of it; an earlier signature is replaced.

    Args:
        path: The bundle, folder or zip.
        private_key: PEM file of the private key, see `compat_sdk.bundle.signature`.
        out: Write a signed copy here, in the form of its name; by default the bundle itself is signed.
        overwrite: Replace an existing bundle at ``out``.
        allow_older: There also replace a newer release of the same model.

    Raises:
        BundleError: The bundle is damaged.
        ConfigError: The key cannot be used, or ``out`` exists.
        MissingExtraError: model-signing is not installed.
        OSError: It cannot be written; nothing is changed.
    """
    if out is not None:
        require_free(Path(out).absolute(), overwrite)
    bundle = Bundle.open(path, allow_expired=True)
    contents = bundle.contents()
    contents[SIGNATURE] = make_signature(contents, private_key)
    # A link to the bundle stays a link: what it points to is replaced.
    target = bundle.path.resolve() if out is None else Path(out).absolute()
    replace = overwrite or out is None
    publish(target, contents, verify=reopened, overwrite=replace, allow_older=allow_older)
    return Bundle(open_files(bundle.path if out is None else Path(out)), bundle.manifest, bundle.digest)
