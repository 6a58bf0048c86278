"""The pictures of a report, small and inside of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_sdk.datasets import Dataset

_SIDE = 160  # pixels: twice what a page shows


def thumbnails(dataset: Dataset, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A ``data:`` URI of each query and gallery image that the rows name, by id; PNG where it is tiny, else JPEG.

    Ids are as a record holds them, see `compat_sdk.shown.as_unicode`.
    """
    from compat_sdk.images import open_image
    from compat_sdk.shown import as_unicode

    wanted = {row["id"] for row in rows}
    wanted |= {hit["id"] for row in rows for hit in (*row["hits"], *row.get("unchecked", ()))}
    found: dict[str, str] = {}
    for name in ("query", "gallery"):
        split = dataset.splits[name]
        for place, identity in enumerate(map(as_unicode, split.ids)):
            if identity in wanted and identity not in found:
                image = open_image(split.images[place], None)
                buffer, form = io.BytesIO(), "png"
                if max(image.size) > _SIDE:
                    image.thumbnail((_SIDE, _SIDE))
                    form = "jpeg"
                image.save(buffer, form, optimize=True)
                found[identity] = f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return found


def is_tiny(pictures: Mapping[str, str]) -> bool:
    """Whether all of them are so small that a page shows their pixels."""
    return all(each.startswith("data:image/png") for each in pictures.values())
