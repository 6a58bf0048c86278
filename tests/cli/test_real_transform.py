"""An upgrade by a real bundle and engine, in processes of its own: onnxruntime may crash as it loads after usearch."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from compat_sdk import upgrade
from compat_cli.app import main
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from tests.sdk import transforms


def command(*words, code=0):
    try:
        main(["upgrade", *(str(word) for word in words)])
    except SystemExit as leaving:
        assert (leaving.code or 0) == code, leaving.code


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    bundle, gallery = folder / "h", folder / "gallery"
    transforms.make_transform(bundle, graph_files={"model.onnx": transforms.onnx_transform()})
    old, side = transforms.unit_rows(50, 6, 5), transforms.unit_rows(50, 3, 6)
    source, ids = transforms.WITH_SIDE, [f"image-{row}" for row in range(50)]
    for name, space, rows in (("gallery", source.old_space, old), ("side", source.side_space, side)):
        made = Gallery.create(folder / name, space=space, dim=rows.shape[1])
        made.add(Embeddings(rows, space), ids)
    given = (gallery, "--transform", bundle, "--side", folder / "side", "--shard-rows", 16)
    command("plan", *given)
    command("run", *given, "--workers", 2)
    command("run", *given, "--threads", 2, code=2)  # run in another way: perhaps not the same bytes
    command("verify", gallery, "--transform", bundle)
    command("cutover", gallery, code=1)
    command("cutover", gallery, "--unverified")
    opened = Gallery.open(gallery)
    assert opened.space == "new-5-cccccccccccc" and opened.ids == tuple(ids) and opened.verify() == []
    np.testing.assert_allclose(opened.vectors, transforms.expected(old, side), atol=1e-6)
    opener = upgrade.BundleTransform.at(bundle)
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / "manifest.json").write_bytes(manifest + b" ")
    command("verify", gallery, "--transform", bundle, code=3)
    try:
        opener()
    except BundleError as error:
        assert "changed since" in str(error)
    else:
        raise AssertionError("opened")
"""


def test_a_real_bundle_upgrades_a_gallery_in_two_workers(tmp_path: Path) -> None:
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        pytest.skip("needs onnx and onnxruntime")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    assert "cut over: False" in done.stdout and "begun with transform" in done.stderr
