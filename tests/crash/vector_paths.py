"""What moves vectors: imports and exports, what is kept beside rows, and the steps around an upgrade."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from compat_sdk import upgrade
from compat_sdk.errors import GalleryError
from compat_sdk.exchange import export_gallery, import_gallery, read_table
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.space import Embeddings
from compat_sdk.upgrade.embedding_again import embedded_again
from compat_sdk.upgrade.manifest import BEFORE, FOLDER, read_manifest
from tests.crash.write_path import WritePath
from tests.sdk.upgrade import toy


def vector_paths() -> Iterator[WritePath]:
    """All of them."""
    yield WritePath("gallery: import", _table, (_import,), _imported)
    yield WritePath("gallery: export", _with_payload, (_export("a.npz"), _export("b.npz")), _exported)
    yield WritePath("gallery: what is kept beside rows", _with_payload, (_add(3), _add(4), _remove, _add(3)), _beside)
    yield WritePath("upgrade: canary", _run, (_canary,), _canaries)
    yield WritePath("upgrade: verify's note", _run, (_verify, _cut_over), _verified, True)
    yield WritePath("upgrade: backfill, rollback", _over, (_backfill, _backfill, _rollback), _backfilled)
    yield WritePath("upgrade: follow", _old_received, (_follow,), _new_and_old)
    side = (_run_side, _cut_over_side, _rollback_side)
    yield WritePath("upgrade: side-information moves on", toy.make, side, _side)


def _rows(first: int, count: int) -> tuple[Embeddings, list[str]]:
    return Embeddings(toy.vectors(count, 16, first), toy.OLD), toy.names(first + count)[first:]


def _beside_of(ids: Sequence[str]) -> list[dict[str, object]]:
    return [{"price": id} for id in ids]


def _with_payload(folder: Path) -> None:
    vectors, ids = _rows(0, 3)
    made = Gallery.create(folder / "gallery", space=toy.OLD, dim=16)
    made.add(vectors, ids, payload=_beside_of(ids))


def _add(first: int) -> Callable[[Path], None]:
    def step(folder: Path) -> None:
        vectors, ids = _rows(first, 1)
        Gallery.open(folder / "gallery").add(vectors, ids, payload=_beside_of(ids))

    return step


def _remove(folder: Path) -> None:
    Gallery.open(folder / "gallery").remove(toy.names(4)[3:])


def _whole(place: Path) -> object:
    """All of a gallery, None where there is none."""
    if not (place / "gallery.json").exists():
        return None
    gallery = Gallery.open(place)
    if problems := gallery.verify():
        raise GalleryError(problems[0])
    return toy.contents(place), gallery.get(gallery.ids).payload


def _beside(folder: Path) -> object:
    return _whole(folder / "gallery")


def _table(folder: Path) -> None:
    _with_payload(folder)
    export_gallery(folder / "gallery", folder / "table.parquet")


def _import(folder: Path) -> None:
    import_gallery(folder / "table.parquet", folder / "new" / "gallery")


def _imported(folder: Path) -> object:
    return _whole(folder / "new" / "gallery")


def _export(name: str) -> Callable[[Path], object]:
    return lambda folder: export_gallery(folder / "gallery", folder / "new" / name)


def _exported(folder: Path) -> object:
    files = [folder / "new" / name for name in ("a.npz", "b.npz")]
    tables = [read_table(file) for file in files if file.exists()]
    return [(table.ids, table.vectors.tobytes(), table.space) for table in tables]


def _run(folder: Path) -> None:
    place, side = toy.make(folder, (12, 7))
    upgrade.run(place, toy.Toy(), side=side, shard_rows=5, workers=1)


def _canary(folder: Path) -> None:
    upgrade.canary(folder / "gallery", folder / "new" / "canary", share=0.5)


def _canaries(folder: Path) -> object:
    return _whole(folder / "new" / "canary"), _whole(folder / "gallery")


def _verify(folder: Path) -> None:
    upgrade.verify(folder / "gallery", toy.Toy(), at_least="worse")


def _cut_over(folder: Path) -> None:
    if Gallery.open(folder / "gallery").space == toy.OLD:
        upgrade.cutover(folder / "gallery", unverified=True)


def _verified(folder: Path) -> object:
    manifest = read_manifest(folder / "gallery" / FOLDER)
    return manifest and manifest.verified, _whole(folder / "gallery")


def _over(folder: Path) -> None:
    _run(folder)
    upgrade.cutover(folder / "gallery", unverified=True)


def _backfill(folder: Path) -> None:
    place = folder / "gallery"
    uncertainty = {id: float(row) for row, id in enumerate(toy.names(19))}

    def embed(ids: Sequence[str]) -> Embeddings:
        rows = toy.vectors(19, 24, 7)[[int(id.rpartition("-")[2]) for id in ids]]
        return Embeddings(np.ascontiguousarray(rows), toy.NEW)

    upgrade.embed_again(place, uncertainty, embed, budget=4)


def _rollback(folder: Path) -> None:
    upgrade.rollback(folder / "gallery")


def _backfilled(folder: Path) -> object:
    place = folder / "gallery"
    found = _whole(place)
    over = Gallery.open(place).space == toy.NEW
    return found, embedded_again(place / FOLDER, load_snapshot(place, True)) if over else set()


def _old_received(folder: Path) -> None:
    _over(folder)
    toy.add(folder / "gallery" / FOLDER / BEFORE, folder / "side", ["late-0", "late-1"])


def _follow(folder: Path) -> None:
    upgrade.follow(folder / "gallery", toy.Toy(), side=folder / "side")


def _new_and_old(folder: Path) -> object:
    return _whole(folder / "gallery"), _whole(folder / "gallery" / FOLDER / BEFORE)


def _run_side(folder: Path) -> None:
    upgrade.run(folder / "side", toy.Toy(), side=folder / "gallery", shard_rows=20, workers=1)


def _cut_over_side(folder: Path) -> None:
    upgrade.cutover(folder / "side", unverified=True)


def _rollback_side(folder: Path) -> None:
    upgrade.rollback(folder / "side")


def _side(folder: Path) -> object:
    place = folder / "side"
    manifest = read_manifest(place / FOLDER)
    done = 0 if manifest is None else len(list((place / FOLDER / "shards").glob("shard-*.json")))
    return _whole(place), manifest is not None and done == len(manifest.shards)
