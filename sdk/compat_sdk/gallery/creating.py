"""A new gallery: an empty state in a folder that holds nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from compat_sdk.errors import CompatError, ConfigError, StateError
from compat_sdk.files.atomic import make_folder
from compat_sdk.files.documents import canonical_json
from compat_sdk.gallery import store
from compat_sdk.gallery.files import Dtype
from compat_sdk.gallery.lock import write_lock
from compat_sdk.gallery.snapshot import Snapshot
from compat_sdk.gallery.state import State
from compat_sdk.outputs import require_place
from compat_sdk.space import check_space

_WAIT_S = 60.0


def create_folder(folder: Path, space: str, dim: int, model: Mapping[str, object] | None, dtype: Dtype) -> Snapshot:
    """Make an empty gallery; the arguments are those of `compat_sdk.gallery.Gallery.create`.

    Raises:
        ConfigError: The folder is in use, or an argument is malformed.
        CompatError: The folder cannot be written.
    """
    require_place(folder)
    check_space(space)
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise ConfigError(f"dim is {dim!r}, expected an integer of at least 1")
    try:
        canonical_json(dict(model or {}))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model is not plain JSON ({error}); pass strings, numbers, lists, dicts") from error
    if not store.is_new_folder(folder):
        raise ConfigError(f"{folder} already exists and is not empty; choose another folder or delete it")
    if dtype not in get_args(Dtype):
        raise ConfigError(f"dtype is {dtype!r}, expected one of {', '.join(get_args(Dtype))}")
    state = State(space, dim, dict(model or {}), dtype=dtype)
    try:
        make_folder(folder)
        with write_lock(folder, timeout=_WAIT_S):
            if not store.is_new_folder(folder):
                raise StateError(f"{folder} was made into a gallery by another process; open it instead")
            store.write_state(folder, state, None)
    except OSError as error:
        raise CompatError(f"cannot create gallery {folder}: {error.strerror or error}") from error
    return Snapshot(folder, state, (), ((), ()))
