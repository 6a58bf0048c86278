"""From what the user points at - image files, folders, a dataset - to images with ids and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from compat_cli import extras
from compat_sdk.errors import ConfigError, DataError, ImageError, MissingExtraError
from compat_sdk.kinds import instead_of
from compat_sdk.spelling import composed, known_spellings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from compat_sdk.bundle import Trust
    from compat_sdk.certificate import Certificate
    from compat_sdk.images import Preprocessing
    from compat_sdk.space import Embeddings


class Model(Protocol):
    """What the commands need of a bundle or a run."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def space(self) -> str: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def certificates(self) -> tuple[Certificate, ...]: ...  # noqa: D102
    @property
    def preprocessing(self) -> Preprocessing: ...  # noqa: D102
    @property
    def stored(self) -> Callable[[Sequence[str]], Embeddings] | None: ...  # noqa: D102
    def embed(self, images: Sequence[Any] | NDArray[np.uint8]) -> Embeddings: ...  # noqa: D102


@dataclass(frozen=True)
class Pictures:
    """Images to embed.

    Attributes:
        images: Paths or ``uint8`` arrays.
        ids: One distinct id per image.
        labels: One label per image, empty where nothing is known.
        left_out: One line about files that were not taken for pictures; empty where there are none.
    """

    images: Sequence[Any]
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    left_out: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    def renamed(self, prefix: str) -> Pictures:
        """The same pictures, their ids with a prefix."""
        return replace(self, ids=tuple(prefix + name for name in self.ids))

    def spelled_as(self, ids: Sequence[str]) -> Pictures:
        """The same pictures, their ids spelled as a gallery does that holds them: accents composed or apart."""
        return replace(self, ids=known_spellings(self.ids, ids))

    def take(self, rows: Sequence[int]) -> Pictures:
        """The pictures at these positions."""
        return Pictures(
            [self.images[row] for row in rows],
            tuple(self.ids[row] for row in rows),
            tuple(self.labels[row] for row in rows),
        )


def from_folder(folder: Path) -> Pictures:
    """Every image below a folder: ids are relative paths, labels the name of the folder an image lies in.

    Raises:
        DataError: The folder does not exist, holds no image, or is not what a data lock says.
    """
    from compat_sdk.datasets.lock import require_pictures_locked
    from compat_sdk.images import FORMATS, find_pictures

    found = find_pictures(folder)
    if not found.paths:
        beside = f"; {found.note()}" if found.left_out else ""
        raise DataError(f"{folder} holds no images; expected files such as {', '.join(FORMATS)}{beside}")
    require_pictures_locked(folder, found.paths)
    ids = tuple(path.relative_to(folder).as_posix() for path in found.paths)
    labels = tuple(composed(path.parent.name) if path.parent != folder else "" for path in found.paths)
    return Pictures(found.paths, ids, labels, found.note())


def _from_list(place: Path) -> Pictures:
    """The pictures of a ``.txt`` list, of a CSV manifest that has no splits, or of tar files."""
    from compat_sdk.datasets import open_dataset, require_consistent
    from compat_sdk.images import FoundPictures

    found = open_dataset(place).split("train")
    require_consistent(found)
    return Pictures(list(found.images), found.ids, found.labels, FoundPictures((), found.left_out).note())


def _is_list(place: Path) -> bool:
    from compat_sdk.datasets.shards import is_shard

    return place.is_file() or (place.is_dir() and any(is_shard(path) for path in place.iterdir()))


def _from_dataset(data: str, root: Path | None, split: str) -> Pictures:
    """One split of a dataset.

    Raises:
        DataError: The dataset has no such split, or it is empty.
    """
    from compat_sdk.datasets import open_dataset, require_consistent
    from compat_sdk.images import FoundPictures

    dataset = open_dataset(data, root)
    if split not in dataset.splits:
        raise DataError(
            f"{data} has no split {split!r}; found {', '.join(dataset.splits)}. For a folder of photos without "
            f"splits use --images {data}"
        )
    found = dataset.splits[split]
    require_consistent(found)
    return Pictures(list(found.images), found.ids, found.labels, FoundPictures((), found.left_out).note())


def chosen(data: str | None, images: Path | None, root: Path | None, split: str) -> Pictures:
    """The pictures of ``--images DIR`` or of ``--data DATA``, exactly one of which must be given.

    DIR may also be a list of pictures, tar files, or a tar file, as `compat_sdk.datasets.open_dataset` takes them.

    Raises:
        ConfigError: Both or neither were given.
        DataError: They cannot be used.
    """
    if images is not None and data is None:
        return _from_list(images) if _is_list(images) else from_folder(images)
    if data is not None and images is None:
        return _from_dataset(data, root, split)
    raise ConfigError("expected exactly one of --data DATA and --images DIR")


def of_files(paths: Sequence[Path]) -> Pictures:
    """Files as pictures without labels, each under its path."""
    return Pictures(paths, tuple(map(str, paths)), ("",) * len(paths))


def expand(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Files as given, folders as all images below them, in order; and a line for each folder with other files in it.

    Raises:
        DataError: A path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    left_out: list[str] = []
    for path in paths:
        if path.is_dir():
            pictures = from_folder(path)
            found.extend(pictures.images)
            left_out += [f"{path}: {pictures.left_out}"] * bool(pictures.left_out)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist; expected an image or a folder of images")
    return found, left_out


def open_model(
    path: Path,
    *,
    threads: int | None = None,
    device: str = "auto",
    engine: str = "auto",
    trust: Trust | None = None,
) -> Model:
    """The embedder of a bundle; or of a RUN or another model, which needs the server side.

    Raises:
        BundleError: The bundle is damaged, or not signed as is asked for.
        ConfigError: The path is neither a bundle nor a run, or a run where a signature is asked for.
    """
    from compat_sdk.kinds import is_bundle

    if is_bundle(path):
        from compat_sdk.embedder import Embedder

        return _BundleModel(Embedder.load(path, engine=engine, threads=threads, trust=trust))
    from compat_sdk.bundle.trust import refuse_run

    refuse_run(path, trust)
    return _RunModel(path, device, threads)


def embed_in_chunks(
    model: Model, pictures: Pictures, *, chunk: int = 1024, skip_unreadable: bool = False
) -> Iterator[tuple[Pictures, Embeddings, list[ImageError]]]:
    """Embed part by part, so that each part can be stored before the next is begun.

    Args:
        model: Whose vectors are wanted.
        pictures: Images to embed.
        chunk: Images per part.
        skip_unreadable: Leave out images that cannot be read instead of stopping.

    Yields:
        The pictures of one part that were embedded, their vectors, and the errors of those left out.

    Raises:
        ImageError: An image cannot be read and none may be skipped.
    """
    from compat_sdk.images import decode_readable

    for start in range(0, len(pictures), chunk):
        part = pictures.take(range(start, min(start + chunk, len(pictures))))
        if model.stored is not None:
            yield part, model.stored(part.ids), []
            continue
        if not skip_unreadable:
            yield part, model.embed(part.images), []
            continue
        pixels, readable, errors = decode_readable(part.images, model.preprocessing)
        yield part.take(readable), model.embed(pixels), errors


def _require_torch(path: Path) -> None:
    """Refuse a RUN where torch is not installed, as on a device: it wants a bundle."""
    try:
        extras.require("train")
    except MissingExtraError as error:
        if (other := instead_of("bundle", path)) is not None:
            raise ConfigError(f"{other}; or use it as it is where torch is installed") from error
        raise


class _BundleModel:
    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.name: str = embedder.manifest.name
        self.space: str = embedder.space
        self.dim: int = embedder.dim
        self.certificates: tuple[Certificate, ...] = embedder.manifest.certificates
        self.preprocessing: Preprocessing = embedder.preprocessing
        self.stored = None

    def embed(self, images: Sequence[Any] | NDArray[np.uint8]) -> Embeddings:
        found: Embeddings = self._embedder.embed(images)
        return found


class _RunModel:
    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        _require_torch(path)
        from compat_train.evaluation.embedding_model import open_model as open_run

        self._model = open_run(path, device=device, threads=threads)
        self._threads = threads
        self.name: str = self._model.name
        self.space: str = self._model.space
        self.dim: int = self._model.dim
        self.certificates: tuple[Certificate, ...] = self._model.certificates
        self.preprocessing: Preprocessing = self._model.preprocessing
        self.stored = None if self._model.stored is None else self._of_ids

    def _of_ids(self, ids: Sequence[str]) -> Embeddings:
        from compat_sdk.space import Embeddings

        assert self._model.stored is not None
        return Embeddings(self._model.stored(ids), self._model.space, self._model.searches)

    def embed(self, images: Sequence[Any] | NDArray[np.uint8]) -> Embeddings:
        from compat_sdk.images import decode_many
        from compat_sdk.space import Embeddings

        pixels = decode_many(images, self._model.preprocessing, self._threads)
        return Embeddings(self._model.embed(pixels), self._model.space, self._model.searches)
