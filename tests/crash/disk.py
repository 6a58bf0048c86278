"""A disk that loses what was not synced: what a program asked of it, and what may be there when the power is gone.

The model, which is stricter than most file systems are:

- The content of a file is what it was at its last fsync. What was written since may be there, or not, or up to any
  byte, or as zeros of the new length.
- The entries of a folder are those of its last fsync. Each entry made, renamed or deleted since may be there or not,
  whatever became of those before and after it; so a file can be there whole and have no name. A rename, and an exchange
  of two names, is one change. The fsync of a file says nothing of its name, and the making of a folder nothing of its
  entry in the folder above.
- What was there at the start is on the disk.

Calls are watched, not simulated: before and after each the real folder is compared with what is known of it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from compat_sdk.bundle import folder as bundle_folder

_CALLS = ("rename", "replace", "link", "unlink", "remove", "rmdir", "mkdir", "truncate", "symlink")


@dataclass(frozen=True)
class _Names:
    """Entries that change together: folder, name, and what has the name then."""

    entries: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True)
class _Content:
    file: int
    data: bytes


@dataclass(frozen=True)
class _Sync:
    node: int


@dataclass(frozen=True)
class _Acknowledged:
    """An operation has returned."""


_Event = _Names | _Content | _Sync | _Acknowledged


@dataclass
class Disk:
    """A folder, watched: everything that happened in it since, in order.

    Files and folders are known by numbers of their own, since systems use those of deleted ones again.
    """

    root: Path
    events: list[_Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers: dict[int, int] = {self.root.stat().st_ino: 0}
        self._folders: dict[int, dict[str, int]] = {0: {}}
        self._stamps: dict[int, tuple[int, int]] = {}
        self._next = 1
        self._look(together=False)
        self.events.append(_Sync(0))
        self.events += [_Sync(number) for number in range(1, self._next)]
        self._begin = len(self.events)

    def acknowledge(self) -> None:
        """Note that an operation has returned."""
        self._look(together=False)
        self.events.append(_Acknowledged())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what is done inside."""
        fsync, flush, exchange = os.fsync, np.memmap.flush, bundle_folder._exchange

        def sync(descriptor: int) -> None:
            self._look(together=False)
            fsync(descriptor)
            self._synced(os.fstat(descriptor).st_ino)

        def sync_map(array: np.memmap[Any, Any]) -> None:
            flush(array)
            self._look(together=False, fresh=True)
            self._synced(Path(str(array.filename)).stat().st_ino)

        with mock.patch.object(os, "fsync", sync), mock.patch.object(np.memmap, "flush", sync_map):
            patches = [mock.patch.object(os, name, self._noted(getattr(os, name))) for name in _CALLS]
            patches.append(mock.patch.object(bundle_folder, "_exchange", self._noted(exchange)))
            for patch in patches:
                patch.start()
            try:
                yield
            finally:
                for patch in patches:
                    patch.stop()

    def after_power_loss(self, folder: Path, draw: random.Random) -> int:
        """Write what may be there if the power was gone at a random moment; how many operations had returned by then.

        Args:
            folder: A new folder to write to.
            draw: Source of the moment, and of what is lost.
        """
        end = draw.randrange(self._begin, len(self.events) + 1)
        names: dict[int, dict[str, int]] = {}
        durable: dict[int, bytes] = {}
        written: dict[int, bytes] = {}
        waiting: list[_Names] = []
        for event in self.events[:end]:
            if isinstance(event, _Names):
                waiting.append(event)
            elif isinstance(event, _Content):
                written[event.file] = event.data
            elif isinstance(event, _Sync):
                if event.node in written:
                    durable[event.node] = written[event.node]
                for change in [one for one in waiting if any(entry[0] == event.node for entry in one.entries)]:
                    _apply(names, change)
                    waiting.remove(change)
        kept = draw.choice((0.0, 0.5, 0.5, 1.0))
        for change in waiting:
            if draw.random() < kept:
                _apply(names, change)
        contents = {file: _torn(durable.get(file, b""), data, draw) for file, data in written.items()}
        _write(folder, 0, names, contents)
        return sum(isinstance(event, _Acknowledged) for event in self.events[:end])

    def _noted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **more: Any) -> Any:
            self._look(together=False)
            try:
                return call(*given, **more)
            finally:
                self._look(together=True)

        return noted

    def _synced(self, inode: int) -> None:
        if inode in self._numbers:
            self.events.append(_Sync(self._numbers[inode]))

    def _look(self, *, together: bool, fresh: bool = False) -> None:
        """Compare the folder with what is known; changes of entries count as one change, or each as one."""
        found: dict[int, dict[str, int]] = {}
        seen: dict[int, int] = {}
        contents: list[_Content] = []
        self._walk(self.root, 0, found, seen, contents, fresh)
        changes = [
            (folder, name, found.get(folder, {}).get(name))
            for folder in sorted(found.keys() | self._folders.keys())
            for name in sorted(found.get(folder, {}).keys() | self._folders.get(folder, {}).keys())
            if found.get(folder, {}).get(name) != self._folders.get(folder, {}).get(name)
        ]
        self._folders = found
        self._numbers = {inode: number for inode, number in self._numbers.items() if inode in seen or number == 0}
        self.events += contents  # before its name, so that what has a name is known to be a file
        if changes:
            self.events += [_Names(tuple(changes))] if together else [_Names((change,)) for change in changes]

    def _walk(
        self,
        folder: Path,
        number: int,
        found: dict[int, dict[str, int]],
        seen: dict[int, int],
        contents: list[_Content],
        fresh: bool,
    ) -> None:
        found[number] = {}
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                status = entry.stat(follow_symlinks=False)
                if status.st_ino not in self._numbers:
                    self._numbers[status.st_ino], self._next = self._next, self._next + 1
                    self._stamps.pop(status.st_ino, None)
                known = self._numbers[status.st_ino]
                found[number][entry.name] = known
                if entry.is_dir(follow_symlinks=False):
                    seen[status.st_ino] = known
                    self._walk(Path(entry.path), known, found, seen, contents, fresh)
                elif status.st_ino not in seen:
                    seen[status.st_ino] = known
                    stamp = status.st_size, status.st_mtime_ns
                    if fresh or self._stamps.get(status.st_ino) != stamp:
                        self._stamps[status.st_ino] = stamp
                        contents.append(_Content(known, Path(entry.path).read_bytes()))


def _apply(names: dict[int, dict[str, int]], change: _Names) -> None:
    for folder, name, node in change.entries:
        if node is None:
            names.setdefault(folder, {}).pop(name, None)
        else:
            names.setdefault(folder, {})[name] = node


def _torn(durable: bytes, written: bytes, draw: random.Random) -> bytes:
    if durable == written:
        return durable
    grown = written.startswith(durable)  # appended to: what was synced stays
    cut = draw.randrange(len(durable) if grown else 0, len(written) + 1)
    zeros = durable + bytes(len(written) - len(durable)) if grown else bytes(len(written))
    return draw.choice((durable, written, written[:cut], zeros))


def _write(folder: Path, number: int, names: dict[int, dict[str, int]], contents: dict[int, bytes]) -> None:
    folder.mkdir()
    for name, node in names.get(number, {}).items():
        if node in contents:
            (folder / name).write_bytes(contents[node])
        else:
            _write(folder / name, node, names, contents)
