"""A gallery that is made of rows at once: it is whole, or it is not there.

Its files are written under the number 0, which no other writer gives, and its state comes last. So a process that dies
on the way leaves files that are no gallery, and the next call knows them from those of a gallery that lost its state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from compat_sdk.errors import CompatError, ConfigError, GalleryLockedError
from compat_sdk.files.atomic import make_folder, replacing
from compat_sdk.gallery.files import Dtype, Segment, new_files
from compat_sdk.gallery.lock import LOCK_FILE, write_lock
from compat_sdk.gallery.payload import PAYLOAD_FILE, payload_lines
from compat_sdk.gallery.state import STATE_FILE, State
from compat_sdk.gallery.store import sweep, write_state
from compat_sdk.gallery.tables import write_table
from compat_sdk.gallery.vectors import write_vectors
from compat_sdk.outputs import Layout, require_own
from compat_sdk.stores import Rows

_NUMBER = 0
_LEFT: Layout = {
    r"gallery\.(lock|json)|payload\.jsonl": None,
    rf"(vectors|rows)-{_NUMBER:08d}-[0-9a-f]{{16}}\.(npy|jsonl?)": None,
}
"""What a killed call leaves; the state among it only as a temporary file."""


def require_unfilled(folder: Path, what: str) -> None:
    """Refuse a folder in which no gallery can be made.

    Args:
        folder: Absent, empty, or what a killed call left.
        what: Who writes, for the error.

    Raises:
        ConfigError: It holds a gallery, or anything else.
    """
    if (folder / STATE_FILE).exists():
        raise ConfigError(f"{folder} is a gallery already; choose another folder for the new one")
    require_own(folder, _LEFT, what)


class Filling:
    """A gallery on its way: segments are added to it, in their order."""

    def __init__(self, folder: Path, dim: int, dtype: Dtype, payload: BinaryIO) -> None:
        """Write nothing yet; see `filling`."""
        self._folder, self._dim, self._dtype, self._payload = folder, dim, dtype, payload
        self.segments: list[Segment] = []
        self.has_payload = False

    def add(self, rows: Iterator[Rows], count: int) -> None:
        """Write a segment.

        Args:
            rows: Its rows in pieces; unit vectors, under ids that no other row has.
            count: How many they are in all.
        """
        names: list[tuple[list[str], list[str]]] = []

        def vectors() -> Iterator[NDArray[Any]]:
            for piece in rows:
                names.append((list(piece.ids), list(piece.labels)))
                if any(piece.payload):
                    self.has_payload = True
                    self._payload.writelines(payload_lines(piece.ids, piece.payload))
                yield piece.vectors

        file = write_vectors(self._folder, _NUMBER, vectors(), (count, self._dim), self._dtype)
        self.segments.append(Segment(count, file, write_table(self._folder, _NUMBER, names, count)))


@contextmanager
def filling(
    folder: Path, what: str, *, space: str, dim: int, model: Mapping[str, object], dtype: Dtype
) -> Iterator[Filling]:
    """Make a gallery of what is added inside; where the block fails, nothing is left.

    Args:
        folder: See `require_unfilled`.
        what: Who writes, for errors.
        space: Embedding space of the vectors.
        dim: Numbers per vector.
        model: What the gallery remembers of where it is from.
        dtype: Of its files.

    Raises:
        ConfigError: The folder holds something else.
        GalleryLockedError: Another process writes there.
        CompatError: The disk is full or the folder cannot be written.
    """
    require_unfilled(folder, what)
    new = not folder.exists()
    try:
        make_folder(folder)
        with write_lock(folder), new_files() as written:
            require_unfilled(folder, what)  # it may have been filled meanwhile
            try:
                _clear(folder, State(space, dim, dict(model), _NUMBER, 0, dtype=dtype))
                with replacing(folder / PAYLOAD_FILE) as payload:
                    filled = Filling(folder, dim, dtype, payload)
                    yield filled
                if not filled.has_payload:
                    (folder / PAYLOAD_FILE).unlink()
                write_state(folder, State(space, dim, dict(model), 1, 1, tuple(filled.segments), None, dtype), None)
            except BaseException:
                for path in (*written, folder / PAYLOAD_FILE):
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
                raise
    except BaseException as error:
        if new and not isinstance(error, GalleryLockedError):  # whoever holds the lock needs the file
            with suppress(OSError):
                (folder / LOCK_FILE).unlink(missing_ok=True)
                folder.rmdir()
        if isinstance(error, OSError):
            raise CompatError(
                f"cannot write gallery {folder}: {error.strerror or error}; nothing is left there; make room or "
                f"set permissions, and try again"
            ) from error
        raise


def _clear(folder: Path, state: State) -> None:
    """Delete what a killed call left."""
    sweep(folder, state)
    for path in (folder / PAYLOAD_FILE, *folder.glob(f".{PAYLOAD_FILE}.*.tmp")):
        path.unlink(missing_ok=True)
