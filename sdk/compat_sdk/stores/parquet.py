"""Parquet and Arrow files of vectors, read a block of rows at a time; needs the extra ``parquet``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from compat_sdk.errors import ConfigError, CorruptFileError, DataError, MissingExtraError
from compat_sdk.files.documents import parse_json
from compat_sdk.files.plain import open_plain
from compat_sdk.files.refusal import raise_if_refused
from compat_sdk.shown import shortened, shown_value
from compat_sdk.space import check_space
from compat_sdk.stores.rows import (
    ID_NAMES,
    LABEL_NAME,
    PAYLOAD_NAME,
    ROWS_PER_BLOCK,
    SPACE_NAME,
    VECTOR_NAMES,
    Columns,
    Rows,
    Source,
    id_text,
    payload_object,
)

PARQUET_SUFFIXES = (".parquet", ".pq")
ARROW_SUFFIXES = (".arrow", ".feather", ".ipc")
NOTE = b"compat_sdk"
"""Key of a file's own metadata under which an export says the space of its vectors."""


@dataclass(frozen=True)
class _Roles:
    """Names of the columns that are read, each for one thing."""

    id: str
    vector: str
    label: str | None
    space: str | None
    payload: tuple[str, ...]

    @property
    def read(self) -> list[str]:
        named = (self.id, self.vector, self.label, self.space)
        return [name for name in (*named, *self.payload) if name is not None]


@dataclass(frozen=True, eq=False)
class _Table:
    path: Path
    schema: Any
    rows: int
    batches: Callable[[list[str]], Iterator[Any]]


@contextmanager
def open_parquet(path: Path, columns: Columns | None = None, *, arrow_file: bool = False) -> Iterator[Source]:
    """The vectors of a Parquet or Arrow file while the block runs; lists of one length, of any numbers.

    A column ``space`` of texts names the space of each row, and so does what an export of ours notes in the file. A
    column ``payload`` of JSON objects is taken apart.

    Args:
        path: The file.
        columns: Which column is what; None for the usual names.
        arrow_file: It is Arrow's own format, and not Parquet.

    Raises:
        ConfigError: A column that is named is not there.
        CorruptFileError: It is damaged, has no rows, or its columns are of another form.
        DataError: Its rows are of two spaces.
        MissingExtraError: pyarrow is not installed.
    """
    kind = "Arrow" if arrow_file else "Parquet"
    with open_plain(path) as file:
        with _parsing(path, kind):
            table = _of_arrow(path, file) if arrow_file else _of_parquet(path, file)
            roles = _roles(table, columns or Columns())
            dim, space = _shape(table, roles)
        whole = arrow().types.is_integer(table.schema.field(roles.id).type)

        def read() -> Iterator[Rows]:
            with _parsing(path, kind):
                for batch in table.batches(roles.read):
                    rows = _rows(path, batch, roles, dim)
                    _require_space(path, batch, roles, space)
                    yield rows

        yield Source(str(path), dim, table.rows, read, space=space, id_type="integer" if whole else "string")


def arrow() -> Any:
    """The package pyarrow.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    return pyarrow


@contextmanager
def _parsing(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (arrow().ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise_if_refused(path, error)
        raise CorruptFileError(f"{path} is no whole {kind} file ({shortened(str(error), 100)})") from error


def _of_arrow(path: Path, file: BinaryIO) -> _Table:
    reader = arrow().ipc.open_file(file)

    def batches(names: list[str]) -> Iterator[Any]:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            batch.validate(full=True)  # its offsets are the file's
            for start in range(0, batch.num_rows, ROWS_PER_BLOCK):
                yield batch.slice(start, ROWS_PER_BLOCK).select(names)

    counted = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
    return _Table(path, reader.schema, counted, batches)


def _of_parquet(path: Path, file: BinaryIO) -> _Table:
    found = arrow().parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)

    def batches(names: list[str]) -> Iterator[Any]:
        for batch in found.iter_batches(ROWS_PER_BLOCK, columns=names):
            batch.validate(full=True)
            yield batch.select(names)

    return _Table(path, found.schema_arrow, found.metadata.num_rows, batches)


def _roles(table: _Table, told: Columns) -> _Roles:
    names = list(table.schema.names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CorruptFileError(f"{table.path} has the column {shown_value(twice[0])} twice; expected each once")
    asked = [name for name in (told.id, told.vector, told.label, *(told.payload or ())) if name is not None]
    for name in asked:
        if name not in names:
            raise ConfigError(
                f"{table.path} has no column {shown_value(name)}; it has {shortened(', '.join(names), 120)}"
            )
    lists = [field.name for field in table.schema if _is_list(field.type)]
    ids = [told.id] if told.id else [name for name in names if name.lower() in ID_NAMES]
    vectors = [told.vector] if told.vector else [name for name in lists if name.lower() in VECTOR_NAMES] or lists
    if len(ids) != 1 or len(vectors) != 1 or vectors[0] not in lists:
        raise CorruptFileError(
            f"{table.path} has the columns {shortened(', '.join(names), 120)}; expected one id column "
            f"({', '.join(ID_NAMES)}) and one column of lists of numbers, or their names told"
        )
    others = [name for name in names if name not in (ids[0], vectors[0])]
    label = told.label or (LABEL_NAME if LABEL_NAME in others else None)
    space = SPACE_NAME if SPACE_NAME in others and _is_text(table.schema.field(SPACE_NAME).type) else None
    rest = tuple(name for name in others if name not in (label, space))
    return _Roles(ids[0], vectors[0], label, space, rest if told.payload is None else told.payload)


def _is_list(kind: Any) -> bool:
    types = arrow().types
    kind = getattr(kind, "storage_type", kind)
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    types = arrow().types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _shape(table: _Table, roles: _Roles) -> tuple[int, str | None]:
    """Numbers per vector, and the space of the first row or of the file's own note."""
    first = next(table.batches(roles.read), None)
    if first is None or not first.num_rows:
        raise CorruptFileError(f"{table.path} has no rows; expected at least one")
    dim = _vectors(table.path, first.column(roles.vector), roles.vector, None).shape[1]
    noted = _noted_space(table)
    in_rows = None if roles.space is None else first.column(roles.space)[0].as_py()
    if in_rows is not None and noted is not None and in_rows != noted:
        raise DataError(f"{table.path} holds two spaces, {noted} and {shown_value(in_rows)}; expected one: split it")
    found = noted if in_rows is None else in_rows
    return dim, None if found is None else check_space(found)


def _noted_space(table: _Table) -> str | None:
    note = (table.schema.metadata or {}).get(NOTE)
    if note is None:
        return None
    space = parse_json(note, f"the note in {table.path}").get("space")
    return space if isinstance(space, str) else None


def _require_space(path: Path, batch: Any, roles: _Roles, space: str | None) -> None:
    if roles.space is None:
        return
    for value in batch.column(roles.space).unique().to_pylist():
        if value != space:
            raise DataError(
                f"{path} holds two spaces, {space} and {shown_value(value)}; expected rows of one: split the file"
            )


def _rows(path: Path, batch: Any, roles: _Roles, dim: int) -> Rows:
    vectors = _vectors(path, batch.column(roles.vector), roles.vector, dim)
    named = batch.column(roles.id)
    if named.null_count:
        raise CorruptFileError(f"{path} has empty cells in {roles.id}; expected a vector for each id")
    try:
        ids = [id_text(value) for value in named.to_pylist()]
        labels = None if roles.label is None else _labels(batch.column(roles.label).to_pylist())
        beside = {name: batch.column(name).to_pylist() for name in roles.payload}
        payload = [_payload(dict(zip(beside, values, strict=True))) for values in zip(*beside.values(), strict=True)]
    except ValueError as error:
        raise CorruptFileError(f"{path}: {shortened(str(error), 160)}") from error
    return Rows.of(ids, vectors, labels, payload or None)


def _labels(values: Sequence[object]) -> list[str]:
    return ["" if value is None else id_text(value) for value in values]


def _payload(values: Mapping[str, object]) -> dict[str, object]:
    inner = values.get(PAYLOAD_NAME)
    if isinstance(inner, str) and inner.startswith("{"):
        try:
            inner = json.loads(inner)
        except (ValueError, RecursionError):
            pass
    if isinstance(inner, dict):
        values = {**inner, **{name: value for name, value in values.items() if name != PAYLOAD_NAME}}
    return payload_object(values)


def _vectors(path: Path, column: Any, name: str, dim: int | None) -> NDArray[Any]:
    """The numbers of one column of lists, ``[n, dim]``, whatever their width."""
    types = arrow().types
    column = getattr(column, "storage", column)
    if column.null_count:
        raise CorruptFileError(f"{path} has empty cells in {name}; expected a vector for each id")
    lengths = column.value_lengths().unique().to_pylist()
    if len(lengths) > 1 or (dim is not None and lengths not in ([], [dim])):
        raise CorruptFileError(f"{path} has lists of unequal length in {name}; expected one dimension")
    if lengths == [0]:
        raise CorruptFileError(f"{path} has lists of length 0 in {name}; expected at least one number")
    values = column.flatten()
    if not (types.is_floating(values.type) or types.is_integer(values.type)):
        raise CorruptFileError(f"{path} has a list with something that is no number in {name}")
    if values.null_count:
        raise CorruptFileError(f"{path} has empty numbers in the lists of {name}; expected a number in each place")
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found.reshape(len(column), -1 if dim is None else dim)
