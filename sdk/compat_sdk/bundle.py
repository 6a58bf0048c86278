"""Bundles: an exported model with everything that is needed to use it, and to know that it is intact.

    NAME/manifest.json             what the model is, its preprocessing, its space, SHA-256 and size of each file
    NAME/model.onnx                one graph per target and precision
    NAME/golden/images.npy         uint8 [m, size, size, 3]
    NAME/golden/embeddings.npy     float32 [m, dim]: what the trained model made of them

No file format used here notices its own corruption: of 90 damaged ONNX graphs 17 load and answer wrongly. So
every file is compared with its digest before a parser sees it, and a folder that holds anything else is refused.
A digest tells damage, not origin: whoever can rewrite a bundle can rewrite its digests.
"""

from __future__ import annotations

import dataclasses
import io
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import BundleError, ConfigError, CorruptFileError
from compat_sdk.files import parse_json, sync_folder, verify_files, write_atomic, write_json_atomic
from compat_sdk.manifest import FORMAT, MANIFEST, FileRecord, Graph, Manifest, Role, check_file_name, record_of
from compat_sdk.preprocess import Preprocessing

__all__ = ["Bundle", "FileRecord", "Graph", "Manifest", "golden_files", "write_bundle"]

GOLDEN_IMAGES = "golden/images.npy"
GOLDEN_EMBEDDINGS = "golden/embeddings.npy"

_MANIFEST_LIMIT = 4 << 20
_PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".npz"}


class Bundle:
    """A bundle whose every file was verified.

    Attributes:
        path: Its folder.
        manifest: What it says about its model.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"Bundle({os.fspath(self.path)!r}, space={self.manifest.space!r})"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Verify a bundle and return it.

        Checked before anything is parsed: the manifest's format, version and own digest; that the folder holds
        the listed files and nothing else, no links among them; the size and SHA-256 of each. Then that no file
        is a pickle or an archive, and that the golden files fit the manifest.

        Raises:
            BundleError: One of these does not hold; the message names the file.
        """
        folder = Path(path)
        manifest = Manifest.from_json(_read_manifest(folder))
        found = set(_plain_files(folder))
        unlisted = sorted(found - {MANIFEST} - set(manifest.files))
        if unlisted:
            raise BundleError(f"{folder} holds files that its manifest does not list: {unlisted[:5]}; remove them")
        records = {name: dataclasses.asdict(record) for name, record in manifest.files.items()}
        verify_files(folder, records, BundleError)
        bundle = cls(folder, manifest)
        for name in manifest.files:
            _refuse_pickle(folder / name)
        bundle.golden()
        return bundle

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
        try:
            data = (self.path / file).read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {self.path / file}: {error.strerror or error}") from error
        if record_of(data) != record:
            raise BundleError(f"{self.path / file} changed since the bundle was opened; open it again")
        return data

    def golden(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the golden images, uint8 ``[m, size, size, 3]``, and their embeddings, float32 ``[m, dim]``.

        Raises:
            BundleError: They are missing or do not fit the manifest.
        """
        images, embeddings = _array(self, GOLDEN_IMAGES), _array(self, GOLDEN_EMBEDDINGS)
        problem = _golden_problem(images, embeddings, self.manifest.preprocessing.size, self.manifest.dim)
        if problem is not None:
            raise BundleError(f"{self.path}: {problem}; export the model again")
        return images.view(np.uint8), embeddings.view(np.float32)

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


def write_bundle(
    path: str | os.PathLike[str],
    *,
    name: str,
    role: Role,
    space: str,
    searches: Sequence[str],
    dim: int,
    preprocessing: Preprocessing,
    tier: str,
    mmacs: float,
    mmacs_paper: float,
    params_m: float,
    license: str,
    arch: str,
    graphs: Sequence[Graph],
    graph_files: Mapping[str, bytes],
    golden: tuple[NDArray[np.uint8], NDArray[np.float32]],
    created_by: str = "compat-sdk",
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle under a temporary name, verify it, and give it its name.

    A process that dies on the way leaves the old bundle, and at most a folder ``.NAME.*.tmp`` beside it.

    ``path`` is the folder to make; the keywords up to ``graphs`` are the fields of `Manifest`. ``graph_files``
    holds the content of every file except the golden ones, by name inside the bundle; ``golden`` is uint8
    ``[m, size, size, 3]`` and the float32 ``[m, dim]`` that the trained model makes of them. With ``overwrite``
    an existing bundle at ``path`` is replaced, by two renames; anything that is not a bundle never is.

    Raises:
        ConfigError: A value is out of its range, ``path`` exists, or is to be overwritten and is no bundle.
        BundleError: The golden arrays do not fit, or a file is a pickle or an archive.
        OSError: The folder cannot be written; nothing is published.
    """
    target = Path(path).absolute()
    if os.path.lexists(target):
        _require_replaceable(target, overwrite)
    if (problem := _golden_problem(*golden, preprocessing.size, dim)) is not None:
        raise BundleError(f"{target}: {problem}")
    files = {**graph_files, **golden_files(*golden)}
    manifest = Manifest(
        name=name,
        role=role,
        space=space,
        searches=tuple(searches),
        dim=dim,
        preprocessing=preprocessing,
        tier=tier,
        mmacs=mmacs,
        mmacs_paper=mmacs_paper,
        params_m=params_m,
        license=license,
        arch=arch,
        graphs=tuple(graphs),
        created_by=created_by,
        files={file: record_of(data) for file, data in files.items()},
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir()
        for file, data in files.items():
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(temporary / check_file_name(file), data)
        write_json_atomic(temporary / MANIFEST, manifest.to_json())
        Bundle.open(temporary)
        _publish(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Bundle(Path(path), manifest)


def golden_files(images: NDArray[np.uint8], embeddings: NDArray[np.float32]) -> dict[str, bytes]:
    """Return the two golden files by name inside the bundle."""
    files = {}
    for name, array in ((GOLDEN_IMAGES, images), (GOLDEN_EMBEDDINGS, embeddings)):
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        files[name] = buffer.getvalue()
    return files


def _publish(temporary: Path, target: Path) -> None:
    """Rename; a folder cannot replace a folder in one step, so an old one steps aside first."""
    aside = temporary.with_suffix(".old")
    if os.path.lexists(target):
        target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        if aside.exists():
            aside.rename(target)
        raise
    sync_folder(target.parent)
    if aside.exists():
        shutil.rmtree(aside)


def _require_replaceable(target: Path, overwrite: bool) -> None:
    if not overwrite:
        raise ConfigError(f"{target} exists; choose another name, or allow it to be overwritten")
    try:
        is_bundle = _read_manifest(target).get("format") == FORMAT and not target.is_symlink()
    except BundleError:
        is_bundle = False
    if not is_bundle:
        raise ConfigError(f"{target} exists and is not a bundle, so it is not overwritten; choose another name")


def _read_manifest(folder: Path) -> dict[str, object]:
    path = folder / MANIFEST
    try:
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{folder} is not a bundle: it has no plain file {MANIFEST}")
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise BundleError(f"{path} is larger than {_MANIFEST_LIMIT} bytes; restore it from its source")
        return parse_json(path.read_bytes(), os.fspath(path))
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    except BundleError:
        raise
    except CorruptFileError as error:
        raise BundleError(str(error)) from error


def _plain_files(folder: Path, prefix: str = "") -> Iterator[str]:
    """Yield the relative names of all files; links and special files are refused, not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _plain_files(Path(entry.path), name + "/")
            elif entry.is_file(follow_symlinks=False):
                yield name
            else:
                raise BundleError(f"{entry.path} is a link or a special file; a bundle holds plain files only")


def _refuse_pickle(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-1 if len(head) else 0, os.SEEK_END)
        last = file.read(1)
    pickled = len(head) > 1 and head[0] == 0x80 and head[1] <= 5 and last == b"."
    if path.suffix.lower() in _PICKLE_SUFFIXES or pickled or head == b"PK\x03\x04":
        raise BundleError(f"{path} is a pickle or an archive, which can run code or hide it; a bundle holds neither")


def _array(bundle: Bundle, name: str) -> NDArray[np.generic]:
    try:
        found: NDArray[np.generic] = np.load(io.BytesIO(bundle.read(name)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BundleError(f"{bundle.path / name} is not a plain array: {error}") from error
    return found


def _golden_problem(images: NDArray[np.generic], embeddings: NDArray[np.generic], size: int, dim: int) -> str | None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3) or len(images) == 0:
        return f"golden images are {images.dtype} {list(images.shape)}, expected uint8 [m, {size}, {size}, 3]"
    if embeddings.dtype != np.float32 or embeddings.shape != (len(images), dim):
        found = f"{embeddings.dtype} {list(embeddings.shape)}"
        return f"golden embeddings are {found}, expected float32 [{len(images)}, {dim}]"
    if not np.isfinite(embeddings).all():
        return "golden embeddings hold NaN or infinity"
    return None
