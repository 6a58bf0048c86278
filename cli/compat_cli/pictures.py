"""From what the user points at - image files, folders, a dataset - to images with ids and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from compat_cli import extras
from compat_sdk.errors import ConfigError, DataError, ImageError

if TYPE_CHECKING:
    from compat_sdk.space import Embeddings

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jfif"}
)


class Model(Protocol):
    """What the commands need of a bundle or a run."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def space(self) -> str: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    def embed(self, images: Sequence[Any]) -> Embeddings: ...  # noqa: D102


@dataclass(frozen=True)
class Pictures:
    """Images to embed.

    Attributes:
        images: Paths or ``uint8`` arrays.
        ids: One distinct id per image.
        labels: One label per image, empty where nothing is known.
    """

    images: Sequence[Any]
    ids: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

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
        DataError: The folder does not exist or holds no image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected a folder of images")
    paths = sorted(path for path in folder.rglob("*") if _is_picture(path))
    if not paths:
        raise DataError(f"{folder} holds no images; expected files such as {', '.join(sorted(SUFFIXES)[:6])}")
    ids = tuple(path.relative_to(folder).as_posix() for path in paths)
    labels = tuple(path.parent.name if path.parent != folder else "" for path in paths)
    return Pictures(paths, ids, labels)


def _from_dataset(data: str, root: Path | None, split: str) -> Pictures:
    """One split of a dataset.

    Raises:
        DataError: The dataset has no such split, or it is empty.
    """
    from compat_sdk.datasets import open_dataset

    dataset = open_dataset(data, root)
    if split not in dataset.splits:
        raise DataError(
            f"{data} has no split {split!r}; found {', '.join(dataset.splits)}. For a folder of photos without "
            f"splits use --images {data}"
        )
    found = dataset.splits[split]
    return Pictures(list(found.images), found.ids, found.labels)


def chosen(data: str | None, images: Path | None, root: Path | None, split: str) -> Pictures:
    """The pictures of ``--images DIR`` or of ``--data DATA``, exactly one of which must be given.

    Raises:
        ConfigError: Both or neither were given.
        DataError: They cannot be used.
    """
    if images is not None and data is None:
        return from_folder(images)
    if data is not None and images is None:
        return _from_dataset(data, root, split)
    raise ConfigError("expected exactly one of --data DATA and --images DIR")


def expand(paths: Sequence[Path]) -> list[Path]:
    """Files as given, folders as all images below them, in order.

    Raises:
        DataError: A path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(from_folder(path).images)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist; expected an image or a folder of images")
    return found


def open_model(path: Path, *, threads: int | None = None, device: str = "auto", engine: str = "auto") -> Model:
    """The embedder of a bundle, or of a run, which needs the server side.

    Raises:
        ConfigError: The path is neither a bundle nor a run.
    """
    if path.is_file() or (path / "manifest.json").is_file():  # a bundle may be a zip
        from compat_sdk.embedder import Embedder

        return _BundleModel(Embedder.load(path, engine=engine, threads=threads))
    if (path / "model.json").is_file():
        return _RunModel(path, device, threads)
    raise ConfigError(f"{path} is neither a bundle (manifest.json) nor a run (model.json)")


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
    for start in range(0, len(pictures), chunk):
        part = pictures.take(range(start, min(start + chunk, len(pictures))))
        try:
            yield part, model.embed(part.images), []
        except ImageError:
            if not skip_unreadable:
                raise
            readable, errors = _readable(part)
            if readable:
                kept = part.take(readable)
                yield kept, model.embed(kept.images), errors
            else:
                raise


def _readable(part: Pictures) -> tuple[list[int], list[ImageError]]:
    from compat_sdk.images import open_image

    readable, errors = [], []
    for row, image in enumerate(part.images):
        try:
            open_image(image, None)
        except ImageError as error:
            errors.append(error)
        else:
            readable.append(row)
    return readable, errors


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


class _BundleModel:
    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.name: str = embedder.manifest.name
        self.space: str = embedder.space
        self.dim: int = embedder.dim

    def embed(self, images: Sequence[Any]) -> Embeddings:
        found: Embeddings = self._embedder.embed(list(images))
        return found


class _RunModel:
    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        extras.require("train")
        from compat_train.evaluation.evaluate import open_model as open_run

        self._model = open_run(path, device=device, threads=threads)
        self._threads = threads
        self.name: str = self._model.name
        self.space: str = self._model.space
        self.dim: int = self._model.dim

    def embed(self, images: Sequence[Any]) -> Embeddings:
        from compat_sdk.images import decode_many
        from compat_sdk.space import Embeddings

        pixels = decode_many(list(images), self._model.preprocessing, self._threads)
        return Embeddings(self._model.embed(pixels), self._model.space, self._model.searches)
