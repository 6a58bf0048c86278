"""Makes the corpus again that the released files of tests/golden lack: python -m tests.fuzz.make_corpus"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load

from compat_sdk.datasets.idx import write_idx
from compat_sdk.images import Preprocessing
from compat_train.runs.certificates import write_certificate
from compat_train.runs.checkpoint import Checkpoint, identity_of
from tests.golden.files import HERE as RELEASED
from tests.sdk.bundles import make_bundle
from tests.sdk.certificates import certificate

HERE = Path(__file__).parent / "corpus"


def main() -> None:
    """Write every folder of the corpus anew."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    _images(HERE / "images")
    _tables(HERE)
    _run(HERE / "run")
    size = {"preprocessing": Preprocessing(size=16)}
    shown = certificate("tiny-8-aaaaaaaaaaaa", "big-8-bbbbbbbbbbbb")
    bundle = make_bundle(HERE / "bundle", certificates=(shown,), expires="2030-12-31", **size)
    bundle.copy_to(HERE / "zip" / "bundle.zip")


def _images(folder: Path) -> None:
    folder.mkdir()
    draw = np.random.default_rng(5)
    picture = Image.fromarray(draw.integers(0, 256, (9, 12, 3), np.uint8))
    picture.save(folder / "plain.jpg", quality=60)
    picture.save(folder / "progressive.jpg", quality=60, progressive=True)
    turned = picture.getexif()
    turned[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=turned)
    for ending in ("png", "webp", "bmp", "gif", "tiff", "ppm", "avif"):
        picture.save(folder / f"plain.{ending}")
    picture.convert("P").save(folder / "palette.png", transparency=0)
    picture.convert("LA").save(folder / "alpha.png")
    Image.fromarray(draw.integers(0, 65536, (9, 12), np.uint16)).save(folder / "deep.png")
    picture.save(folder / "packed.tiff", compression="tiff_lzw")


def _tables(folder: Path) -> None:
    (folder / "csv").mkdir()
    rows = [
        f'"train/{n}, ä.png",label {n % 3},{split}' for n, split in enumerate(("train", "val", "query", "gallery") * 3)
    ]
    (folder / "csv" / "list.csv").write_bytes(("﻿path,label,split\r\n" + "\r\n".join(rows) + "\r\n").encode())
    (folder / "list").mkdir()
    (folder / "list" / "list.txt").write_bytes("\ufeffa/1.jpg\r\n\nä 狗.png\n/photos/3.WEBP".encode())
    (folder / "tar").mkdir()
    for name, form in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        with tarfile.open(folder / "tar" / f"{name}.tar", "w", format=form) as opened:
            for key in ("a/1", "ä" if name != "ustar" else "b", "c" * (90 if name == "ustar" else 150)):
                for ending, content in (("jpg", b"\xff\xd8" + key.encode()), ("cls", b"7\n"), ("json", b"{}")):
                    member = tarfile.TarInfo(f"{key}.{ending}")
                    member.size = len(content)
                    opened.addfile(member, io.BytesIO(content))
    (folder / "idx").mkdir()
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    write_idx(folder / "idx" / "packed.idx.gz", pixels)
    (folder / "idx" / "plain.idx").write_bytes(gzip.decompress((folder / "idx" / "packed.idx.gz").read_bytes()))
    kanji = folder / "kanji"
    kanji.mkdir()
    faces = [{"name": "a", "role": "gallery"}, {"name": "b", "role": "query"}]
    meta = {"format": "compat-sdk-kanji", "version": 1, "characters": "一二", "faces": faces}
    meta["splits"] = {"train": 2, "query": 1, "gallery": 1}
    (kanji / "meta.json").write_text(json.dumps(meta), "utf-8")
    np.save(kanji / "images.npy", np.zeros((4, 2, 2), np.uint8))
    np.save(kanji / "rows.npy", np.array([[0, 0], [1, 1], [0, 1], [1, 0]], np.int64))


def _run(folder: Path) -> None:
    """A run of this release: the released query model, its space a digest of all that decides a vector."""
    old = Checkpoint.load(RELEASED / "0.7" / "runs" / "query")
    folder.mkdir(parents=True)
    state = load((RELEASED / "0.7" / "runs" / "query" / "model.safetensors").read_bytes())
    weights = {name.removeprefix("embedder."): value for name, value in state.items() if name.startswith("embedder.")}
    shape = {"arch": old.arch, "dim": old.dim, "width": old.width, "stem_stride": old.stem_stride}
    own = identity_of(weights, preprocessing=old.preprocessing, **shape)
    Checkpoint(**{**old.__dict__, "path": folder, "space": own.space}).save()
    write_certificate(folder, certificate(own.space, "big-8-bbbbbbbbbbbb"))


if __name__ == "__main__":
    main()
