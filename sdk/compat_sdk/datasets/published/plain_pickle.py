"""A pickle read as plain data: nothing in it is imported or called, and long strings stay in the file.

Sets of the years around 2010 are distributed as pickles, and to unpickle is to run what the file says. Here lists,
tuples, dictionaries, numbers, truth values and strings are read, and numpy's arrays as what they are: a shape, a type
and bytes. Everything else is refused.

Source: the opcodes that Python's module pickletools documents, protocols 1 to 5.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compat_sdk.datasets.published.pickled_arrays import ArrayType, UnfilledArray, array_of, of_kind
from compat_sdk.datasets.published.strings_in_place import LONGEST_TEXT, PlainFile, Span, text_of
from compat_sdk.errors import DataError
from compat_sdk.shown import shortened

_MOST = 1 << 23  # opcodes of one file
_STRINGS = {b"T": 4, b"U": 1, b"B": 4, b"C": 1, b"\x8e": 8, b"\x96": 8, b"X": 4, b"\x8c": 1, b"\x8d": 8}
"""Opcodes of strings of bytes and of text, with how many bytes tell their length."""
_CONSTANTS: dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False}
_NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d"}


@dataclass(frozen=True)
class _Named:
    """Something that unpickling would import."""

    module: str
    name: str


class _Mark:
    """Where the items of a list, tuple or dictionary begin."""


@dataclass(frozen=True)
class _Arguments:
    """A tuple with something in it that is no data: what a call would have been given."""

    items: tuple[Any, ...]


def read_pickle(path: Path) -> tuple[Any, PlainFile]:
    """The value of a pickle, and the file to read its strings from.

    Strings are `Span`, but for the keys of dictionaries, which are text. Arrays are numpy's, of whole numbers, truth
    values or floats.

    Raises:
        DataError: It cannot be read, is damaged, or holds anything but plain data.
    """
    file = PlainFile(path)
    with file.reading() as opened:
        return _Machine(path, opened, file.size).run(), file


class _Machine:
    def __init__(self, path: Path, file: io.BufferedReader, size: int) -> None:
        self._path, self._file, self._size = path, file, size
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        at = 0
        try:
            for _ in range(_MOST):
                at = self._file.tell()
                code = self._read(1)
                if code == b".":
                    return self._finished(self._stack[-1]) if len(self._stack) == 1 else self._refuse(at, "an end")
                self._step(code)
        except (IndexError, KeyError, ValueError, TypeError, struct.error, AttributeError, RecursionError) as error:
            raise DataError(
                f"{self._path} is damaged, or no pickle of plain data, at byte {at} ({shortened(str(error), 60)}); "
                f"download it again"
            ) from error
        return self._refuse(at, f"more than {_MOST:,} steps")

    def _refuse(self, at: int, found: str) -> Any:
        raise DataError(
            f"{self._path} has {found} at byte {at}, where a pickle of lists, numbers, strings and arrays has none; "
            f"nothing in it was run: download it again from its makers"
        )

    def _read(self, count: int) -> bytes:
        found = self._file.read(min(count, self._size))
        if len(found) != count:
            raise ValueError("the file ends")
        return found

    def _line(self) -> bytes:
        found = self._file.readline(LONGEST_TEXT)
        if not found.endswith(b"\n"):
            raise ValueError("a line does not end")
        return found[:-1]

    def _number(self, size: int) -> int:
        return int.from_bytes(self._read(size), "little")

    def _step(self, code: bytes) -> None:
        stack = self._stack
        if code in _STRINGS:
            self._string(self._number(_STRINGS[code]))
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _NUMBERS:
            form = _NUMBERS[code]
            stack.append(struct.unpack(form, self._read(struct.calcsize(form)))[0])
        elif code in (b"I", b"L", b"F"):
            stack.append(_written(code, self._line()))
        elif code == b"\x8a":
            count = self._number(1)
            stack.append(int.from_bytes(self._read(min(count, 16)), "little", signed=True))
        elif code in (b"\x80", b"\x95"):  # the protocol, and the length of a frame
            self._read(1 if code == b"\x80" else 8)
        elif code in b"](})":
            stack.append({b"]": list, b"(": _Mark, b"}": dict, b")": tuple}[code]())
        elif code in (b"q", b"r", b"p", b"\x94"):
            place = {b"q": 1, b"r": 4}.get(code)
            key = len(self._memo) if code == b"\x94" else int(self._line()) if place is None else self._number(place)
            self._memo[key] = stack[-1]
        elif code in (b"h", b"j", b"g"):
            place = {b"h": 1, b"j": 4}.get(code)
            stack.append(self._memo[int(self._line()) if place is None else self._number(place)])
        else:
            self._gather(code)

    def _gather(self, code: bytes) -> None:
        """Steps that take things from the stack and put one back."""
        stack = self._stack
        if code in (b"a", b"e"):
            items = self._since_mark() if code == b"e" else [stack.pop()]
            of_kind(list, stack[-1]).extend(self._finished(item) for item in items)
        elif code in (b"s", b"u"):
            items = self._since_mark() if code == b"u" else [stack.pop(-2), stack.pop()]
            target = of_kind(dict, stack[-1])
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[self._key(key)] = self._finished(value)
        elif code in (b"t", b"l", b"d"):
            items = self._since_mark()
            if code == b"t":
                stack.append(self._tuple(items))
                return
            items = [self._finished(item) for item in items]
            pairs = zip(items[::2], items[1::2], strict=code == b"d")
            stack.append(items if code == b"l" else {self._key(key): value for key, value in pairs})
        elif code in (b"\x85", b"\x86", b"\x87"):
            count = code[0] - 0x84
            items = stack[-count:]
            if len(items) != count or any(isinstance(item, _Mark) for item in items):
                raise ValueError("a tuple lacks items")
            stack[-count:] = [self._tuple(items)]
        elif code == b"c":
            stack.append(_Named(self._line().decode("ascii"), self._line().decode("ascii")))
        elif code == b"\x93":
            name, module = (self._short(stack.pop()) for _ in range(2))
            stack.append(_Named(module, name))
        elif code == b"R":
            arguments, what = stack.pop(), stack.pop()
            stack.append(self._call(of_kind(_Named, what), _items(arguments)))
        elif code == b"b":
            state = stack.pop()
            self._fill(of_kind((ArrayType, UnfilledArray), stack[-1]), _items(state))
        else:
            self._refuse(self._file.tell() - 1, f"the step {code!r}")

    def _since_mark(self) -> list[Any]:
        place = max(at for at, item in enumerate(self._stack) if isinstance(item, _Mark))
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _string(self, size: int) -> None:
        offset = self._file.tell()
        if size > self._size - offset:
            raise ValueError(f"a string of {size:,} bytes goes past the end")
        self._file.seek(size, os.SEEK_CUR)
        self._stack.append(Span(offset, size))

    def _short(self, span: Any) -> str:
        """The text of a string, without losing the place."""
        at = self._file.tell()
        found = text_of(self._path, self._file, of_kind(Span, span))
        self._file.seek(at)
        return found

    def _key(self, key: Any) -> Any:
        return self._short(key) if isinstance(key, Span) else of_kind((int, str), key)

    def _tuple(self, items: list[Any]) -> tuple[Any, ...] | _Arguments:
        odd = any(isinstance(item, ArrayType | _Named | _Arguments) for item in items)
        return _Arguments(tuple(items)) if odd else tuple(self._finished(item) for item in items)

    def _finished(self, value: Any) -> Any:
        """A value that may stand in a list: an array once it is filled, and nothing that is no data."""
        if isinstance(value, UnfilledArray) and value.content is not None:
            return value.content
        if isinstance(value, _Mark | _Named | _Arguments | ArrayType | UnfilledArray):
            raise ValueError("something that is no data")
        return value

    def _call(self, what: _Named, arguments: tuple[Any, ...]) -> Any:
        name = (what.module.replace("numpy._core.", "numpy.core."), what.name)
        if name == ("numpy.core.multiarray", "_reconstruct") and arguments[0] == _Named("numpy", "ndarray"):
            return UnfilledArray()
        if name == ("numpy", "dtype"):
            return ArrayType(self._short(arguments[0]))
        if name == ("numpy.core.multiarray", "scalar"):
            kind, data = arguments
            return array_of((), kind, self._bytes(data)).item()
        if name == ("numpy.core.numeric", "_frombuffer"):
            data, kind, shape, order = arguments
            if self._short(order) == "C":
                return array_of(shape, kind, self._bytes(data))
        if what in (_Named("__builtin__", "bytes"), _Named("builtins", "bytes")) and not arguments:
            return b""
        if name == ("_codecs", "encode") and self._short(arguments[1]) == "latin1":
            return self._content(arguments[0]).decode("utf-8").encode("latin-1")
        return self._refuse(self._file.tell() - 1, f"a call of {shortened('.'.join(name), 60)}")

    def _fill(self, made: ArrayType | UnfilledArray, state: tuple[Any, ...]) -> None:
        if isinstance(made, ArrayType):
            made.order = self._short(state[1])
            return
        _, shape, kind, by_columns, data = state
        if by_columns not in (False, 0):
            raise ValueError("an array by columns")
        made.content = array_of(shape, kind, self._bytes(data))

    def _bytes(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else self._content(data)

    def _content(self, span: Any) -> bytes:
        """The bytes of a string, without losing the place."""
        at = self._file.tell()
        self._file.seek(of_kind(Span, span).offset)
        found = self._read(span.size)
        self._file.seek(at)
        return found


def _items(value: Any) -> tuple[Any, ...]:
    found: tuple[Any, ...] = value.items if isinstance(value, _Arguments) else of_kind(tuple, value)
    return found


def _written(code: bytes, line: bytes) -> object:
    """A number of protocol 1, where truth values are 00 and 01."""
    if code == b"F":
        return float(line)
    if code == b"I" and line in (b"00", b"01"):
        return line == b"01"
    if len(line) > 20:
        raise ValueError("a number of more than 64 bits")
    return int(line.removesuffix(b"L"))
