"""Strings that stay in the file that holds them: where each lies, and its text when it is asked for."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compat_sdk.errors import CorruptFileError, DataError
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened

LONGEST_TEXT = 1 << 20
"""Bytes of a text that is read."""


@dataclass(frozen=True)
class Span:
    """A string where it lies in the file.

    Attributes:
        offset: Byte of the file where it begins.
        size: Its bytes.
    """

    offset: int
    size: int


class PlainFile:
    """A pickle's file, for the strings in it."""

    def __init__(self, path: Path) -> None:
        """Remembers the place; nothing is opened."""
        self.path = path
        self.size = 0

    @contextmanager
    def reading(self) -> Iterator[io.BufferedReader]:
        """The open file; what cannot be read is a DataError."""
        try:
            with open_plain(self.path) as file:
                self.size = os.fstat(file.fileno()).st_size
                yield file
        except (OSError, CorruptFileError) as error:
            if isinstance(error, OSError):
                raise_if_refused(self.path, error)
            raise DataError(f"cannot read {self.path}: {shortened(str(error))}; download it again") from error

    def texts(self, spans: object) -> list[str]:
        """The texts of a list of strings.

        Raises:
            DataError: It is no list of strings, or one is no text of at most 1 MiB.
        """
        if not isinstance(spans, list) or not all(isinstance(span, Span) for span in spans):
            raise DataError(f"{self.path} has no list of texts where one is expected; download it again")
        with self.reading() as file:
            return [text_of(self.path, file, span) for span in spans]


def text_of(path: Path, file: io.BufferedReader, span: Span) -> str:
    """The text of a string in an open file, whose place moves.

    Raises:
        DataError: It is longer than 1 MiB, or no UTF-8.
    """
    if span.size > LONGEST_TEXT:
        raise DataError(f"{path} has a text of {span.size:,} bytes; expected a name; download it again")
    file.seek(span.offset)
    try:
        return file.read(span.size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} has a name at byte {span.offset} that is no UTF-8; download it again") from error
