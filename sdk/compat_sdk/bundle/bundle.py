"""Bundles: an exported model with everything that is needed to use it, and to know that it is intact.

    NAME/manifest.json             what the model is, its preprocessing, its space, SHA-256 and size of each file
    NAME/model.onnx                one graph per target and precision; a graph may be a folder, such as an .mlpackage
    NAME/MODEL_CARD.md             the manifest as a page for people, see `compat_sdk.bundle.card`
    NAME/golden/...                inputs and what the trained model made of them, see `compat_sdk.bundle.golden`
    NAME/signature.json            if the bundle was signed: a signature over all of the above

The same files in a zip, see `compat_sdk.bundle.archive`, are the same bundle.

No file format used here notices its own corruption: of 90 damaged ONNX graphs 17 load and answer wrongly. So
every file is compared with its digest before a parser sees it, and a bundle that holds anything else is refused.
A digest tells damage, not origin: whoever can rewrite a bundle can rewrite its digests. A signature tells origin.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle.files import BundleFiles, open_files, parse_manifest, read_document, verify_file
from compat_sdk.bundle.golden import (
    golden_names,
    golden_problem,
    picture_names,
    read_array,
)
from compat_sdk.bundle.graph import Graph
from compat_sdk.bundle.manifest import Manifest
from compat_sdk.bundle.names import MANIFEST, SIGNATURE
from compat_sdk.bundle.publish import publish
from compat_sdk.bundle.records import record_of
from compat_sdk.bundle.replacement import while_unreplaced
from compat_sdk.bundle.trust import Trust, require_current, trust_of
from compat_sdk.errors import BundleError, ConfigError

_T = TypeVar("_T")


class Bundle:
    """A bundle whose every file was verified.

    Attributes:
        path: Its folder or zip file.
        form: ``"folder"`` or ``"zip"``.
        manifest: What it says about its model.
        digest: SHA-256 of the manifest's bytes, which name the digest of every other file but a signature.
        signed_by: The maker whose signature was required and holds, as the trust file names it, or by the file of the
            key; None where none was required.
    """

    def __init__(self, files: BundleFiles, manifest: Manifest, digest: str, signed_by: str | None = None) -> None:
        self.path = files.path
        self.form = files.form
        self.manifest = manifest
        self.digest = digest
        self.signed_by = signed_by
        self._files = files

    def __repr__(self) -> str:
        return f"Bundle({os.fspath(self.path)!r}, space={self.manifest.space!r})"

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        public_key: str | os.PathLike[str] | None = None,
        *,
        trust: str | os.PathLike[str] | Trust | None = None,
        allow_expired: bool = False,
    ) -> Bundle:
        """Verify a bundle, folder or zip, and return it.

        Checked before anything is parsed: a zip's structure; that there are plain files only, no links; the
        signature, if a public key or a trust file is given; the manifest's format, version and own digest; whether
        the signer may sign it, its release and its last day; that the listed files and nothing else are there; the
        size and SHA-256 of each. Then that no file is a pickle or an archive, and that the golden files fit the
        manifest. A bundle that is replaced meanwhile is checked again from the start.

        Args:
            path: The bundle.
            public_key: PEM file of the maker's public key; without it and without ``trust`` a signature is not
                looked at.
            trust: A trust file, or what was read from one, see `compat_sdk.bundle.trust_file`.
            allow_expired: Also open what was meant to be used until a day that is past.

        Raises:
            BundleError: One of these does not hold; the message names the file.
            ConfigError: The key or the trust file cannot be used.
            MissingExtraError: A signature is asked for and model-signing is not installed.
            SystemRefusedError: The system refused to read a file.
        """
        wanted = trust_of(public_key, trust)
        return while_unreplaced(path, lambda: cls._open(Path(path), wanted, allow_expired))

    @classmethod
    def _open(cls, path: Path, trust: Trust | None, allow_expired: bool) -> Bundle:
        files = open_files(path)
        document = read_document(files, MANIFEST)
        check = None if trust is None else trust.require_signer(files, document)
        manifest = Manifest.from_json(parse_manifest(document, files))
        signed_by = None if check is None else check(manifest)
        if not allow_expired:
            require_current(manifest, path)
        unlisted = sorted(files.sizes.keys() - {MANIFEST, SIGNATURE} - manifest.files.keys())
        if unlisted:
            raise BundleError(f"{path} holds files that its manifest does not list: {unlisted[:5]}; remove them")
        for name, record in manifest.files.items():
            verify_file(files, name, record)
        bundle = cls(files, manifest, hashlib.sha256(document).hexdigest(), signed_by)
        bundle.golden_arrays()
        return bundle

    @property
    def signed(self) -> bool:
        """Whether a signature is there; only opening with a public key tells whether it holds."""
        return SIGNATURE in self._files.sizes

    def read(self, file: str) -> bytes:
        """Return the content of one listed file, compared once more with its digest.

        Args:
            file: Name inside the bundle, as in ``manifest.files``.

        Raises:
            BundleError: The bundle does not list it, or it changed since the bundle was opened.
        """
        record = self.manifest.files.get(file)
        if record is None:
            raise BundleError(f"{self.path} lists no file {file!r}; it has {sorted(self.manifest.files)}")
        data = b"".join(self._files.chunks(file))
        if record_of(data) != record:
            raise BundleError(f"{self.path / file} changed since the bundle was opened; open it again")
        return data

    def graph(self, target: str, precision: str | None = None) -> Graph:
        """Return the graph of this target, of this precision or else the first listed.

        Raises:
            BundleError: There is none.
        """
        for graph in self.manifest.graphs:
            if graph.target == target and precision in (None, graph.precision):
                return graph
        listed = ", ".join(f"{graph.target} {graph.precision}" for graph in self.manifest.graphs)
        raise BundleError(f"{self.path} has no {target} {precision or ''} graph; it has {listed}")

    def graph_files(self, graph: Graph) -> dict[str, bytes]:
        """Return the verified content of a graph's files.

        Args:
            graph: One of ``manifest.graphs``.

        Returns:
            Content by name: one entry such as ``model.onnx`` for a graph that is a file; for a graph that is a
            folder every file under it, named relative to it, such as ``Data/com.apple.CoreML/weights/weight.bin``.

        Raises:
            BundleError: The graph is not of this bundle, or a file changed since the bundle was opened.
        """
        if graph not in self.manifest.graphs:
            raise BundleError(f"{self.path} has no graph {graph}; take one of its manifest.graphs")
        files = [name for name in self.manifest.files if graph.is_made_of(name)]
        return {name[len(graph.file) + 1 :] or name.rpartition("/")[2]: self.read(name) for name in files}

    def golden(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the golden images, uint8 ``[m, size, size, 3]``, and their embeddings, float32 ``[m, dim]``.

        Raises:
            BundleError: They are missing or do not fit the manifest.
            ConfigError: The bundle is a transform, which takes no images.
        """
        if self.manifest.source is not None:
            raise ConfigError(f"{self.path} is a transform and has no golden images; ask for golden_vectors")
        images, *_, embeddings = self.golden_arrays()
        return images, embeddings

    def golden_pictures(self) -> dict[str, bytes]:
        """Return the files of the golden pictures, JPEG and PNG, by name: one for each of the first golden images.

        None for a transform, and for a bundle of 0.7 or before.

        Raises:
            BundleError: They changed since the bundle was opened.
        """
        return {name: self.read(name) for name in picture_names(self.manifest.files)}

    def golden_inputs(self) -> NDArray[np.float32]:
        """Return mean and deviation of each channel of the model's golden inputs, float32 ``[m, 3, 2]``.

        Raises:
            BundleError: There are none, as in a transform and in bundles of 0.7 and before.
        """
        if not picture_names(self.manifest.files):
            raise BundleError(f"{self.path} has no golden pictures; export the model again")
        return self.golden_arrays()[1]

    def golden_vectors(self) -> tuple[tuple[NDArray[np.float32], ...], NDArray[np.float32]]:
        """Return a transform's golden inputs, float32 ``[m, ...]`` in the order of its graphs' inputs, and its vectors.

        Raises:
            BundleError: They are missing or do not fit the manifest.
            ConfigError: The bundle is a model of images.
        """
        if self.manifest.source is None:
            raise ConfigError(f"{self.path} is a {self.manifest.role} model, not a transform; ask for golden")
        *inputs, embeddings = self.golden_arrays()
        return tuple(inputs), embeddings

    def golden_arrays(self) -> list[NDArray[Any]]:
        """Return all golden arrays, read and checked once, in the order of `compat_sdk.bundle.golden.golden_names`.

        Raises:
            BundleError: They are missing or do not fit the manifest.
        """
        of = self.manifest
        pictures = len(picture_names(of.files))
        arrays = [read_array(self.read(name), self.path / name) for name in golden_names(of.source, pictures)]
        problem = golden_problem(
            arrays, dim=of.dim, preprocessing=of.preprocessing, source=of.source, pictures=pictures
        )
        if problem is not None:
            raise BundleError(f"{self.path}: {problem}; export the model again")
        return arrays

    def copy_to(self, path: str | os.PathLike[str], *, overwrite: bool = False, allow_older: bool = False) -> Bundle:
        """Write the same bundle elsewhere, signature included; the form follows the name, ``.zip`` or not.

        Args:
            path: The bundle to make.
            overwrite: Replace an existing bundle of the same form.
            allow_older: Also replace a newer release of the same model.

        Raises:
            ConfigError: ``path`` exists, or is to be overwritten and is no bundle of the same form or a newer release.
            BundleError: A file changed since the bundle was opened.
            OSError: It cannot be written; nothing is published.
        """
        contents = self.contents()
        if self.signed:
            contents[SIGNATURE] = read_document(self._files, SIGNATURE)
        target = Path(path).absolute()
        publish(target, contents, verify=reopened, overwrite=overwrite, allow_older=allow_older)
        return Bundle(open_files(Path(path)), self.manifest, self.digest)

    def contents(self) -> dict[str, bytes]:
        """Return every file but a signature by name, the manifest first, each compared once more with its digest.

        Raises:
            BundleError: One changed since the bundle was opened.
        """
        document = read_document(self._files, MANIFEST)
        if Manifest.from_json(parse_manifest(document, self._files)) != self.manifest:
            raise BundleError(f"{self.path / MANIFEST} changed since the bundle was opened; open it again")
        return {MANIFEST: document} | {name: self.read(name) for name in self.manifest.files}


def reopened(path: Path) -> Bundle:
    """What a bundle about to be published must pass; its last day is for whoever uses it."""
    return Bundle.open(path, allow_expired=True)


def opened(
    bundle: str | os.PathLike[str] | Bundle,
    load: Callable[[Bundle], _T],
    public_key: str | os.PathLike[str] | None = None,
    trust: str | os.PathLike[str] | Trust | None = None,
) -> _T:
    """Open a bundle and make something of it; both again where another bundle takes its place meanwhile.

    Args:
        bundle: The bundle, or one that is opened already.
        load: Makes it, and reads files of the bundle for that.
        public_key: PEM file of the maker's public key, whose signature is then required; not for an opened bundle.
        trust: A trust file, or what was read from one; not for an opened bundle, nor beside ``public_key``.

    Raises:
        BundleError: The bundle is damaged or not signed as is asked for, or ``load`` found that it is.
        ConfigError: The bundle is opened already, and a signature is asked for.
    """
    if isinstance(bundle, Bundle):
        if public_key is not None or trust is not None:
            raise ConfigError(
                f"{bundle.path} is opened already, and a public key or trust file given with it comes too late; give "
                f"it to Bundle.open"
            )
        return load(bundle)
    wanted = trust_of(public_key, trust)
    return while_unreplaced(bundle, lambda: load(Bundle.open(bundle, trust=wanted)))
