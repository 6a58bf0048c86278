"""One bundle and one gallery that answer pictures, and follow the gallery as it changes on the disk."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_cli.serving.answers import Embedded, Found, Milliseconds
from compat_sdk.bundle import Trust
from compat_sdk.certificate import doubt
from compat_sdk.embedder import Embedder
from compat_sdk.errors import CompatError
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.state import STATE_FILE
from compat_sdk.images import to_pixels
from compat_sdk.space import Embeddings


class Searcher:
    """Answers pictures from a bundle and a gallery. Calls from several threads are independent.

    Attributes:
        embedder: What embeds.
        gallery: What is searched, as it was when it was last read.
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
        self._path = path
        self._index = index
        self._trust = trust
        self._signed = trust is not None and (trust.galleries or Gallery.is_signed(path))
        size = embedder.preprocessing.size
        self._first = embedder.embed_pixels(np.full((1, size, size, 3), 128, np.uint8))
        self._stamp = self._stamp_now()
        self.gallery = self._opened()

    @property
    def generation(self) -> int:
        """How many changes made the gallery that is searched."""
        return _generation(self.gallery)

    @property
    def doubt(self) -> str | None:
        """Why no evaluation shows that the model may search the gallery; None where one does."""
        return doubt(self.embedder.space, self.embedder.manifest.certificates, self.gallery.space)

    def search(self, picture: bytes, k: int) -> Found:
        """The ``k`` rows of the gallery that are most similar to a picture.

        Raises:
            ImageError: The picture cannot be read.
            VectorError: The model has no embedding for it.
        """
        gallery = self.gallery  # the same one to the end, whatever is read meanwhile
        embeddings, decode, embed = self._embed(picture)
        start = time.perf_counter()
        hits = gallery.search(embeddings, k, index=self._index)[0]
        return Found(hits, _generation(gallery), Milliseconds(decode, embed, _since(start)))

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
            stamp = self._stamp_now()
            if stamp == self._stamp:
                self.refused = None
                return False
            gallery = self._opened()
        except (CompatError, OSError) as error:
            self.refused = f"{type(error).__name__}: {error}"
            return False
        self.gallery, self._stamp, self.refused = gallery, stamp, None
        return True

    def _embed(self, picture: bytes) -> tuple[Embeddings, float, float]:
        start = time.perf_counter()
        pixels: NDArray[np.uint8] = to_pixels(picture, self.embedder.preprocessing)
        decode, start = _since(start), time.perf_counter()
        return self.embedder.embed_pixels(pixels[None]), decode, _since(start)

    def _opened(self) -> Gallery:
        gallery = Gallery.open(self._path, trust=self._trust if self._signed else None)
        gallery.search(self._first, 1, index=self._index)
        return gallery

    def _stamp_now(self) -> tuple[int, int, int]:
        """Changes whenever a writer replaces the gallery's state."""
        status = (self._path / STATE_FILE).stat()
        return status.st_ino, status.st_mtime_ns, status.st_size


def _generation(gallery: Gallery) -> int:
    found = gallery.info()["generation"]
    assert isinstance(found, int)
    return found


def _since(start: float) -> float:
    return round(1000 * (time.perf_counter() - start), 3)
