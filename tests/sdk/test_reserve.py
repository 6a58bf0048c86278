"""A full disk is an error before anything is written to mapped memory, which would kill the process."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

import compat_sdk.files.reserve as reserve_module
from compat_sdk.arrays import new_array, read_array
from compat_sdk.files.reserve import reserve
from compat_sdk.stores import native


def test_a_new_array_has_its_place_on_the_disk(tmp_path: Path) -> None:
    array = new_array(tmp_path / "a.npy", (1000, 50))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes  # no sparse file
    array[7] = 1
    del array
    found = read_array(tmp_path / "a.npy")
    assert found.shape == (1000, 50) and found.dtype == np.float32 and found.sum() == 50 and found[7, 0] == 1


def test_a_full_disk_is_told_with_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reserve_module, "_allocated", full)
    with pytest.raises(OSError, match=r"No space left on device, 8,128 bytes are needed") as caught:
        new_array(tmp_path / "a.npy", (1000, 2))
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


def test_without_the_systems_help_zeros_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve_module, "_allocated", lambda *_: False)
    reserve(tmp_path / "z", (1 << 20) + 5)
    assert (tmp_path / "z").read_bytes() == bytes((1 << 20) + 5)
    with pytest.raises(FileExistsError) as caught:
        reserve(tmp_path / "z", 1)
    assert "needed" not in str(caught.value) and (tmp_path / "z").stat().st_size > 1 << 20


def test_what_hnswlib_could_not_write_is_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hnswlib = pytest.importorskip("hnswlib")
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    np.save(tmp_path / "l.npy", np.arange(4))
    words = [str(tmp_path / name) for name in ("v.npy", "l.npy", "out.hnswlib")]
    assert native._write_hnswlib(*words) == ""
    monkeypatch.setattr(hnswlib.Index, "save_index", lambda _, path: Path(path).write_bytes(b"cut off"))
    with pytest.raises(OSError, match="No space left"):
        native._write_hnswlib(*words)
