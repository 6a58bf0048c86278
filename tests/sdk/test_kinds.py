from __future__ import annotations

from pathlib import Path

import pytest

from compat_sdk.kinds import is_bundle, kind_of


@pytest.mark.parametrize(
    ("files", "kind", "opened"),
    [
        ({"manifest.json": b"{}"}, "bundle", True),
        ({"manifest.json": b"{}", "model.json": b"{}"}, "bundle", True),
        ({"model.json": b"{}"}, "RUN", False),
        ({"gallery.json": b"{}"}, "gallery", False),
        ({}, None, False),
    ],
)
def test_a_folder_is_opened_as_a_bundle_where_it_is_called_one(
    files: dict[str, bytes], kind: str | None, opened: bool, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert (kind_of(tmp_path), is_bundle(tmp_path)) == (kind, opened)


def test_a_file_is_opened_as_a_bundle_though_it_is_called_one_only_where_it_is_a_zip(tmp_path: Path) -> None:
    for name, content, kind in (("z", b"PK\3\4", "bundle"), ("damaged", b"PX\3\4", None)):
        (tmp_path / name).write_bytes(content)
        assert kind_of(tmp_path / name) == kind and is_bundle(tmp_path / name)
    assert not is_bundle(tmp_path / "nowhere")
