"""A tiny set in the layout of every published one, odd cases included; nothing is fetched.

python -m tests.sdk.published.layouts DIR    # writes all of them, to look at
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compat_sdk.datasets.idx import write_idx

MAGIC = struct.pack("<I", 0xCED7230A)


def picture(level: int, size: tuple[int, int] = (8, 6)) -> bytes:
    """A JPEG of one colour, another for each level of 0 to 255."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, 255 - level, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def put(path: Path, content: bytes | str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pictures(root: Path, *names: str) -> None:
    """Write a picture under each name, each another one."""
    for name in names:
        put(root / name, picture(sum(name.encode()) % 251))


def corner(labels: list[int]) -> NDArray[np.uint8]:
    """28x28 images with a bright upper right corner, and the label in the middle."""
    images = np.zeros((len(labels), 28, 28), np.uint8)
    images[:, :5, -5:] = 250
    images[:, 14, 14] = labels
    return images


def idx(root: Path, images: str, labels: str, values: list[int], *, transposed: bool = False) -> None:
    """Write an IDX pair, the images packed and the labels not."""
    root.mkdir(parents=True, exist_ok=True)
    pixels = corner(values)
    write_idx(root / f"{images}.gz", np.ascontiguousarray(pixels.transpose(0, 2, 1)) if transposed else pixels)
    write_idx(root / labels, np.array(values, np.uint8))
    (root / labels).write_bytes(gzip.decompress((root / labels).read_bytes()))


def mnist(root: Path) -> None:
    """Names of the files as they come, and as a common mirror unpacks them."""
    idx(root, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", [*range(10)] * 3)
    idx(root, "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte", [*range(10)] * 5)


EMNIST = {
    "letters": ("".join(f"{n} {64 + n} {96 + n}\n" for n in range(1, 27)), 1, 26),
    "byclass": (
        "".join(f"{n} {c}\n" for n, c in enumerate([*range(48, 58), *range(65, 91), *range(97, 123)])),
        0,
        62,
    ),
    "balanced": (
        "".join(f"{n} {c}\n" for n, c in enumerate([*range(48, 58), *range(65, 91), *b"abdefghnqrt"])),
        0,
        47,
    ),
    "digits": ("".join(f"{n} {48 + n}\n" for n in range(10)), 0, 10),
}
EMNIST["bymerge"], EMNIST["mnist"] = EMNIST["balanced"], EMNIST["digits"]


def emnist(part: str) -> Callable[[Path], None]:
    """Letters begin at label 1; pictures are transposed; the mapping ends its lines as Windows does."""

    def write(root: Path) -> None:
        mapping, first, count = EMNIST[part]
        values = list(range(first, first + count))
        for name, times in (("train", 1), ("test", 2)):
            stem = f"emnist-{part}-{name}"
            idx(root, f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte", values * times, transposed=True)
        put(root / f"emnist-{part}-mapping.txt", mapping.replace("\n", "\r\n"))

    return write


def npz(name: str, classes: int) -> Callable[[Path], None]:
    """The ``.npz`` files of Kuzushiji, whose one array is called arr_0."""

    def write(root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        for part, times in (("train", 1), ("test", 2)):
            values = list(range(classes)) * times
            np.savez_compressed(root / f"{name}-{part}-imgs.npz", corner(values))
            np.savez_compressed(root / f"{name}-{part}-labels.npz", np.array(values, np.uint8))

    return write


def cifar_rows(count: int) -> NDArray[np.uint8]:
    """Rows of red, green and blue planes: the first row of the image is red, the first column of the others blue."""
    rows = np.zeros((count, 3, 32, 32), np.uint8)
    rows[:, 0, 0], rows[:, 2, 1:, 0] = 200, 100
    return rows.reshape(count, -1)


def cifar(classes: int, *, packed: bool) -> Callable[[Path], None]:
    """The binary version, or the Python version as Python 2 wrote it: protocol 2, strings of bytes."""
    names = [f"class {number}" for number in range(classes)]
    parts = (
        {**{f"data_batch_{n}": 1 for n in range(1, 6)}, "test_batch": 2} if classes == 10 else {"train": 1, "test": 2}
    )

    def write(root: Path) -> None:
        for part, times in parts.items():
            labels = list(range(classes)) * times
            rows = cifar_rows(len(labels))
            if packed:
                columns = [np.array(labels, np.uint8)[:, None], rows]
                if classes == 100:
                    columns.insert(0, np.full((len(labels), 1), 7, np.uint8))
                put(root / f"{part}.bin", np.concatenate(columns, axis=1).tobytes())
            else:
                key = b"labels" if classes == 10 else b"fine_labels"
                put(root / part, as_python_2({b"batch_label": b"one", key: labels, b"data": rows}))
        if packed:
            put(root / ("batches.meta.txt" if classes == 10 else "fine_label_names.txt"), "\n".join(names) + "\n\n")
        else:
            key = b"label_names" if classes == 10 else b"fine_label_names"
            put(root / ("batches.meta" if classes == 10 else "meta"), as_python_2({key: [n.encode() for n in names]}))

    return write


class _Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Writes bytes as Python 2 wrote its strings."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, obj: bytes) -> None:
        self.write(b"U" + bytes([len(obj)]) + obj if len(obj) < 256 else b"T" + struct.pack("<i", len(obj)) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_bytes


def as_python_2(value: object) -> bytes:
    """A pickle of protocol 2 with Python 2's strings."""
    buffer = io.BytesIO()
    _Python2(buffer, 2).dump(value)
    return buffer.getvalue()


def market(root: Path) -> None:
    """Junk, distractors, a match of the query's own camera, and what Explorer leaves behind."""
    pictures(
        root,
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0002_c2s1_000451_03.jpg",
        "bounding_box_train/0007_c3s3_077419_03.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "query/0003_c4s6_000001_00.jpg",
        "bounding_box_test/-1_c1s1_000401_03.jpg",
        "bounding_box_test/0000_c1s1_000151_01.jpg",
        "bounding_box_test/0001_c1s1_002301_00.jpg.jpg",
        "bounding_box_test/0001_c3s1_002301_00.jpg",
        "bounding_box_test/0003_c4s6_000002_00.jpg",
    )
    put(root / "query" / "Thumbs.db", b"\xd0\xcf\x11\xe0")


def garment(style: int, box: tuple[int, int, int, int]) -> dict[str, object]:
    """An item of an annotation, with fields that the reader passes over."""
    return {"category_id": 1, "category_name": "short sleeve top", "style": style, "bounding_box": list(box)}


def deepfashion2(root: Path) -> None:
    """Two garments in one photograph, a box beyond its edge, and garments without a style on both sides."""
    photographs: dict[str, tuple[str, int, list[tuple[int, tuple[int, int, int, int]]]]] = {
        "validation/000001": ("user", 5, [(1, (0, 0, 20, 30)), (0, (5, 5, 25, 25))]),
        "validation/000002": ("shop", 5, [(1, (10, 0, 400, 300)), (2, (0, 0, 10, 10))]),
        "validation/000003": ("shop", 6, [(0, (1, 2, 30, 40))]),
    }
    for pair in range(40):
        photographs[f"train/{2 * pair + 1:06d}"] = ("user", pair, [(1, (0, 0, 20, 20))])
        photographs[f"train/{2 * pair + 2:06d}"] = ("shop", pair, [(1, (0, 0, 20, 20)), (0, (2, 2, 20, 20))])
    for name, (source, pair, items) in photographs.items():
        folder, _, number = name.partition("/")
        put(root / folder / "image" / f"{number}.jpg", picture(pair, (40, 48)))
        value = {"source": source, "pair_id": pair}
        value |= {f"item{n}": garment(*item) for n, item in enumerate(items, 1)}  # type: ignore[dict-item]
        put(root / folder / "annos" / f"{number}.json", json.dumps(value))


def landmark_id(number: int) -> str:
    """An id of a picture, and the folders that it lies in."""
    return f"{number:016x}"[::-1]


def gldv2(root: Path) -> None:
    """An address with commas, queries that are not private, and one without any match."""
    train, index, test = ([landmark_id(start + n) for n in range(4)] for start in (16, 32, 48))
    for folder, ids in (("train", train), ("index", index), ("test", test)):
        pictures(root, *(f"{folder}/{id[0]}/{id[1]}/{id[2]}/{id}.jpg" for id in ids))
    put(root / "train_clean.csv", f"landmark_id,images\n7,{train[0]} {train[1]}\n9,{train[2]}\n")
    rows = [
        f'{train[0]},"http://a/b,c.jpg",7',
        f"{train[1]},http://a/d.jpg,7",
        f"{train[2]},,9",
        f"{train[3]},http://e,9",
    ]
    put(root / "train.csv", "\n".join(["id,url,landmark_id", *rows, ""]))
    put(root / "index.csv", "\n".join(["id", *index, ""]))
    solution = [
        f"{test[0]},{index[2]} {index[0]},Private",
        f"{test[1]},None,Ignored",
        f"{test[2]},{index[1]},Public",
        f"{test[3]},{index[3]},Private",
    ]
    put(root / "retrieval_solution_v2.1.csv", "\n".join(["id,images,Usage", *solution, ""]))


def revisited(name: str, *, arrays: bool) -> Callable[[Path], None]:
    """Rows as lists, or as numpy's arrays; a query without easy pictures."""

    def rows(*values: int) -> object:
        return np.array(values, np.int64) if arrays else list(values)

    def write(root: Path) -> None:
        names = [f"place_{n:06d}" for n in range(6)]
        for each in (*names, "asked_000000", "asked_000001"):
            put(root / "jpg" / f"{each}.jpg", picture(len(each), (30, 20)))
        gnd = [
            {"bbx": [1.5, 2.0, 20.25, 18.0], "easy": rows(0, 3), "hard": rows(1), "junk": rows(5)},
            {"bbx": [0, 0, 30, 20], "easy": rows(), "hard": rows(4, 2), "junk": rows(0)},
        ]
        value = {"gnd": gnd, "imlist": names, "qimlist": ["asked_000000", "asked_000001"]}
        put(root / f"gnd_{name}.pkl", pickle.dumps(value, protocol=2 if arrays else 4))

    return write


def imagenet(form: str) -> Callable[[Path], None]:
    """``val`` by class, or flat with either of its lists."""

    def write(root: Path) -> None:
        synsets = ("n01440764", "n01443537")
        pictures(root, *(f"train/{synset}/{synset}_{n}.JPEG" for synset in synsets for n in range(2)))
        names = [f"ILSVRC2012_val_0000000{n}" for n in range(1, 5)]
        if form == "folders":
            pictures(root, *(f"val/{synsets[n % 2]}/{name}.JPEG" for n, name in enumerate(names)))
            return
        pictures(root, *(f"val/{name}.JPEG" for name in names))
        if form == "solution":
            rows = [f"{name},{synsets[n % 2]} 1 2 3 4 {synsets[n % 2]} 5 6 7 8 " for n, name in enumerate(names)]
            put(root / "LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *rows]))
        else:
            put(root / "val.txt", "".join(f"{name}.JPEG {n % 2}\n" for n, name in enumerate(names)))
            put(root / "synsets.txt", "\n".join(synsets))

    return write


def places365(root: Path) -> None:
    """Lists with numbers; scenes of two levels; pictures of 256 pixels."""
    put(root / "categories_places365.txt", "/a/airfield 0\n/a/apartment_building/outdoor 1\n")
    lines = ["/a/airfield/00000001.jpg 0", "/a/apartment_building/outdoor/00000002.jpg 1"]
    put(root / "places365_train_standard.txt", "\n".join(lines))
    put(root / "places365_val.txt", "Places365_val_00000001.jpg 1\nPlaces365_val_00000002.jpg 0\n")
    pictures(root / "data_256_standard", *(line.split(" ")[0].lstrip("/") for line in lines))
    pictures(root / "val_256", "Places365_val_00000001.jpg", "Places365_val_00000002.jpg")


def places_by_folder(root: Path) -> None:
    """The other form: lists of paths that name the scene."""
    names = [
        f"{part}/{scene}/0000000{n}.jpg" for part in ("train", "val") for n, scene in enumerate(("airfield", "a/b"))
    ]
    pictures(root, *names)
    put(root / "train.txt", "\n".join(names[:2]))
    put(root / "val.txt", "\n".join(names[2:]))


def vggface2(root: Path) -> None:
    """People of the two parts are different people."""
    pictures(root, *(f"train/n00000{p}/000{n}_01.jpg" for p in (2, 3) for n in (1, 2)))
    pictures(root, *(f"test/n00000{p}/000{n}_01.jpg" for p in (1, 9) for n in (1, 2)))


def training_faces(root: Path) -> None:
    """A folder for each person."""
    pictures(root, "0000045/001.jpg", "0000045/002.jpg", "0000099/001.jpg")


def tinyface(root: Path) -> None:
    """Probes and matches named by person, and distractors named by nothing."""
    pictures(root, "Training_Set/1/1_1.jpg", "Training_Set/2/2_1.jpg")
    pictures(
        root / "Testing_Set", "Probe/12_1.jpg", "Probe/13_2.jpg", "Gallery_Match/12_3.jpg", "Gallery_Match/13_4.jpg"
    )
    pictures(root / "Testing_Set", "Gallery_Distractor/a.jpg", "Gallery_Distractor/b.jpg")


def face_pairs(path: Path, form: str = "python-3") -> Path:
    """A file of pairs, as Python 3 or Python 2 writes it, with truth values as truth values, numbers or an array."""
    faces = [picture(level) for level in (10, 11, 12, 200, 90, 91)]
    if form == "python-2":
        return put(path, as_python_2((faces, [True, False, True])))
    if form == "numbers":
        return put(path, pickle.dumps([faces, [1, 0, 1]], protocol=3))
    if form == "array":
        return put(path, pickle.dumps((faces, np.array([True, False, True])), protocol=4))
    return put(path, pickle.dumps((faces, [True, False, True]), protocol=4))


def record(payload: bytes) -> bytes:
    """A record, divided where the magic number stands on a multiple of four in it."""
    cuts = [at for at in range(0, len(payload) - 3, 4) if payload[at : at + 4] == MAGIC]
    parts, start = [], 0
    for cut in cuts:
        parts.append(payload[start:cut])
        start = cut + 4
    parts.append(payload[start:])
    written = b""
    for number, part in enumerate(parts):
        kind = 0 if len(parts) == 1 else 1 if number == 0 else 3 if number == len(parts) - 1 else 2
        written += MAGIC + struct.pack("<I", kind << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
    return written


def with_magic(jpeg: bytes) -> bytes:
    """A JPEG with the magic number in a comment, twice, on multiples of four behind a header of 24 bytes."""
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 14) + b"ab" + MAGIC + b"1234" + MAGIC
    assert comment.index(MAGIC) + 2 == 8
    return jpeg[:2] + comment + jpeg[2:]


def records(path: Path) -> Path:
    """Record 0, pictures with one label and with two, a divided one, and a person's record behind the pictures."""
    faces = [picture(30), with_magic(picture(60)), picture(90)]
    payloads = [struct.pack("<IfQQ2f", 2, 0, 0, 0, 4, 6)]
    for key, person in ((1, 0), (2, 7)):
        payloads.append(struct.pack("<IfQQ", 0, person, key, 0) + faces[key - 1])
    payloads.append(struct.pack("<IfQQ2f", 2, 0, 3, 0, 7, 1) + faces[2])
    payloads += [struct.pack("<IfQQ2f", 2, 0, 4, 0, 1, 2)]
    content, index = b"", ""
    for key, payload in enumerate(payloads):
        index += f"{key}\t{len(content)}\n"
        content += record(payload)
    put(path.with_suffix(".idx"), index)
    put(path.parent / "property", "8,112,112")
    return put(path, content)


IJB_FACES = ((1, 10), (1, 10), (1, 11), (2, 20), (3, 30), (4, 40), (5, 50), (6, 60))
"""Template and medium of each picture of `ijb`."""


def ijb(root: Path, name: str = "ijbc") -> Path:
    """Six templates of three people and a stranger; the first has two frames of one video and a photograph."""
    places = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    points, faces = [], []
    for number, (template, medium) in enumerate(IJB_FACES, 1):
        image = np.random.default_rng(number).integers(0, 256, (150, 140, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        put(root / "loose_crop" / f"{number}.jpg", buffer.getvalue())
        at = " ".join(f"{x + 10 * (number % 2)} {y + 20}" for x, y in places)
        points.append(f"{number}.jpg {at} {0.5 + number / 20}")
        faces.append(f"{number}.jpg {template} {medium}")
    pairs = ["1 2 1", "1 3 0", "2 4 0", "3 4 1", "5 6 0", "1 5 0"]
    gallery = (
        ("TEMPLATE_ID,SUBJECT_ID,FILENAME", "1,100,img/1.jpg", "1,100,img/2.jpg"),
        ("TEMPLATE_ID,SUBJECT_ID", "3,200"),
    )
    lists = {"name_5pts_score": points, "face_tid_mid": faces, "template_pair_label": pairs}
    for each, lines in lists.items():
        put(root / "meta" / f"{name}_{each}.txt", "\n".join(lines) + "\n")
    for part, lines in zip((1, 2), gallery, strict=True):
        put(root / "meta" / f"{name}_1N_gallery_G{part}.csv", "\r\n".join(lines))
    put(root / "meta" / f"{name}_1N_probe_mixed.csv", "TEMPLATE_ID,SUBJECT_ID\n2,100\n4,200\n5,300\n6,300\n")
    return root


LAYOUTS: Mapping[str, Callable[[Path], object]] = {
    "mnist": mnist,
    "kmnist": mnist,
    "kmnist as npz": npz("kmnist", 10),
    "k49": npz("k49", 49),
    **{f"emnist-{part}": emnist(part) for part in EMNIST},
    "cifar-10": cifar(10, packed=True),
    "cifar-10 of Python": cifar(10, packed=False),
    "cifar-100": cifar(100, packed=True),
    "cifar-100 of Python": cifar(100, packed=False),
    "imagenet": imagenet("folders"),
    "imagenet with a solution": imagenet("solution"),
    "imagenet with numbers": imagenet("numbers"),
    "places365": places365,
    "places365 by folder": places_by_folder,
    "vggface2": vggface2,
    "casia-webface": training_faces,
    "imdb-face": training_faces,
    "tinyface": tinyface,
    "deepfashion2": deepfashion2,
    "market-1501": market,
    "gldv2": gldv2,
    "gldv2-all": gldv2,
    "roxford5k": revisited("roxford5k", arrays=True),
    "roxford5k-hard": revisited("roxford5k", arrays=False),
    "rparis6k": revisited("rparis6k", arrays=False),
    "rparis6k-hard": revisited("rparis6k", arrays=True),
}
"""What writes each set; the first word is the name that opens it."""


if __name__ == "__main__":
    for layout, write in LAYOUTS.items():
        write(Path(sys.argv[1]) / layout)
