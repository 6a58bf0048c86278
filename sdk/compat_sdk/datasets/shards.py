"""Pictures in tar files, in the layout of WebDataset: ``KEY.jpg``, and beside it ``KEY.cls`` where it has a label.

Nothing is unpacked. The headers are read once, and each picture later by its place in the tar file.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from compat_sdk.datasets.split import Dataset, Split, identity_name
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images import PackedPicture
from compat_sdk.images.finding import HIDDEN, is_hidden, is_picture
from compat_sdk.litter import is_litter
from compat_sdk.shown import shortened
from compat_sdk.spelling import composed

SUFFIX = ".tar"
_LABEL, _LONGEST = "cls", 1024  # bytes of a label
_LINK, _BESIDE = "link or device", ("json", "txt", _LABEL)


def open_shards(place: Path) -> Dataset:
    """Returns the dataset of a tar file, or of all tar files in a folder, in the order of their names.

    All pictures are to train on. Their ids are the members' names, after the tar file's where there may be several.
    A text ``KEY.cls`` is the identity of ``KEY.jpg``; the key ends at the first dot, as WebDataset has it. Links,
    hidden members and what is no picture are left out and counted.

    Raises:
        DataError: A tar file is compressed, damaged or cannot be read; a label is not text, or only some pictures
            have one; or there is no picture.
    """
    tars = [place] if place.is_file() else sorted(path for path in place.iterdir() if is_shard(path))
    images: list[PackedPicture] = []
    labels: list[str] = []
    left_out: Counter[str] = Counter()
    for tar in tars:
        pictures, of_key = _read(tar, left_out)
        images += pictures
        labels += [of_key.get(_key(picture.name), "") for picture in pictures]
    if not images:
        others = ", ".join(f"{count} {name}" for name, count in sorted(left_out.items())) or "nothing"
        raise DataError(f"{place} holds no pictures; found {shortened(others)}, expected members such as 000001.jpg")
    ids = tuple(image.name if place.is_file() else f"{image.file.name}/{image.name}" for image in images)
    split = Split("train", tuple(images), tuple(labels), ids, left_out=dict(left_out))
    kind = "images" if split.labelled else "images without labels"
    return Dataset(place.stem if place.is_file() else place.resolve().name, {"train": split}, f"{kind} in tar files")


def is_shard(path: Path) -> bool:
    """Whether a file's name says that it is a tar file without compression."""
    return path.suffix.lower() == SUFFIX and not is_hidden(path.name) and not is_litter(path.name) and path.is_file()


def _read(tar: Path, left_out: Counter[str]) -> tuple[list[PackedPicture], dict[str, str]]:
    """The pictures of one tar file, and the label of each key that has one."""
    pictures: list[PackedPicture] = []
    labels: list[PackedPicture] = []
    try:
        for member in _members(tar):
            path = PurePosixPath(member.name)
            if member.isdir() or is_litter(path.name):
                continue
            if not member.isreg() or member.issparse():
                left_out[_LINK] += 1
            elif any(is_hidden(part) for part in path.parts if part not in (".", "..")):
                left_out[HIDDEN] += 1
            elif is_picture(path.name):
                pictures.append(PackedPicture(tar, member.name, member.offset_data, member.size))
            elif path.name.partition(".")[2] == _LABEL:
                labels.append(PackedPicture(tar, member.name, member.offset_data, member.size))
            elif path.name.partition(".")[2] not in _BESIDE:
                left_out[path.suffix.lower() or "without an ending"] += 1
        return pictures, {_key(label.name): _label(label) for label in labels}
    except OSError as error:
        raise_if_refused(tar, error)
        raise DataError(f"cannot read {tar}: {error.strerror or error}; restore it from a copy") from error
    except CorruptFileError as error:
        raise DataError(str(error)) from error


def _members(tar: Path) -> Iterator[tarfile.TarInfo]:
    """Headers in their order, each after the one before it and within the file, whatever the file says.

    Raises:
        DataError: It is no sound tar file, or is compressed.
    """
    size, place = tar.stat().st_size, -1
    try:
        with open_plain(tar) as file, tarfile.open(fileobj=file, mode="r:") as opened:
            while (member := opened.next()) is not None:
                if member.offset <= place or member.size < 0 or member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"the member {member.name!r} reaches past the end, or backwards")
                place = member.offset
                opened.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
                yield member
            file.seek(opened.offset)
            last = file.read(tarfile.BLOCKSIZE)  # where headers end, tarfile says nothing of a damaged one
            if len(last) < tarfile.BLOCKSIZE or last.strip(b"\0"):
                raise tarfile.ReadError(f"it is cut off, or has a damaged header, at byte {opened.offset:,}")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError, MemoryError, EOFError) as error:
        raise DataError(
            f"{tar} is no tar file, is damaged or is compressed ({shortened(str(error), 120)}); expected one without "
            f"compression: unpack .tar.gz by gunzip, or restore it from a copy"
        ) from error


def _key(name: str) -> str:
    folder, slash, last = composed(name).rpartition("/")
    return folder + slash + last.partition(".")[0]


def _label(member: PackedPicture) -> str:
    if member.size > _LONGEST:
        raise DataError(f"{member} has {member.size:,} bytes; expected a label of at most {_LONGEST:,} bytes")
    try:
        found = member.read().decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{member} is no UTF-8 text; expected the label of a picture") from error
    if not found or "\0" in found:
        raise DataError(f"{member} is empty or no text; expected the label of a picture")
    return identity_name(found, member)
