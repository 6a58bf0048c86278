"""What the runtime writes: galleries, upgrades, bundles, locks of data, tables of latencies."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from compat_sdk import upgrade
from compat_sdk.bundle import Bundle, Graph
from compat_sdk.bundle.writing import sign_bundle
from compat_sdk.datasets.lock import LOCK, require_all_locked, require_locked, write_lock
from compat_sdk.errors import CorruptFileError, GalleryError, StateError
from compat_sdk.files.documents import read_json
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.store import is_new_folder
from compat_sdk.profile.latency_table import LatencyTable, load_table, save_table
from compat_sdk.space import Embeddings
from compat_sdk.upgrade.assembly import finished
from compat_sdk.upgrade.manifest import FOLDER, read_manifest
from tests.crash.write_path import WritePath
from tests.sdk.bundles import make_bundle
from tests.sdk.upgrade import toy

_SPACE = "toy-8"
_FORMS = {"b": "folder", "b.zip": "zip"}


def runtime_paths() -> Iterator[WritePath]:
    """All of them; those of signatures where their library is installed."""
    yield WritePath("gallery: create, add, remove, compact", _nothing, _CHANGES, _gallery)
    if importlib.util.find_spec("usearch"):
        yield WritePath("gallery: approximate index", _filled, (_index, _add(9, 2), _index), _indexed)
    yield WritePath(
        "upgrade: run, cutover, rollback, discard",
        toy.make,
        (_run, _cutover, _rollback, _cutover, _add_to_upgraded, _discard),
        _upgraded,
    )
    yield WritePath("upgrade: run after additions", _begun, (_run, _cutover), _upgraded)
    for name, form in _FORMS.items():
        replaced = (_bundle(name, 1), _bundle(name, 2))
        yield WritePath(f"bundle: {form}, and another in its place", _nothing, replaced, _held(name), True)
    yield WritePath("data: lock", _pictures, (_lock, _lock_one), _locked, True)
    yield WritePath("profile: table", _nothing, (_table(1), _table(2)), _tables, True)
    if importlib.util.find_spec("model_signing"):
        yield WritePath("gallery: signature", _with_key, (_sign, _add(9, 2), _sign), _signed)
        for name, form in _FORMS.items():
            signs = (_sign_bundle(name),)
            yield WritePath(f"bundle: signature of a {form}", _bundle_with_key(name), signs, _signed_bundle(name), True)


def _nothing(folder: Path) -> None:
    """Leave the folder empty."""


def _rows(first: int, count: int) -> tuple[Embeddings, list[str], list[str]]:
    vectors = np.random.default_rng(first).standard_normal((count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"{number}" for number in range(first, first + count)]
    return Embeddings(vectors, _SPACE), names, names


def _create(folder: Path) -> None:
    Gallery.create(folder / "deep" / "g", space=_SPACE, dim=8)


def _add(first: int, count: int) -> Callable[[Path], None]:
    return lambda folder: Gallery.open(_place(folder)).add(*_rows(first, count))


def _place(folder: Path) -> Path:
    os.environ["COMPAT_SDK_STATE"] = os.fspath(folder / "state")  # the notes of indexes belong to what may be lost
    return folder / "deep" / "g"


_CHANGES = (
    _create,
    _add(0, 3),
    _add(3, 1),
    lambda folder: Gallery.open(_place(folder)).remove(["0", "3"]),
    _add(4, 2),
    lambda folder: Gallery.open(_place(folder)).compact(),
)


def _gallery(folder: Path) -> object:
    place = _place(folder)
    if is_new_folder(place):
        return None
    gallery = Gallery.open(place)
    if problems := gallery.verify():
        raise GalleryError(problems[0])
    return gallery.ids, gallery.labels, gallery.vectors.tobytes(), gallery.info()["segments"]


def _filled(folder: Path) -> None:
    _create(folder)
    _add(0, 9)(folder)
    _index(folder)


def _index(folder: Path) -> None:
    Gallery.open(_place(folder)).build_index(threads=1)


def _indexed(folder: Path) -> object:
    found = Gallery.open(_place(folder)).info()
    return _gallery(folder), found["search"], found["foreign_index"]


def _run(folder: Path) -> None:
    upgrade.run(folder / "gallery", toy.Toy(), side=folder / "side", shard_rows=20, block_rows=10, workers=1)


def _cutover(folder: Path) -> None:
    upgrade.cutover(folder / "gallery", unverified=True)


def _rollback(folder: Path) -> None:
    upgrade.rollback(folder / "gallery")


def _discard(folder: Path) -> None:
    upgrade.discard(folder / "gallery", old=True)


def _add_to_upgraded(folder: Path) -> None:
    gallery = Gallery.open(folder / "gallery")
    gallery.add(Embeddings(toy.vectors(2, 24, 5), toy.NEW), ["late-0", "late-1"])


def _begun(folder: Path) -> None:
    toy.make(folder)
    _run(folder)
    toy.add(folder / "gallery", folder / "side", ["new-0", "new-1"])


def _upgraded(folder: Path) -> object:
    place = folder / "gallery"
    if problems := Gallery.open(place).verify():
        raise GalleryError(problems[0])
    found = toy.contents(place)
    to_discard = found[0] == toy.NEW and (place / FOLDER).exists()
    return *found, _is_done(place), to_discard


def _is_done(gallery: Path) -> bool:
    """Whether every row of the gallery is in a shard that is done and intact."""
    manifest = read_manifest(gallery / FOLDER)
    if manifest is None:
        return False
    try:
        finished(gallery / FOLDER, manifest)
    except StateError:
        return False
    return manifest.rows == len(Gallery.open(gallery))


def _bundle(name: str, content: int) -> Callable[[Path], object]:
    graph = Graph(target="onnx", precision="fp32", file="a/deep/model.onnx")
    files = {graph.file: b"\x08" * content}

    def step(folder: Path) -> object:
        return make_bundle(folder / "new" / name, graphs=(graph,), graph_files=files, overwrite=True)

    return step


def _held(name: str) -> Callable[[Path], object]:
    def look(folder: Path) -> object:
        if not (folder / "new" / name).exists():
            return None
        bundle = Bundle.open(folder / "new" / name)
        return bundle.digest, bundle.read("a/deep/model.onnx")

    return look


def _pictures(folder: Path) -> None:
    (folder / "train").mkdir()
    for name in "ab":
        (folder / "train" / name).write_bytes(name.encode())


def _lock(folder: Path) -> None:
    write_lock(folder, sorted((folder / "train").iterdir()))


def _lock_one(folder: Path) -> None:
    write_lock(folder, [folder / "train" / "a"])


def _locked(folder: Path) -> object:
    if not (folder / LOCK).exists():
        return None
    require_locked(folder)
    names = sorted(map(str, dict(read_json(folder / LOCK)["files"])))  # type: ignore[call-overload]
    require_all_locked(folder, [folder / name for name in names])
    return names


def _table(rows: int) -> Callable[[Path], None]:
    latency = {"p50": 1.0, "p95": 2.0}
    row = {"name": "m", "engine": "e", "precision": "fp32", "size": 8, "latency_ms": latency}
    row |= {"mmacs": 1.0, "mmacs_paper": 1.0, "params_m": 1.0}
    return lambda folder: save_table(LatencyTable({"system": "toy"}, (row,) * rows), folder / "table.json")


def _tables(folder: Path) -> object:
    return load_table(folder / "table.json") if (folder / "table.json").exists() else None


def _with_key(folder: Path) -> None:
    from tests.sdk.signing import key_pair

    key_pair(folder, "maker")
    _create(folder)
    _add(0, 3)(folder)


def _sign(folder: Path) -> None:
    Gallery.open(_place(folder)).sign(folder / "maker.pem")


def _signed(folder: Path) -> object:
    try:
        Gallery.open(_place(folder), public_key=folder / "maker-public.pem")
        holds = True
    except GalleryError:
        holds = False
    return _gallery(folder), holds


def _bundle_with_key(name: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        from tests.sdk.signing import key_pair

        key_pair(folder, "maker")
        _bundle(name, 1)(folder)

    return prepare


def _sign_bundle(name: str) -> Callable[[Path], object]:
    return lambda folder: sign_bundle(folder / "new" / name, folder / "maker.pem")


def _signed_bundle(name: str) -> Callable[[Path], object]:
    def look(folder: Path) -> object:
        try:
            Bundle.open(folder / "new" / name, public_key=folder / "maker-public.pem")
            holds = True
        except CorruptFileError:
            holds = False
        return _held(name)(folder), holds

    return look
