"""faiss and hnswlib, in a process of their own with limits: neither their readers nor their OpenMP enter this one.

What goes in and comes out are ``.npy`` files in a temporary folder. A reader that dies of a damaged file, or asks for
all memory, ends with its process.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from compat_sdk.arrays import new_array
from compat_sdk.errors import CorruptFileError, MissingExtraError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened
from compat_sdk.workers import Workers

_ROWS_PER_BLOCK = 65536
_BASE_MEMORY = 4 << 30  # an engine and its threads reserve much that they never touch
_CPU_SECONDS = 3600
VECTORS, LABELS = "vectors.npy", "labels.npy"


@contextmanager
def faiss_vectors(path: Path) -> Iterator[tuple[Path, str]]:
    """Vectors and ids of a faiss index file, as two ``.npy`` files in a folder that is gone at the end.

    Taken are indexes that hold the vectors themselves: Flat, HNSW over Flat, and IVF Flat, each with ids of its own
    (IDMap) or without.

    Args:
        path: The index file.

    Yields:
        The folder with `VECTORS` and `LABELS`, and ``"dot"`` or ``"l2"``.

    Raises:
        CorruptFileError: It is no index that faiss reads, its reader died of it, or it holds codes and no vectors.
        MissingExtraError: faiss is not installed.
    """
    try:
        with open_plain(path) as file:
            size = file.seek(0, 2)
    except OSError as error:
        raise_if_refused(path, error)
        raise CorruptFileError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    with tempfile.TemporaryDirectory() as name:
        said = _alone(_read_faiss, 3 * size, path, str(path), name)
        yield Path(name), said


def write_engine_file(kind: str, vectors: Path, labels: Path, target: Path, dim: int, rows: int) -> None:
    """Make an index file of faiss (``"faiss"``, exact) or of hnswlib (``"hnswlib"``, a graph), both by inner product.

    Args:
        kind: Which.
        vectors: float32 ``[rows, dim]`` in an ``.npy`` file.
        labels: int64 ``[rows]`` in an ``.npy`` file; not negative.
        target: The file to write.
        dim: Numbers per vector.
        rows: How many.

    Raises:
        CorruptFileError: The engine failed.
        MissingExtraError: The engine is not installed.
    """
    write = {"faiss": _write_faiss, "hnswlib": _write_hnswlib}[kind]
    _alone(write, 16 * dim * rows + 1024 * rows, target, str(vectors), str(labels), str(target))


def _alone(function: Callable[..., str], memory: int, path: Path, *arguments: str) -> str:
    """What a function of this module says, called in a process with limits."""
    with Workers(1, _limit, _BASE_MEMORY + memory) as workers:
        try:
            return workers.submit(function, *arguments).result()
        except ImportError as error:
            package = error.name or "faiss"
            raise MissingExtraError(package, package) from error
        except BrokenProcessPool as error:
            raise CorruptFileError(
                f"the process that worked on {path} died, as native readers do of damaged files; compare its digest "
                f"with its maker's, or make it again"
            ) from error
        except ValueError as error:
            raise CorruptFileError(f"{path} cannot be used: {shortened(str(error), 200)}") from error
        except (RuntimeError, MemoryError) as error:  # what C++ threw
            said = shortened(" ".join(str(error).split()), 140)
            raise CorruptFileError(
                f"{path} cannot be read or made ({said}); compare its digest with its maker's, or make it again"
            ) from error


def _limit(memory: int) -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _read_faiss(path: str, folder: str) -> str:
    import faiss

    index = whole = faiss.read_index(path)  # it owns what it holds, as long as it is here
    ids = None
    if isinstance(whole, faiss.IndexIDMap):  # IndexIDMap2 is one
        ids = faiss.vector_to_array(whole.id_map)
        index = faiss.downcast_index(whole.index)
    metric = index.metric_type
    if isinstance(index, faiss.IndexHNSWFlat):
        index = faiss.downcast_index(index.storage)
    distances = {faiss.METRIC_INNER_PRODUCT: "dot", faiss.METRIC_L2: "l2"}
    if metric not in distances:
        raise ValueError(f"it compares by metric {metric}, neither inner product nor L2")
    if isinstance(index, faiss.IndexIVFFlat):
        _save_lists(faiss, index, ids, Path(folder))
    elif isinstance(index, faiss.IndexFlat):
        _save_flat(index, ids, Path(folder))
    else:
        raise ValueError(
            f"it is {type(index).__name__}, which holds codes and not the vectors; expected Flat, HNSW Flat or IVF Flat"
        )
    del whole
    return distances[metric]


def _save_flat(index: Any, ids: Any, folder: Path) -> None:
    out = _new(folder / VECTORS, index.ntotal, index.d)
    for start in range(0, index.ntotal, _ROWS_PER_BLOCK):
        count = min(_ROWS_PER_BLOCK, index.ntotal - start)
        out[start : start + count] = index.reconstruct_n(start, count)
    _save_labels(folder, np.arange(index.ntotal) if ids is None else ids, index.ntotal)


def _save_lists(faiss: Any, index: Any, ids: Any, folder: Path) -> None:
    lists = index.invlists
    out, labels, start = _new(folder / VECTORS, index.ntotal, index.d), np.empty(index.ntotal, np.int64), 0
    for number in range(index.nlist):
        count = lists.list_size(number)
        if not count:
            continue
        if start + count > index.ntotal:
            raise ValueError("its lists hold more vectors than it says")
        codes = faiss.rev_swig_ptr(lists.get_codes(number), count * index.code_size)
        out[start : start + count] = codes.view(np.float32).reshape(count, index.d)
        labels[start : start + count] = faiss.rev_swig_ptr(lists.get_ids(number), count)
        start += count
    if start != index.ntotal:
        raise ValueError(f"its lists hold {start} vectors, but it says {index.ntotal}")
    if ids is not None:
        if start and (labels.min() < 0 or labels.max() >= len(ids)):
            raise ValueError("its ids number rows that it does not have")
        labels = ids[labels]
    _save_labels(folder, labels, index.ntotal)


def _new(path: Path, rows: int, dim: int) -> Any:
    if rows < 1 or dim < 1:
        raise ValueError(f"it holds {rows} vectors of dimension {dim}")
    return new_array(path, (rows, dim))


def _save_labels(folder: Path, labels: Any, rows: int) -> None:
    if len(labels) != rows:
        raise ValueError(f"it has {len(labels)} ids for {rows} vectors")
    np.save(folder / LABELS, np.asarray(labels, np.int64))


def _write_faiss(vectors: str, labels: str, target: str) -> str:
    import faiss

    rows, ids = np.load(vectors, mmap_mode="r"), np.load(labels)
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(rows.shape[1]))
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        index.add_with_ids(np.ascontiguousarray(rows[block]), ids[block])
    faiss.write_index(index, target)
    return ""


def _write_hnswlib(vectors: str, labels: str, target: str) -> str:
    import hnswlib

    rows, ids = np.load(vectors, mmap_mode="r"), np.load(labels)
    index = hnswlib.Index("ip", rows.shape[1])
    index.init_index(len(rows), M=16, ef_construction=200)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        index.add_items(np.ascontiguousarray(rows[block]), ids[block])
    index.save_index(target)
    if Path(target).stat().st_size != index.index_file_size():  # hnswlib does not look whether its writes succeed
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
    return ""
