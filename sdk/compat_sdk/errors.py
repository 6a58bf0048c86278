"""Everything that compat-sdk raises on purpose.

    CompatError                       exit code 1
    ├── ConfigError                   exit code 2: a setting is out of its range, or two settings clash
    │   └── StateError                exit code 1: a gallery or its upgrade is not in the state for what was asked
    ├── DataError                     a dataset cannot be used as it stands
    │   └── ImageError                one image cannot be read
    ├── VectorError                   vectors that no index may see: NaN, zero, wrong shape
    ├── CorruptFileError              a file differs from its recorded digest or format
    │   ├── BundleError               a bundle is incomplete or malformed
    │   └── GalleryError              a stored gallery is incomplete or malformed
    │       └── ForeignIndexError     an index that was neither built here nor signed by anyone who is trusted
    ├── StoreError                    a store of vectors is away, refuses, or answers something else
    ├── GalleryLockedError            another process is writing this gallery
    ├── IncompatibleSpaceError        query and gallery live in different embedding spaces
    ├── MissingExtraError             an optional package is not installed
    ├── TrainingError                 training cannot go on: NaN loss, unusable checkpoint
    └── CheckFailedError              exit code 3: a check that was asked for did not hold

A message says what was found, what was expected and what to do; the facts are attributes too.
"""

from __future__ import annotations

from collections.abc import Sequence

from compat_sdk.install import install_command


class CompatError(Exception):
    """Base of every error that a caller can act on."""

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        """How an error travels from a worker process: as it is, whatever its constructor takes."""
        return _restored, (type(self), self.args, dict(self.__dict__))


def _restored(kind: type[CompatError], args: tuple[object, ...], facts: dict[str, object]) -> CompatError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class ConfigError(CompatError):
    """A setting is out of its range, or two settings clash: what was asked for is at fault.

    Attributes:
        setting: Name of the setting, with which the message begins; empty where it is about several.
    """

    exit_code = 2

    def __init__(self, message: str, *, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting

    def within(self, place: str) -> ConfigError:
        """The same error with the place of its setting in front.

        Args:
            place: Dotted, with its last dot, such as ``"optimisation."``; empty for none.
        """
        if self.setting or not place:
            return ConfigError(f"{place}{self}", setting=f"{place}{self.setting}" if self.setting else "")
        return ConfigError(f"{place.rstrip('.')}: {self}")


class StateError(ConfigError):
    """What was asked for is sound, but a gallery or its upgrade is not in the state for it."""

    exit_code = 1


class DataError(CompatError):
    """A dataset cannot be used as it stands."""


class ImageError(DataError):
    """One image cannot be read.

    Attributes:
        source: What was being read: a path, or a description such as ``"bytes"``.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"cannot read image {source}: {reason}")
        self.source = source
        self.reason = reason


class VectorError(CompatError):
    """Vectors that no index may see.

    Attributes:
        rows: Positions of the offending rows, empty when the array as a whole is wrong.
    """

    def __init__(self, message: str, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(int(row) for row in rows)


class CorruptFileError(CompatError):
    """A file differs from its recorded digest, size or format."""


class SystemRefusedError(CompatError):
    """The operating system refused to open or read a file; nothing says that the file is damaged.

    Attributes:
        path: What was to be opened.
        errno: Why it was refused, as `errno` has it.
    """

    def __init__(self, path: str, errno: int | None, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.errno = errno


class BundleError(CorruptFileError):
    """A bundle is incomplete, malformed or of a version that this release cannot read."""


class GalleryError(CorruptFileError):
    """A stored gallery is incomplete, malformed or of a version that this release cannot read."""


class ForeignIndexError(GalleryError):
    """A stored index was neither built by this user nor signed by a trusted maker, so no native code may read it."""


class StoreError(CompatError):
    """A store of vectors that is not ours cannot be reached, refuses, or is not what was expected."""


class GalleryLockedError(CompatError):
    """Another process is writing this gallery."""


class IncompatibleSpaceError(CompatError):
    """Vectors live in another embedding space than what they are to be used with.

    Distances across spaces are meaningless, so the search is refused rather than answered
    with plausible-looking neighbours; and so is a transform of vectors of a space that it was not trained for.

    Attributes:
        query_space: Space the vectors were written in.
        searches: Gallery spaces that their model declares it may search.
        gallery_space: Space of the gallery, or that a transform takes.
    """

    def __init__(self, query_space: str, searches: Sequence[str], gallery_space: str, message: str) -> None:
        """Say it in the words of the place that refuses: only that place knows what the vectors were wanted for."""
        super().__init__(message)
        self.query_space = query_space
        self.searches = tuple(searches)
        self.gallery_space = gallery_space


class MissingExtraError(CompatError):
    """An optional package is not installed.

    Attributes:
        package: The package that could not be imported.
        extra: The extra of compat-sdk that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: {install_command(extra)}")
        self.package = package
        self.extra = extra


class TrainingError(CompatError):
    """Training cannot go on: a loss that is not finite, or a checkpoint that does not fit."""


class CheckFailedError(CompatError):
    """A check that was asked for did not hold: parity, self-test or the compatibility rule."""

    exit_code = 3
