"""Embedding the rows of an upgraded gallery again, the most uncertain first, as far as a budget goes.

Source: Jaeckle et al., FastFill, ICLR 2023, https://arxiv.org/abs/2303.04766.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, CorruptFileError, DataError, GalleryError, StateError
from compat_sdk.files.atomic import sync_folder, write_atomic
from compat_sdk.files.plain import open_plain, open_to_append, read_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.given import own_vectors
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.store import read_state
from compat_sdk.gallery.vectors import as_stored, as_unit
from compat_sdk.progress import Progress
from compat_sdk.shown import shortened
from compat_sdk.space import Embeddings
from compat_sdk.upgrade.backfill import backfill_order
from compat_sdk.upgrade.manifest import AFTER, BACKFILLED, FOLDER, require_manifest
from compat_sdk.upgrade.prepare import upgrading
from compat_sdk.upgrade.rows import find_rows, selected_ids, stored_rows, unknown

_ROWS_PER_STEP, _ROWS_PER_BLOCK = 256, 4096


@dataclass(frozen=True)
class EmbeddedAgain:
    """What `embed_again` did.

    Attributes:
        rows: Rows embedded again now.
        before: Rows embedded again by earlier calls.
        left: Rows with an uncertainty that still hold what the transform gave.
        unknown: Transformed rows of the gallery that have no uncertainty, and stay as they are.
    """

    rows: int
    before: int
    left: int
    unknown: int


def embed_again(
    path: str | Path,
    uncertainty: Mapping[str, float],
    embed: Callable[[Sequence[str]], Embeddings],
    *,
    budget: int,
    progress: Progress | None = None,
) -> EmbeddedAgain:
    """Put the new model's own vectors in the place of transformed ones, in an upgraded gallery that is searched.

    Rows of both kinds lie in one space, so every state in between can be searched. What is done is noted beside the
    gallery: called again, it goes on with the next rows, and a rollback knows these rows for old ones. Rows that were
    removed and added again since the cutover, perhaps of another image, are left alone.

    Args:
        path: A gallery that was cut over.
        uncertainty: By id; larger where the transformed vector is worth less, such as a log-variance.
        embed: Gives the new model's vectors of the images of some ids.
        budget: Rows to embed at most.
        progress: Called with the stage, rows done, rows in all, and no figures.

    Raises:
        ConfigError: The budget is below 1.
        StateError: The gallery has not been cut over.
        VectorError: An uncertainty is not finite.
        IncompatibleSpaceError: The vectors are not in the gallery's space.
        GalleryError: The gallery or the note of earlier calls is damaged.
        GalleryLockedError: Another process is upgrading this gallery.
        CompatError: The disk is full or the folder cannot be written; rows that are done stay.
    """
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise ConfigError(f"budget is {budget!r}, expected a number of rows of at least 1")
    place = Path(path)
    folder = place / FOLDER
    with upgrading(place):
        manifest = require_manifest(place)
        if read_state(place).space != manifest.spaces.space:
            raise StateError(f"{place} has not been cut over; there is nothing to embed again")
        gallery, current = Gallery.open(place, verify=False), load_snapshot(place, False)
        done, after = embedded_again(folder, current), load_snapshot(folder / AFTER, False, names=False).state.segments
        changed = unknown(find_rows(current, folder / AFTER, after, manifest.spaces.dim))
        open_rows = list(selected_ids(current, [~mask for mask in changed]))
        known = [id for id in open_rows if id in uncertainty]
        order = backfill_order(np.array([uncertainty[id] for id in known], np.float64))
        chosen = [known[row] for row in order[:budget].tolist()]
        _mend_note(folder / BACKFILLED)
        for start in range(0, len(chosen), _ROWS_PER_STEP):
            ids = chosen[start : start + _ROWS_PER_STEP]
            vectors = embed(ids)
            stored = as_unit(as_stored(own_vectors(vectors, current.state.space, current.state.dim), manifest.dtype))
            with open_to_append(folder / BACKFILLED) as note:  # first: a rollback takes no such row for an added one
                note.write(json.dumps(dict(zip(ids, map(_digest, stored), strict=True))).encode("ascii") + b"\n")
                note.flush()
                os.fsync(note.fileno())
            sync_folder(folder)
            gallery.replace(vectors, ids)
            if progress is not None:
                progress("embed again", start + len(ids), len(chosen), {})
        return EmbeddedAgain(len(chosen), len(done), len(known) - len(chosen), len(open_rows) - len(known))


def embedded_again(folder: Path, current: Snapshot) -> set[str]:
    """The ids of rows that `embed_again` wrote, in an upgrade's folder, and that hold the same vector still.

    A row that was put there since under such an id, of another image, is none of them. A line of the note that was cut
    off by a kill does not count.

    Raises:
        GalleryError: The note or the gallery is damaged.
    """
    noted = _noted(folder / BACKFILLED)
    ids, found = [id for id in noted if id in current.row_of], set[str]()
    state = current.state
    stored = stored_rows(current.folder, state.segments, state.dim, state.dtype)
    for start in range(0, len(ids), _ROWS_PER_BLOCK):
        names = ids[start : start + _ROWS_PER_BLOCK]
        rows = stored.take(np.array([current.row_of[id] for id in names], np.int64))
        found |= {id for id, row in zip(names, rows, strict=True) if _digest(row) == noted[id]}
    return found


def _noted(path: Path) -> dict[str, str]:
    """The digest of the vector that was written last, by id."""
    try:
        lines = read_plain(path).split(b"\n")[:-1]
        found = [json.loads(line) for line in lines]
        if not all(isinstance(line, dict) and set(map(type, line.values())) <= {str} for line in found):
            raise ValueError("a line that is no object of digests")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise_if_refused(path, error)
        raise GalleryError(f"cannot read {path}: {error.strerror or error}") from error
    except (CorruptFileError, ValueError, RecursionError) as error:
        raise GalleryError(f"{path} is malformed ({shortened(str(error))}); restore it, or delete it") from error
    return {id: digest for line in found for id, digest in line.items()}


def _digest(row: NDArray[np.float32]) -> str:
    return hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest()


def _mend_note(path: Path) -> None:
    """Cut off what a killed call began to write: the next line must begin a line."""
    if path.exists() and (data := read_plain(path)) and not data.endswith(b"\n"):
        write_atomic(path, data[: data.rfind(b"\n") + 1])


def read_uncertainty(path: str | Path) -> dict[str, float]:
    """Read a CSV file with the columns ``id`` and ``uncertainty``.

    Raises:
        DataError: It is missing, no such file, or a row has no number or an id that another has.
    """
    advice = "expected a CSV file with the columns id,uncertainty and a number in every row"
    found: dict[str, float] = {}
    try:
        with open_plain(path) as raw:
            lines = (line.decode("utf-8-sig" if number == 0 else "utf-8") for number, line in enumerate(raw))
            for number, row in enumerate(csv.DictReader(lines), 2):
                id, value = row["id"], float(row["uncertainty"])
                if id in found:
                    raise DataError(f"{path} has the id {shortened(id)} twice, again in line {number}; {advice}")
                found[id] = value
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; {advice}") from error
    except (CorruptFileError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be used ({shortened(repr(error))}); {advice}") from error
    return found
