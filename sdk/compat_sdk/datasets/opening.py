"""Opens a dataset, says what is wrong with it, and says what is in it.

A dataset is a folder (``train/ query/ gallery/``, a sub-folder per identity; ``val/`` optional), a CSV manifest
(``path,label,split``), a folder with such a manifest as ``compat-data.csv``, or a name from :data:`NAMES`. Identities
of ``query`` and ``gallery`` may be unseen in ``train`` (open set). Pictures without labels, all to train on, are a
folder of them, a ``.txt`` list, a CSV manifest with a column ``path`` alone, or tar files. Published sets open by name
from the folder that holds their files, see `compat_sdk.datasets.published`; faces also from a ``.bin`` file of pairs
or a ``.rec`` file of records.
"""

from __future__ import annotations

from pathlib import Path

from compat_sdk.datasets import listing, shards
from compat_sdk.datasets.fashion_mnist import DEBIAN_FOLDER, fashion_mnist_files, open_fashion_mnist, open_sample
from compat_sdk.datasets.folder import open_folder, split_folders
from compat_sdk.datasets.kanji import FILES as KANJI_FILES
from compat_sdk.datasets.kanji import is_kanji_folder, open_kanji
from compat_sdk.datasets.kanji_hard import DRAWS, UNSEEN_FILES, open_kanji_hard
from compat_sdk.datasets.lock import require_all_locked, require_locked, write_lock
from compat_sdk.datasets.manifest import MANIFEST, open_manifest
from compat_sdk.datasets.published import PUBLISHED, face_pairs, records
from compat_sdk.datasets.split import Dataset, is_array
from compat_sdk.errors import DataError
from compat_sdk.images.packed import file_of
from compat_sdk.nearest import nearest_names
from compat_sdk.shown import shortened

_OWN = ("sample", "fashion-mnist", "kanji", "kanji-500", "kanji-500-query-faces", "kanji-500-seen", *DRAWS)
NAMES = (*_OWN, *PUBLISHED)


def open_dataset(data: str | Path, root: Path | None = None) -> Dataset:
    """Returns a dataset without decoding an image.

    Args:
        data: A name from :data:`NAMES`, a folder, or a ``.csv``, ``.txt``, ``.tar``, ``.bin`` or ``.rec`` file. A name
            wins over a folder of the same name: write ``./sample`` for the folder. A folder that the kanji builder
            wrote opens as the kanji set.
        root: Where the files of a named dataset are: ``fashion-mnist`` (by default where Debian puts
            them), the kanji sets and published sets; or where the relative paths of a CSV manifest begin.

    Raises:
        DataError: There is no such dataset, it is malformed, ``root`` has no meaning for it, or it has a lock and is
            not what was locked, see `compat_sdk.datasets.lock`.
    """
    place = _place(data, root)
    if place is not None:
        require_locked(place)
    dataset = _open(data, root)
    if place is not None:
        require_all_locked(place, _files(dataset, data, place))
    return dataset


def lock_dataset(data: str | Path, root: Path | None = None) -> Path:
    """Writes the digests of all files of a dataset beside it; from then on it opens only as it is now.

    Args:
        data: As for `open_dataset`.
        root: As for `open_dataset`.

    Returns:
        The lock, ``compat-data.lock.json`` in the folder or ``NAME.csv.compat-data.lock.json`` beside the file.

    Raises:
        DataError: It cannot be opened or read, is the bundled sample, or the lock cannot be written.
        ConfigError: Something else has the lock's name.
    """
    place = _place(data, root)
    dataset = _open(data, root)
    if place is None:
        raise DataError(f"{data} is part of the installed package and has digests there; lock data of your own")
    return write_lock(place, _files(dataset, data, place))


def _place(data: str | Path, root: Path | None) -> Path | None:
    """The folder or the manifest that a dataset is read from; None for the bundled sample."""
    if data == "fashion-mnist":
        return root or DEBIAN_FOLDER
    if data in _OWN or _is_published(data, root):
        return root
    return _manifest_in(Path(data)) or Path(data)


def _is_published(data: str | Path, root: Path | None) -> bool:
    """Whether a published set is meant: all have a root, so that a folder of such a name, without one, is a folder."""
    return isinstance(data, str) and data in PUBLISHED and (root is not None or not Path(data).is_dir())


def _manifest_in(folder: Path) -> Path | None:
    """The manifest of a folder that has one, and no pictures of its own in splits."""
    manifest = folder / MANIFEST
    return manifest if manifest.is_file() and not split_folders(folder) else None


def _files(dataset: Dataset, data: str | Path, place: Path) -> list[Path]:
    """Every file that was, or will be, read for it."""
    if data == "fashion-mnist":
        return fashion_mnist_files(place)
    found = [*([place] if place.is_file() else []), *dataset.files]
    for split in dataset.splits.values():
        if is_array(split.images) and not dataset.files:
            found += [place / name for name in (*KANJI_FILES, *UNSEEN_FILES) if (place / name).is_file()]
        elif not is_array(split.images):
            found += dict.fromkeys(map(file_of, split.images))
    return found


def _open(data: str | Path, root: Path | None) -> Dataset:
    if data == "fashion-mnist":
        return open_fashion_mnist(root)
    if data == "kanji":
        return open_kanji(root)
    if data == "kanji-500":
        return open_kanji(root, identities=500)
    if data == "kanji-500-query-faces":
        return open_kanji(root, identities=500, query_faces_only=True)
    if data == "kanji-500-seen":
        return open_kanji(root, identities=500, seen=True)
    if isinstance(data, str) and data in DRAWS:
        return open_kanji_hard(root, DRAWS[data])
    if _is_published(data, root):
        if root is None or not root.is_dir():
            raise DataError(f"{data} needs the folder that holds its files, found {root or 'none'}; pass it as --root")
        return PUBLISHED[str(data)](root)
    path = Path(data)
    listed = _manifest_in(path) or (path if path.suffix.lower() == ".csv" and path.is_file() else None)
    if listed is not None and data != "sample":
        return open_manifest(listed, root)
    if root is not None:
        raise DataError(f"root was given as {root}, but {data} needs none; leave it out")
    if data == "sample":
        return open_sample()
    if path.is_dir():
        return open_kanji(path) if is_kanji_folder(path) else open_folder(path)
    opens = {
        listing.SUFFIX: listing.open_listing,
        shards.SUFFIX: shards.open_shards,
        face_pairs.SUFFIX: face_pairs.open_face_pairs,
        records.SUFFIX: records.open_records,
    }
    if path.is_file() and (open_file := opens.get(path.suffix.lower())):
        return open_file(path)
    meant = " or ".join(nearest_names(str(data), NAMES)) if len(str(data)) < 64 else ""
    raise DataError(
        f"found no dataset {shortened(repr(str(data)))}{f'; did you mean {meant}' if meant else ''}; expected a folder "
        f"with train/, query/ and gallery/, a .csv, .txt, .tar, .bin or .rec file, sample, or the name of a published "
        f"set with its folder as --root"
    )
