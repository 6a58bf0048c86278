"""What a gallery in a store refuses, since the store keeps its own files."""

from __future__ import annotations

from typing import NoReturn

from compat_sdk.errors import ConfigError
from compat_sdk.gallery.gallery import Gallery
from compat_sdk.gallery.release import Release


class WithoutFiles(Gallery):
    """A gallery whose files nobody here may touch; every method of this class raises ConfigError."""

    _name: str

    def sign(self, *_: object, **__: object) -> Release:
        """Refused: a collection is no file that could be signed."""
        self._no_files("signed")

    def compact(self, *, timeout: float = 0.0) -> None:
        """Refused: the store keeps its own files."""
        self._no_files("compacted")

    def build_index(
        self, kind: str = "usearch", *, recall: float | None = None, timeout: float = 0.0, **options: int
    ) -> None:
        """Refused: the store keeps an index of its own."""
        self._no_files("indexed")

    def repair(self) -> list[str]:
        """Refused: the store keeps an index of its own."""
        self._no_files("repaired")

    def search_rows(self, *_: object, **__: object) -> NoReturn:
        """Refused: the rows of a collection have no numbers."""
        self._no_files("searched by row numbers")

    def _no_files(self, done: str) -> NoReturn:
        raise ConfigError(f"{self._name} is a collection, whose files Qdrant keeps: it cannot be {done} from here")
