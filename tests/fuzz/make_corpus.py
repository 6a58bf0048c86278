"""Makes the corpus again that the released files of tests/golden lack: python -m tests.fuzz.make_corpus"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pyarrow import feather, parquet
from safetensors.torch import load, save_file

from compat_cli.commands.train import COMMANDS
from compat_cli.origins import Origins
from compat_cli.pages.story import Story
from compat_cli.settings import as_toml
from compat_sdk import upgrade
from compat_sdk.datasets import open_dataset
from compat_sdk.datasets.idx import write_idx
from compat_sdk.datasets.lock import write_lock
from compat_sdk.exchange import export_gallery
from compat_sdk.files.seal import sealed_json
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.payload import append_payload, payload_lines, payload_record
from compat_sdk.gallery.release import Release
from compat_sdk.images import Preprocessing
from compat_sdk.profile.block_table import BlockTable, Checked, save_block_table
from compat_sdk.space import Embeddings
from compat_train.data.origin import Origin
from compat_train.models.global_space import GlobalMember, Layer
from compat_train.nas.cmp.evaluations import Evaluations
from compat_train.nas.cmp.validation import Validation
from compat_train.nas.global_nas.log import CandidateLog
from compat_train.nas.global_nas.search import Step
from compat_train.runs.certificates import write_certificate
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.choices import Choice, write_choices
from compat_train.runs.data_record import write_data_record
from compat_train.runs.log import TrainingLog
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.space_name import identity_of
from tests.fuzz.mutate import toml
from tests.golden.files import HERE as RELEASED
from tests.sdk.bundles import make_bundle
from tests.sdk.certificates import certificate
from tests.sdk.published.layouts import LAYOUTS, face_pairs, ijb
from tests.sdk.published.layouts import records as face_records
from tests.sdk.transforms import make_transform
from tests.sdk.upgrade import toy
from tests.train.nas.toy import MEMBERS, SETTINGS, Toy

HERE = Path(__file__).parent / "corpus"


def main() -> None:
    """Write every folder of the corpus anew."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    _images(HERE / "images")
    _tables(HERE)
    _published(HERE / "published")
    _run(HERE / "run")
    _weights(HERE / "weights")
    size = {"preprocessing": Preprocessing(size=16)}
    shown = certificate("tiny-8-aaaaaaaaaaaa", "big-8-bbbbbbbbbbbb")
    bundle = make_bundle(HERE / "bundle", certificates=(shown,), expires="2030-12-31", **size)
    bundle.copy_to(HERE / "zip" / "bundle.zip")
    make_transform(HERE / "transform")
    records(HERE)
    _blocks(HERE / "blocks")
    vectors(HERE)


def _blocks(folder: Path) -> None:
    """A search space's blocks, as a folder of graphs and as a device's table."""
    folder.mkdir()
    record = {"bytes": 1, "sha256": "0" * 64}
    about = {"name": "a", "file": "0000.onnx", "record": record, "shape": [3, 4, 4], "less": None, "weights": None}
    graphs = [about, about | {"name": "b", "file": "0001.onnx", "less": "a"}]
    graphs.append(about | {"name": "c", "file": "0002.onnx", "weights": {"a": 1.0, "b": 2}})
    settings = {"space": "shuffle", "size": 4, "dim": 8, "stem_stride": 1}
    known = {"format": "compat-sdk-blocks", "version": 1, "target": "onnx", "settings": settings, "graphs": graphs}
    (folder / "blocks.json").write_bytes(sealed_json(known))
    networks = (Checked("c", 2.5, 3.0),)
    table = BlockTable({"cores": 2}, "onnxruntime", 1, settings, {"a": 0.5, "b": 1}, networks)
    save_block_table(table, folder / "device.json")


def vectors(folder: Path) -> None:
    """Files of vectors that others write, a collection's metadata, a gallery's notes, and what a RUN notes beside."""
    for name in ("vectors", "collection", "known"):
        (folder / name).mkdir()
    ids, rows = [str(row) for row in range(5)], np.eye(5, 8, dtype=np.float32)
    beside: list[dict[str, object]] = [{"price": row, "tags": ["a", "b"]} for row in range(5)]
    with tempfile.TemporaryDirectory() as work:
        made = Gallery.create(Path(work) / "g", space="toy-8", dim=8)
        made.add(Embeddings(rows, "toy-8"), ids, list("abcde"), payload=beside)
        for ending in ("parquet", "npz", "faiss", "hnswlib"):
            export_gallery(made.path, folder / "vectors" / f"v.{ending}")
    feather.write_feather(parquet.read_table(folder / "vectors" / "v.parquet"), folder / "vectors" / "v.arrow")
    np.save(folder / "vectors" / "v.npy", rows)
    np.save(folder / "vectors" / "ids.npy", np.array(ids))
    (folder / "vectors" / "ids.txt").write_text("\n".join(ids) + "\n")
    note = {"alias": "photos", "old": "photos--old", "old_space": "old", "space": "new", "transform": {"sha256": "0"}}
    metadata = {"compat_sdk": {"spaces": {"": "old"}, "unfinished": False, "upgrade": note}, "owner": "ada"}
    payload = {"label": "a", "compat_id": "7.png", "compat_source": "0", "price": 1.5, "tags": ["a", None]}
    (folder / "collection" / "metadata.json").write_text(json.dumps({"metadata": metadata, "payload": payload}))
    with tempfile.TemporaryDirectory() as work:
        place, side = toy.make(Path(work), (4, 2))
        upgrade.run(place, toy.Toy(), side=side, workers=1)
        upgrade.cutover(place, unverified=True)
        new = Embeddings(toy.vectors(2, 24, 5), toy.NEW)
        upgrade.embed_again(place, {"image-0": 1.0, "image-3": 2.0}, lambda _: new, budget=2)
        for name in ("before", "after", "shards", "sources", "side"):
            shutil.rmtree(place / "upgrade" / name)
        append_payload(place, payload_lines(ids, beside))
        release = Release("photos", 3, "2030-12-31", payload_record(place))
        (place / "release.json").write_bytes(release.to_bytes())
        shutil.copytree(place, folder / "kept", ignore=shutil.ignore_patterns("*.lock"))
    found = {"space": "big-8-bbbbbbbbbbbb", "accuracy": 0.75, "chance": 0.125, "queries": 8, "gallery": 15}
    (folder / "known" / "held_out.json").write_bytes(sealed_json(found))
    write_choices(folder / "known", [Choice("method", "infonce", "there are many classes"), Choice("lr", "0.1", "b")])


def _weights(folder: Path) -> None:
    folder.mkdir()
    state = {"layer.weight": torch.linspace(-1, 1, 6).reshape(2, 3), "layer.steps": torch.tensor(3)}
    torch.save({"state_dict": state}, folder / "w.pth")
    save_file(state, folder / "w.safetensors")


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
    faces = [{"name": "a", "role": "gallery"}, {"name": "b", "role": "query"}, {"name": "c", "role": "query"}]
    meta = {"format": "compat-sdk-kanji", "version": 1, "characters": "一二", "faces": faces}
    meta["splits"] = {"train": 2, "val": 1, "query": 1, "gallery": 1}
    (kanji / "meta.json").write_text(json.dumps(meta), "utf-8")
    np.save(kanji / "images.npy", np.zeros((5, 2, 2), np.uint8))
    np.save(kanji / "rows.npy", np.array([[0, 0], [0, 1], [0, 1], [1, 1], [1, 0]], np.int64))
    np.save(kanji / "unseen.npy", np.zeros((2, 2, 2), np.uint8))
    np.save(kanji / "unseen-rows.npy", np.array([[1, 1], [1, 2]], np.int64))


def _published(folder: Path) -> None:
    """Small files of published sets: every list, pickle and file of records that is read before a picture is."""
    for layout in ("kmnist as npz", "emnist-letters", "deepfashion2", "gldv2", "places365", "imagenet with a solution"):
        LAYOUTS[layout](folder / layout.split(" ")[0])
    for layout in ("roxford5k", "roxford5k-hard"):  # one of arrays, one of lists
        LAYOUTS[layout](folder / layout)
    ijb(folder / "ijb")
    for path in (folder / "ijb" / "loose_crop").iterdir():
        path.write_bytes(b"opened without its pictures")
    for form in ("python-3", "python-2", "array"):
        face_pairs(folder / "pairs" / f"{form}.bin", form)
    face_records(folder / "records" / "train.rec")
    for path in (folder / "deepfashion2" / "train").rglob("*.*"):
        if int(path.stem) > 4:
            path.unlink()
    for path in [*(folder / "gldv2").rglob("*.jpg"), *(folder / "places365").rglob("*/airfield/*.jpg")]:
        path.unlink()  # opened without its pictures


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


def _settings() -> str:
    """Every setting of a command, with the one that must be given."""
    return as_toml(COMMANDS[0]).replace("# data = ", 'data = "sample"')


def records(folder: Path) -> None:
    """What commands note for themselves: settings, origins, searches, resume points, locks, trust, steps."""
    for name in ("settings", "origins", "search", "interrupted", "locked", "locks", "trust", "story"):
        (folder / name).mkdir()
    (folder / "settings" / "gallery.toml").write_text(_settings(), "utf-8")
    for name in "ab":
        (folder / "origins" / f"{name}.png").write_bytes(name.encode() * 9)
    pictures = [folder / "origins" / f"{name}.png" for name in "ab"]
    Origins(folder / "origins").record(["a", "ben/b"], pictures)
    with Evaluations(folder / "search" / "scores.jsonl", SETTINGS, Toy(folder / "search" / "calls.txt")) as scores:
        scores.scores(MEMBERS[:4], "both")
    (folder / "search" / "calls.txt").unlink()
    log = CandidateLog(folder / "search" / "candidates.jsonl", SETTINGS)
    for depth in (3, 4, 5):
        network = GlobalMember(width=8, layers=(Layer(),) * depth)
        log.record(Step("depth", network, 1, 0.25 * (depth - 2), "adopted"), mmacs=1.5, wall_seconds=2.0)
    arrays = {name: np.arange(8, dtype=np.uint8) for name in ("queries", "gallery", "calibration")}
    numbers = {name: np.arange(2, dtype=np.int64) for name in ("query_labels", "gallery_labels")}
    sides = Validation(**arrays, **numbers, gallery_embeddings=np.eye(2, dtype=np.float32))
    sides.save(folder / "search" / "validation", {"queries": 2})
    weights = b"weights"
    record = {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    (folder / "search" / "supernet.safetensors").write_bytes(weights)
    (folder / "search" / "supernet.json").write_bytes(sealed_json({"weights": record, "settings": SETTINGS}))
    tensors = {"weight": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(7)}
    for step in (3, 7):
        ResumePoints(folder / "interrupted").save(step, tensors, {"settings": {"seed": 1, "lr": 0.1}})
    write_data_record(folder / "interrupted", Origin(pictures, ["x", "y"], ["a", "b"]))
    with TrainingLog(folder / "interrupted", 0) as rows:
        for step in range(1, 8):
            rows.write(step, 1, 0.1, {"own": 1 / step})
    shutil.rmtree(folder / "interrupted" / "tensorboard", ignore_errors=True)
    (folder / "locked" / "train").mkdir()
    for name in "ab":
        (folder / "locked" / "train" / f"{name}.png").write_bytes(name.encode())
    write_lock(folder / "locked", sorted((folder / "locked" / "train").iterdir()))
    for name in ("gallery.lock", "lock"):
        (folder / "locks" / name).write_bytes(b"held by 1\n")
    (folder / "trust" / "key.pem").write_text("-----BEGIN PUBLIC KEY-----\n")
    maker = {"name": "ada", "public_key": "key.pem", "roles": ["query"], "spaces": ["s-8"], "bundles": ["b"]}
    trust = {"makers": [maker], "least_release": {"b": 2}, "galleries": True}
    (folder / "trust" / "trust.json").write_text(json.dumps(trust), "utf-8")
    (folder / "trust" / "trust.toml").write_text("\n".join(f"{key} = {toml(item)}" for key, item in trust.items()))
    story = Story(folder / "story", open_dataset("sample"), 0, 1, lambda *_: None)
    story._once(1, "train", lambda: {"space": "s-8", "loss": [0.5, 0.25]})


if __name__ == "__main__":
    main()
