"""Training faces in a ``.rec`` file of records, as MS1M and Glint360K are distributed; no other library is needed.

A record is a magic number, its length with bits that say whether it is a part, and its bytes up to a multiple of
four. Each begins with a header: how many labels follow it, a label, and two numbers. Record 0 tells where the images
end; behind them stand records of people, without pictures. The ``.idx`` file gives the place of every record.

Source: the RecordIO format of dmlc-core, and the image records of Apache MXNet.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.published.places import bad_line, lines_of
from compat_sdk.datasets.split import Dataset, Split
from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images.packed import PackedPicture
from compat_sdk.shown import shortened

SUFFIX = ".rec"
_MAGIC = 0xCED7230A
_FRAME, _HEADER = struct.Struct("<II"), struct.Struct("<IfQQ")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_MOST_PARTS = 64


class _Records(Sequence[PackedPicture]):
    """Pictures of one file, made when they are asked for: six million take 100 MB instead of gigabytes."""

    def __init__(self, file: Path, places: NDArray[np.int64], more: dict[int, tuple[tuple[int, int], ...]]) -> None:
        self._file, self._places, self._more = file, places, more

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, row: int) -> PackedPicture: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[PackedPicture, ...]: ...
    def __getitem__(self, row: int | slice) -> PackedPicture | tuple[PackedPicture, ...]:
        if isinstance(row, slice):
            return tuple(self[each] for each in range(*row.indices(len(self))))
        key, offset, size = self._places[row].tolist()
        return PackedPicture(self._file, f"{key:08d}", offset, size, self._more.get(key, ()))


def open_records(path: Path) -> Dataset:
    """All pictures of a ``.rec`` file with the ``.idx`` file beside it, to train on; a label is its person's number.

    Raises:
        DataError: A file is missing or damaged, the two do not fit together, or a record has no person.
    """
    index = path.with_suffix(".idx")
    places = _places(index)
    images: list[tuple[int, int, int]] = []
    more: dict[int, tuple[tuple[int, int], ...]] = {}
    labels: list[str] = []
    names: dict[int, str] = {}
    last = None
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            for key, place in places:
                if last is not None and key >= last:
                    break
                pieces = _pieces(path, file, place, size, key)
                values, pieces = _labels(path, file, pieces, key)
                if key == 0 and sum(piece[1] for piece in pieces) == 0:
                    last = int(values[0]) if values and 0 < values[0] < 1 << 40 else None
                    continue
                if not values or not (0 <= values[0] < 1 << 24 and float(values[0]).is_integer()):
                    raise DataError(f"{path}: record {key} has no person's number; download it again")
                person = int(values[0])
                images.append((key, *pieces[0]))
                labels.append(names.setdefault(person, str(person)))
                if len(pieces) > 1:
                    more[key] = tuple(pieces[1:])
    except (OSError, CorruptFileError) as error:
        if isinstance(error, OSError):
            raise_if_refused(path, error)
        raise DataError(f"cannot read {path}: {shortened(str(error))}; download it again") from error
    if not images:
        raise DataError(f"{path} has no pictures; download it again, with {index.name}")
    pictures = _Records(path, np.array(images, np.int64), more)
    split = Split("train", pictures, tuple(labels), tuple(f"{key:08d}" for key, _, _ in images))
    return Dataset(path.stem, {"train": split}, f"faces to train on, {len(names)} people", files=(path, index))


def _places(index: Path) -> list[tuple[int, int]]:
    """Key and place of every record, by key."""
    found: dict[int, int] = {}
    for number, line in lines_of(index):
        words = line.split()
        known = len(words) == 2 and all(word.isascii() and word.isdigit() and len(word) < 16 for word in words)
        if not known or int(words[0]) in found:
            raise bad_line(index, number, line, "a new key and a place, such as 1 128")
        found[int(words[0])] = int(words[1])
    if not found:
        raise DataError(f"{index} lists no records; download it again")
    return sorted(found.items())


def _read(file: io.BufferedReader, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _pieces(path: Path, file: io.BufferedReader, place: int, size: int, key: int) -> list[tuple[int, int]]:
    """Offset and bytes of a record's pieces. Where it was divided the magic number stood, and is a piece of its own."""
    pieces: list[tuple[int, int]] = []
    for _ in range(_MOST_PARTS):
        frame = _read(file, place, _FRAME.size)
        if len(frame) == _FRAME.size:
            magic, word = _FRAME.unpack(frame)
            part, length = word >> 29, word & ((1 << 29) - 1)
            expected = (_WHOLE, _FIRST) if not pieces else (_MIDDLE, _LAST)
            if magic == _MAGIC and part in expected and place + _FRAME.size + length <= size:
                if pieces:
                    pieces.append((place, 4))
                pieces.append((place + _FRAME.size, length))
                place += _FRAME.size + (length + 3) // 4 * 4
                if part in (_WHOLE, _LAST):
                    return pieces
                continue
        break
    raise DataError(
        f"{path}: record {key} at byte {place} is damaged or cut off; download it again, with its .idx file"
    )


def _labels(
    path: Path, file: io.BufferedReader, pieces: list[tuple[int, int]], key: int
) -> tuple[tuple[float, ...], list[tuple[int, int]]]:
    """The labels of a record, and the pieces that are left after its header."""
    offset, length = pieces[0]
    head = _read(file, offset, min(_HEADER.size, length))
    if len(head) == _HEADER.size:
        count, label, _, _ = _HEADER.unpack(head)
        taken = _HEADER.size + 4 * count
        if taken <= length:
            some = min(count, 2)
            values = struct.unpack(f"<{some}f", _read(file, offset + _HEADER.size, 4 * some)) if count else (label,)
            return values, [(offset + taken, length - taken), *pieces[1:]]
    raise DataError(f"{path}: record {key} has a header that is cut off; download it again")
