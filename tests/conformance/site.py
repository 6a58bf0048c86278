"""Write a small site with `app web`, and what Python finds for its pictures: what sdk/web/test/site.test.js is run on.

python -m tests.conformance.site FOLDER ONNXRUNTIME_WEB

FOLDER/site          the site
FOLDER/pictures      its pictures, JPEG and PNG
FOLDER/answers.json  for some of them the hits of Python: id, label, score
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

from compat_cli.app import main
from compat_sdk.bundle import Graph, Manifest, write_bundle
from compat_sdk.bundle.self_test import input_statistics
from compat_sdk.embedder import Embedder
from compat_sdk.gallery import Gallery
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing, to_input, to_pixels
from compat_sdk.space import Embeddings
from tests.conformance.bundles import GOLDEN
from tests.sdk.engines.tiny import DIM, SIZE, embed

PICTURES = Path(__file__).parents[2] / "server_training" / "compat_train" / "data" / "pictures"
ASKED = ("00.jpg", "03.jpg", "05.png")


def write(folder: Path, onnxruntime_web: Path) -> None:
    """Write the site, its pictures and the answers into a new folder."""
    shutil.copytree(PICTURES, folder / "pictures")
    pictures = sorted(path for path in (folder / "pictures").iterdir())
    preprocessing = Preprocessing(size=SIZE, draft=0)
    identity = Identity("ab" * 32, "tiny", DIM, preprocessing, {"width": 1.0})
    pixels = np.stack([to_pixels(path, preprocessing) for path in pictures])
    fed = to_input(pixels, preprocessing)
    manifest = Manifest(
        *("tiny query model", "query", identity.space, (), DIM, preprocessing, "100", 0.01, 0.01, 0.0, "", "tiny"),
        graphs=(Graph("onnx", "fp32", "onnx-fp32/model.onnx"),),
        identity=identity,
    )
    graph = {"onnx-fp32/model.onnx": (GOLDEN / "engines" / "tiny.onnx").read_bytes()}
    golden = (pixels, input_statistics(fed), embed(fed))
    encoded = [path.read_bytes() for path in pictures]
    bundle = write_bundle(folder / "query.bundle", manifest, graph, golden, pictures=encoded)
    gallery = Gallery.create(folder / "photos.gallery", space=identity.space, dim=DIM, dtype="int8")
    # Rows that are near each picture but not it, so that scores are worth comparing.
    near = embed(fed) + np.linspace(-0.1, 0.1, DIM, dtype=np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    gallery.add(
        Embeddings(near, identity.space), [path.name for path in pictures], [f"label {path.stem}" for path in pictures]
    )
    embedder = Embedder.load(bundle)
    hits = gallery.search(embedder.embed([folder / "pictures" / name for name in ASKED]), 12)
    answers = {name: [vars(hit) for hit in line] for name, line in zip(ASKED, hits, strict=True)}
    (folder / "answers.json").write_text(json.dumps(answers))
    asked = ("--bundle", folder / "query.bundle", "--gallery", folder / "photos.gallery", "--out", folder / "site")
    more = ("--pictures", folder / "pictures", "--onnxruntime-web", onnxruntime_web, "--title", "Pictures of a test")
    main(["app", "web", *map(str, (*asked, *more))])


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
