"""Opens a dataset, says what is wrong with it, and says what is in it.

A dataset is a folder (``train/ query/ gallery/``, a sub-folder per identity; ``val/`` optional), a CSV manifest
(``path,label,split``), a folder with such a manifest as ``compat-data.csv``, or a name from :data:`NAMES`. Identities
of ``query`` and ``gallery`` may be unseen in ``train`` (open set). Pictures without labels, all to train on, are a
folder of them, a ``.txt`` list, a CSV manifest with a column ``path`` alone, or tar files.
"""

from __future__ import annotations

from pathlib import Path

from compat_sdk.datasets import listing, shards
from compat_sdk.datasets.fashion_mnist import DEBIAN_FOLDER, fashion_mnist_files, open_fashion_mnist, open_sample
from compat_sdk.datasets.folder import open_folder
from compat_sdk.datasets.kanji import FILES as KANJI_FILES
from compat_sdk.datasets.kanji import is_kanji_folder, open_kanji
from compat_sdk.datasets.kanji_hard import DRAWS, UNSEEN_FILES, open_kanji_hard
from compat_sdk.datasets.lock import require_all_locked, require_locked, write_lock
from compat_sdk.datasets.manifest import MANIFEST, open_manifest
from compat_sdk.datasets.split import SPLIT_NAMES, Dataset, is_array
from compat_sdk.errors import DataError
from compat_sdk.images import TarMember
from compat_sdk.shown import shortened

NAMES = ("sample", "fashion-mnist", "kanji", "kanji-500", "kanji-500-query-faces", "kanji-500-seen", *DRAWS)


def open_dataset(data: str | Path, root: Path | None = None) -> Dataset:
    """Returns a dataset without decoding an image.

    Args:
        data: A name from :data:`NAMES`, a folder, a ``.csv`` manifest, a ``.txt`` list, or a ``.tar`` file. A name
            wins over a folder of the same name: write ``./sample`` for the folder. A folder that the kanji builder
            wrote opens as the kanji set.
        root: Where the files of a named dataset are: ``fashion-mnist`` (by default where Debian puts
            them), and the kanji sets; or where the relative paths of a CSV manifest begin.

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
    if data in NAMES:
        return root
    return _manifest_in(Path(data)) or Path(data)


def _manifest_in(folder: Path) -> Path | None:
    """The manifest of a folder that has one, and no pictures of its own in splits."""
    manifest = folder / MANIFEST
    return manifest if manifest.is_file() and not any((folder / name).is_dir() for name in SPLIT_NAMES) else None


def _files(dataset: Dataset, data: str | Path, place: Path) -> list[Path]:
    """Every file that was, or will be, read for it."""
    if data == "fashion-mnist":
        return fashion_mnist_files(place)
    found = [place] if place.is_file() else []
    for split in dataset.splits.values():
        if is_array(split.images):
            found += [place / name for name in (*KANJI_FILES, *UNSEEN_FILES) if (place / name).is_file()]
        else:
            found += dict.fromkeys(image.tar if isinstance(image, TarMember) else image for image in split.images)
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
    opens = {listing.SUFFIX: listing.open_listing, shards.SUFFIX: shards.open_shards}
    if path.is_file() and (open_file := opens.get(path.suffix.lower())):
        return open_file(path)
    names = ", ".join(name for name in NAMES if not DRAWS.get(name))  # of the draws, the first stands for all
    raise DataError(
        f"found no dataset {shortened(repr(str(data)))}; expected one of {names}, a folder with train/, "
        f"query/ and gallery/, a .csv manifest, or a folder, .txt list or .tar file of pictures without labels"
    )
