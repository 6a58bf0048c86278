"""One bundle and one gallery that answer pictures, and follow the gallery as it changes on the disk."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compat_cli.serving.answers import Embedded, Found, Milliseconds
from compat_sdk.bundle import Trust
from compat_sdk.certificate import doubt
from compat_sdk.embedder import Embedder
from compat_sdk.errors import CompatError
from compat_sdk.gallery import Gallery, Where
from compat_sdk.images import to_pixels
from compat_sdk.space import Embeddings


@dataclass(frozen=True)
class Present:
    """A gallery as it was when it was read, and what it said of itself then: to ask it takes time for each row."""

    gallery: Gallery
    info: dict[str, Any]


class Searcher:
    """Answers pictures from a bundle and a gallery. Calls from several threads are independent.

    Attributes:
        embedder: What embeds.
        present: What is searched.
        refused: Why the gallery that lies on the disk now is not the one that is searched; None where it is.
    """

    def __init__(self, embedder: Embedder, path: Path, *, index: str = "auto", trust: Trust | None = None) -> None:
        """Open a gallery and search it once, which reads its index and tells whether the model may.

        Args:
            embedder: Of the query model.
            path: Folder of the gallery.
            index: As `compat_sdk.gallery.Gallery.search` takes it.
            trust: Whose signature a gallery must have that is signed, or any gallery where it says so.

        Raises:
            IncompatibleSpaceError: The model does not declare that it may search the gallery.
            GalleryError: No gallery, a damaged one, or one that is not signed as is asked for.
            ConfigError: ``index`` is out of range.
            StateError: The index asked for is absent or stale.
        """
        self.embedder = embedder
        self.refused: str | None = None
        self._index = index
        size = embedder.preprocessing.size
        self._first = embedder.embed_pixels(np.full((1, size, size, 3), 128, np.uint8))
        signed = trust is not None and (trust.galleries or Gallery.is_signed(path))
        self.present = self._tried(Gallery.open(path, trust=trust if signed else None))

    @property
    def doubt(self) -> str | None:
        """Why no evaluation shows that the model may search the gallery; None where one does."""
        return doubt(self.embedder.space, self.embedder.manifest.certificates, self.present.gallery.space)

    def search(self, picture: bytes, k: int, labels: Sequence[str] = ()) -> Found:
        """The ``k`` rows of the gallery that are most similar to a picture.

        Args:
            picture: Bytes of an image file.
            k: Hits wanted, at least 1.
            labels: Find rows of these labels alone, by the exact scan; all rows where there are none.

        Raises:
            ImageError: The picture cannot be read.
            VectorError: The model has no embedding for it.
        """
        present = self.present  # the same one to the end, whatever is read meanwhile
        embeddings, decode, embed = self._embed(picture)
        start = time.perf_counter()
        where = Where(labels=labels) if labels else None
        index = "auto" if where is not None else self._index
        hits = present.gallery.search(embeddings, k, index=index, where=where)[0]
        return Found(hits, present.info["generation"], Milliseconds(decode, embed, _since(start)))

    def embed(self, picture: bytes) -> Embedded:
        """A picture's vector.

        Raises:
            ImageError: The picture cannot be read.
            VectorError: The model has no embedding for it.
        """
        found, decode, embed = self._embed(picture)
        return Embedded(found.vectors[0].tolist(), found.space, list(found.searches), Milliseconds(decode, embed))

    def refresh(self) -> bool:
        """Read the gallery again where it changed on the disk, and say whether another one is searched from now on.

        One that cannot be used, or that the model may not search, is not taken: the one before goes on answering, and
        ``refused`` says why.
        """
        try:
            gallery = copy.copy(self.present.gallery)  # which goes on answering until the other one has answered
            changed = gallery.reload()
            if changed:
                self.present = self._tried(gallery)
        except (CompatError, OSError) as error:
            self.refused = f"{type(error).__name__}: {error}"
            return False
        self.refused = None
        return changed

    def _embed(self, picture: bytes) -> tuple[Embeddings, float, float]:
        start = time.perf_counter()
        pixels = to_pixels(picture, self.embedder.preprocessing)
        decode, start = _since(start), time.perf_counter()
        return self.embedder.embed_pixels(pixels[None]), decode, _since(start)

    def _tried(self, gallery: Gallery) -> Present:
        gallery.search(self._first, 1, index=self._index)
        return Present(gallery, gallery.info())


def _since(start: float) -> float:
    return round(1000 * (time.perf_counter() - start), 3)
