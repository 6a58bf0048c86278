"""Query pictures that stand in the gallery too: each would find itself, which says nothing about a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compat_sdk.datasets.content import picture_sha256
from compat_sdk.datasets.split import Split
from compat_sdk.errors import ImageError
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.images import PictureFile
from compat_sdk.images.packed import file_of, part_of, stamp_of


def own_rows(query: Split, gallery: Split) -> tuple[NDArray[np.int64], int]:
    """Find each query's own picture in the gallery: the same file, or another of the same bytes.

    Files are read only where one of the other side has the same size.

    Returns:
        The gallery row of each query's own picture, -1 for none; and how many queries have further copies there.

    Raises:
        SystemRefusedError: The system refused to read a picture, so that nobody knows whether it is one.
    """
    queries, rows = list(_keys(query.images)), list(_keys(gallery.images))
    shared = {size for size, _ in queries} & {size for size, _ in rows}
    where: dict[str, list[int]] = {}
    for row, (size, image) in enumerate(rows):
        if size in shared and (digest := _digest(image)) is not None:
            where.setdefault(digest, []).append(row)
    own = np.full(len(query), -1, np.int64)
    copies = 0
    for row, (size, image) in enumerate(queries):
        found = where.get(_digest(image) or "", []) if size in shared else []
        if found:
            same = [other for other in found if _is_same_file(image, rows[other][1])]
            own[row] = (same or found)[0]
            copies += len(found) > 1
    return own, copies


def _keys(images: Iterable[Any]) -> Iterable[tuple[object, Any]]:
    """Each image with what copies of it share, that costs nothing to know: a file's size, an array's shape."""
    for image in images:
        if isinstance(image, PictureFile):
            try:
                yield stamp_of(image)[0], image
            except OSError:  # whoever decodes it says so
                yield None, image
        else:
            yield image.shape, image


def _digest(image: Any) -> str | None:
    try:
        return picture_sha256(image)
    except ImageError:  # whoever decodes it says so
        return None
    except OSError as error:
        raise_if_refused(image, error)
        return None  # whoever decodes it says so


def _is_same_file(one: Any, other: Any) -> bool:
    if not isinstance(one, PictureFile) or not isinstance(other, PictureFile):
        return False
    return part_of(one) == part_of(other) and file_of(one).resolve() == file_of(other).resolve()
