"""What native code prints is held back also where no file can be made."""

from __future__ import annotations

import errno
import os
import tempfile

import pytest

from compat_cli import console


def _refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_place_that_can_only_be_read_ends_no_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", _refuse)
    if hasattr(os, "memfd_create"):
        with console.working():  # in memory
            os.write(2, b"chatter")
        assert "chatter" not in capfd.readouterr().err
        monkeypatch.setattr(os, "memfd_create", _refuse)
    with console.working():
        os.write(2, b"chatter")
    assert "chatter" in capfd.readouterr().err
