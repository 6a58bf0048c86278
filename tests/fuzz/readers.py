"""Everything that reads a file which may come from elsewhere, and what it yields, in a form that can be compared."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import random
import tomllib
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from compat_cli.commands.train import COMMANDS
from compat_cli.origins import Origins
from compat_cli.pages.story import Story
from compat_cli.settings.told import gather
from compat_sdk.bundle import Bundle
from compat_sdk.bundle.trust import Trust
from compat_sdk.datasets import Dataset, open_dataset
from compat_sdk.datasets.idx import read_idx
from compat_sdk.datasets.lock import require_all_locked, require_locked
from compat_sdk.datasets.published.ijb import open_ijb
from compat_sdk.errors import CorruptFileError, GalleryError
from compat_sdk.exchange import Reading, open_source
from compat_sdk.files.documents import read_json
from compat_sdk.files.seal import sealed_json
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.lock import write_lock
from compat_sdk.gallery.opening import load_snapshot
from compat_sdk.gallery.payload import read_payload
from compat_sdk.gallery.release import Release, read_release
from compat_sdk.images import PackedPicture, image_size, load_image
from compat_sdk.profile.block_graphs import read_blocks
from compat_sdk.profile.block_table import load_block_table
from compat_sdk.profile.latency_table import load_table
from compat_sdk.stores.addresses import QdrantAddress
from compat_sdk.stores.points import rows_of
from compat_sdk.stores.qdrant import Collection
from compat_sdk.upgrade.collection.places import find
from compat_sdk.upgrade.embedding_again import embedded_again
from compat_sdk.upgrade.manifest import FOLDER, require_manifest
from compat_sdk.upgrade.shard import read_record
from compat_train.config.gallery import GalleryConfig
from compat_train.data.origin import Origin
from compat_train.evaluation.held_out import _kept
from compat_train.models.global_space import GlobalMember, Layer
from compat_train.nas.cmp.evaluations import Evaluations, Measure, Score
from compat_train.nas.cmp.train_supernet import _finished
from compat_train.nas.cmp.validation import Validation
from compat_train.nas.global_nas.log import CandidateLog
from compat_train.recipe import read_recipe
from compat_train.runs.certificates import read_certificates
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.choices import read_choices
from compat_train.runs.data_record import require_same_data
from compat_train.runs.layout import RUN, require_run
from compat_train.runs.log import TrainingLog, read_log
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import alone
from compat_train.runs.weights_file import read_weights
from tests.fuzz.mutate import changed, mutant, toml
from tests.fuzz.reader import LONGEST_MESSAGE, Case, Forge, Reader
from tests.golden.files import HERE
from tests.train.nas.toy import MEMBERS, SETTINGS

_RELEASED, _OWN = HERE / "0.7", Path(__file__).parent / "corpus"


def readers() -> tuple[Reader, ...]:
    """All of them."""
    return tuple(_readers())


def _readers() -> Iterator[Reader]:
    bundles = [_RELEASED / "bundles" / f"{name}.bundle" for name in ("query", "h", "pixels")]
    bundles = [folder for folder in bundles if folder.is_dir()] + [_OWN / "bundle", _OWN / "transform"]
    yield Reader("manifest", _bundle, _cases(bundles, "manifest.json"), True, _value, _JSON)
    yield Reader("golden", _bundle, _cases(bundles, "golden/*.npy"), True, _listed("manifest.json"), _NPY)
    zips = (Case(_RELEASED / "bundles", "query.bundle.zip"), Case(_OWN / "zip", "bundle.zip"))
    yield Reader("zip", _zip, zips, True, words=(b"PK\3\4", b"PK\1\2", b"PK\5\6", b"manifest.json", b"../x"))
    galleries = [_RELEASED / "galleries" / name for name in ("ann", "bytes", "half", "plain")]
    yield Reader("state", _gallery, _cases(galleries, "gallery.json"), True, _value, _JSON)
    yield Reader("rows", _gallery, _cases(galleries, "rows-*.json"), True, _listed("gallery.json"), _JSON)
    yield Reader("vectors", _gallery, _cases(galleries, "vectors-*.npy"), True, _listed("gallery.json"), _NPY)
    yield Reader("vectors-verify", _verified, _cases(galleries, "vectors-*.npy"), True, _listed("gallery.json"), _NPY)
    yield Reader("index-verify", _verified, _cases(galleries[:1], "index-*.usearch"), True)
    begun = [_RELEASED / "galleries" / name for name in ("begun", "over")]
    yield Reader("upgrade", _upgrade, _cases(begun, "upgrade/manifest.json"), True, _value, _JSON)
    yield Reader("shard", _shard, _cases(begun, "upgrade/shards/shard-*.json"), True, _value, _JSON)
    runs = [_RELEASED / "runs" / name for name in ("gallery", "query")]
    yield Reader("model-0.7", _run, _cases(runs, "model.json"), False, _value, _JSON)
    yield Reader("model", _run, _cases([_OWN / "run"], "model.json"), True, _value, _JSON)
    weights = _cases([*runs, _OWN / "run"], "model.safetensors")
    yield Reader(
        "weights", _run, weights, True, _listed("model.json"), (b'"dtype"', b'"F32"', b'"I64"', b"__metadata__")
    )
    published = _cases([_OWN / "weights"], "*")
    yield Reader(
        "published-weights", _published, published, False, _rezipped, (b"cstorage\n", b"\x80\x02", b"PK\3\4", b"q\0")
    )
    yield Reader("certificate", _certified, _cases([_OWN / "run"], "certificates/*.json"), True, _value, _JSON)
    yield Reader("recipe", _recipe, _cases([_RELEASED], "recipe.toml"), False, _table, _TOML)
    yield Reader("latency", _latency, _cases([_RELEASED], "latency.json"), False, _value, _JSON)
    yield Reader("blocks", _blocks, _cases([_OWN / "blocks"], "blocks.json"), True, _value, _JSON)
    yield Reader("block-table", _block_table, _cases([_OWN / "blocks"], "device.json"), False, _value, _JSON)
    yield Reader(
        "csv", _csv, _cases([_OWN / "csv"], "list.csv"), words=(b'"', b",", b"\r", b"..", b"train", b"\xff", b"path")
    )
    yield Reader(
        "listing", _csv, _cases([_OWN / "list"], "list.txt"), words=(b"\r", b"..", b"/", b"\0", b"\xff", b".jpg")
    )
    yield Reader(
        "shards", _shards, _cases([_OWN / "tar"], "*.tar"), words=(b"ustar", b"\0" * 512, b"path=", b"7777777", b".cls")
    )
    yield Reader(
        "idx", _idx, _cases([_OWN / "idx"], "*.idx*"), words=(b"\x1f\x8b", b"\0\0\x08\x03", b"\xff\xff\xff\xff")
    )
    yield from _published_sets()
    yield from _vectors_of_others()
    yield Reader("kanji", _kanji, _cases([_OWN / "kanji"], "meta.json"), False, _value, _JSON)
    yield Reader("kanji-arrays", _kanji, _cases([_OWN / "kanji"], "*.npy"), words=_NPY)
    yield Reader(
        "image", _image, _cases([_OWN / "images"], "*"), words=(b"\xff\xd8", b"\xff\xe1", b"IHDR", b"iCCP", b"ftyp")
    )
    yield from _notes()


def _vectors_of_others() -> Iterator[Reader]:
    """Files of vectors that others wrote, what a store says of itself, and what is kept beside a gallery."""
    files = _OWN / "vectors"
    if importlib.util.find_spec("pyarrow"):
        tables = (*_cases([files], "v.parquet"), *_cases([files], "v.arrow"))
        yield Reader("tables", _source, tables, words=(b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"vector", b"space"))
    yield Reader("npz-rows", _source, _cases([files], "v.npz"), words=(b"PK\3\4", b"PK\1\2", b"vectors.npy", *_NPY))
    yield Reader("npy-rows", _source, _cases([files], "v.npy"), words=_NPY)
    yield Reader("npy-ids", _source_of_ids, _cases([files], "ids.*"), words=(*_NPY, b"\n", b"\xff"))
    yield Reader("hnswlib", _source, _cases([files], "v.hnswlib"), words=(b"\xff" * 8, b"\0" * 8, b"\x01"))
    if importlib.util.find_spec("faiss"):
        yield Reader("faiss", _source, _cases([files], "v.faiss"), words=(b"IxFI", b"IxMp", b"\xff" * 8), dear=True)
    yield Reader("collection", _collection, _cases([_OWN / "collection"], "metadata.json"), False, _value, _JSON)
    kept = _OWN / "kept"
    yield Reader("payload", _payload, _cases([kept], "payload.jsonl"), False, _rows, _JSON, notes=True)
    yield Reader("payload-signed", _signed_payload, _cases([kept], "payload.jsonl"), True, words=_JSON)
    yield Reader("release", _release, _cases([kept], "release.json"), True, _value, _JSON)
    yield Reader("backfilled", _backfilled, _cases([kept], "upgrade/backfilled.jsonl"), False, _rows, _JSON)


def _published_sets() -> Iterator[Reader]:
    """Lists, annotations, pickles and records of sets as their makers distribute them."""
    sets = _OWN / "published"
    lists = tuple(Case(sets / name, target) for target, name in _SETS.items() if target.endswith((".csv", ".txt")))
    yield Reader("set-lists", _set, lists, words=(b",", b"\n", b" ", b"..", b"/", b"\xff", b"Private", b"9" * 30))
    yield Reader("templates", _templates, _cases([sets / "ijb"], "meta/*"), words=(b" ", b"nan", b"1e9", b",", b"\n"))
    annotations = _cases([sets / "deepfashion2"], "validation/annos/*.json")
    yield Reader("garments", _set, annotations, False, _annotation, _JSON)
    pickles = _cases([sets / "roxford5k", sets / "roxford5k-hard"], "*.pkl")
    yield Reader("ground-truth", _set, pickles, words=_PICKLE)
    yield Reader("face-pairs", _packed, _cases([sets / "pairs"], "*.bin"), words=_PICKLE)
    numbers = (b"\x0a\x23\xd7\xce", b"\xff" * 8, b"\t", b"\n", b"9" * 12)
    yield Reader("face-records", _packed_records, _cases([sets / "records"], "train.*"), words=numbers)
    yield Reader(
        "npz", _set, _cases([sets / "kmnist"], "*test-labels.npz"), words=(b"PK\3\4", b"PK\1\2", b"arr_0.npy", *_NPY)
    )


def _notes() -> Iterator[Reader]:
    """What commands write for themselves, and files that say how a command works."""
    search, interrupted = _OWN / "search", _OWN / "interrupted"
    yield Reader("settings", _told, _cases([_OWN / "settings"], "gallery.toml"), False, _table, _TOML)
    yield Reader("trust", _trust, _cases([_OWN / "trust"], "trust.json"), False, _value, _JSON)
    yield Reader("trust-toml", _trust, _cases([_OWN / "trust"], "trust.toml"), False, _table, _TOML)
    yield Reader("origins", _origins, _cases([_OWN / "origins"], "origins.jsonl"), False, _rows, _JSON, notes=True)
    yield Reader("scores", _scores, _cases([search], "scores.jsonl"), False, _rows, _JSON)
    yield Reader("candidates", _candidates, _cases([search], "candidates.jsonl"), True, _rows, _JSON)
    yield Reader("validation", _validation, _cases([search], "validation/digest.json"), True, _value, _JSON)
    yield Reader("validation-arrays", _validation, _cases([search], "validation/*.npy"), True, words=_NPY)
    yield Reader("supernet", _supernet, _cases([search], "supernet.json"), True, _value, _JSON)
    points = _cases([interrupted], "state/*.json")
    yield Reader("resume", _resumed, points, False, _value, _JSON, notes=True)
    tensors = _cases([interrupted], "state/*.safetensors")
    yield Reader("resume-tensors", _resumed, tensors, words=(b'"F32"',), notes=True)
    yield Reader("begun", _begun, points, False, _value, _JSON, notes=True)
    yield Reader("log", _log, _cases([interrupted], "log.jsonl"), False, _rows, _JSON, notes=True)
    yield Reader("data-record", _same_data, _cases([interrupted], "data.json"), False, _value, _JSON)
    yield Reader("data-lock", _locked, _cases([_OWN / "locked"], "compat-data.lock.json"), True, _value, _JSON)
    yield Reader("gallery-lock", _write_lock, _cases([_OWN / "locks"], "gallery.lock"), notes=True)
    yield Reader("run-lock", _alone, _cases([_OWN / "locks"], "lock"), notes=True)
    yield Reader("held-out", _held_out, _cases([_OWN / "known"], "held_out.json"), True, _value, _JSON)
    yield Reader("choices", _choices, _cases([_OWN / "known"], "choices.json"), False, _value, _JSON)
    yield Reader("quickstart", _step, _cases([_OWN / "story"], "steps/*.json"), True, _value, _JSON)


_JSON = (
    b"{",
    b"}",
    b"[",
    b"]",
    b"[" * 3000,
    b'{"a":' * 3000,
    b":",
    b",",
    b"null",
    b"1e400",
    b'"\\ud800"',
    b'"digest"',
    b"\xff",
)
_TOML = (
    b"[",
    b"]",
    b"[[",
    b"=",
    b"{",
    b"}",
    b"inf",
    b"nan",
    b"1979-05-27T07:32:00Z",
    b"[" * 3000,
    b'"""',
    b"cmp",
    b"global",
)
_SETS = {
    "index.csv": "gldv2",
    "train_clean.csv": "gldv2",
    "retrieval_solution_v2.1.csv": "gldv2",
    "LOC_val_solution.csv": "imagenet",
    "emnist-letters-mapping.txt": "emnist-letters",
    "categories_places365.txt": "places365",
    "places365_train_standard.txt": "places365",
    "places365_val.txt": "places365",
    "gnd_roxford5k.pkl": "roxford5k",
    "kmnist-test-labels.npz": "kmnist",
}
"""The set that a file belongs to; annotations of garments are the others."""
_PICKLE = (
    b"]" * 3000,
    b"(" * 3000,
    b"\x86" * 40,
    b"cos\nsystem\n",
    b"cnumpy\ndtype\n",
    b"R",
    b"b",
    b"\x93",
    b"h\0",
    b"j\xff\xff\xff\xff",
    b"\x8e" + b"\xff" * 8,
    b"T\xff\xff\xff\x7f",
    b"L" + b"9" * 5000 + b"L\n",
    b"I01\n",
    b"\x88",
    b"u",
    b"e",
    b".",
)
_NPY = (b"\x93NUMPY", b"descr", b"'|O'", b"'<f8'", b"(", b")", b"shape", b"(1, 0)", b"True", b"L", b"{", b"'")


def _cases(folders: list[Path], pattern: str) -> tuple[Case, ...]:
    found = [
        Case(folder, at.relative_to(folder).as_posix()) for folder in folders for at in sorted(folder.glob(pattern))
    ]
    if not found:
        raise FileNotFoundError(f"no {pattern} in {folders}")
    return tuple(found)


def _bundle(folder: Path, target: str) -> object:
    bundle = Bundle.open(folder)
    return bundle.manifest, [array.tobytes() for array in bundle.golden_arrays()]


def _zip(folder: Path, target: str) -> object:
    return _bundle(folder / target, target)


def _gallery(folder: Path, target: str) -> object:
    gallery = Gallery.open(folder)
    info = gallery.info()
    info.pop("path")
    return gallery.ids, gallery.labels, gallery.vectors.tobytes(), info


def _verified(folder: Path, target: str) -> object:
    gallery = Gallery.open(folder, verify=False)
    problems = gallery.verify()
    if problems:
        raise GalleryError(problems[0])
    return gallery.vectors.tobytes()


def _upgrade(folder: Path, target: str) -> object:
    manifest = require_manifest(folder)
    return manifest, manifest.rows, manifest.shards[:1000]


def _shard(folder: Path, target: str) -> object:
    manifest = require_manifest(folder)
    found = read_record(folder / FOLDER, manifest.shards[0], manifest.transform)
    if found is None:
        raise GalleryError("it is made again")
    return found


def _run(folder: Path, target: str) -> object:
    found = Checkpoint.load(folder)
    found.build()
    rest = {name: value for name, value in found.__dict__.items() if name not in ("state", "classifier", "path")}
    return rest, {name: value.numpy().tobytes() for name, value in found.state.items()}


def _published(folder: Path, target: str) -> object:
    found = read_weights(folder / target)
    return {name: value.numpy().tobytes() for name, value in found.tensors.items() if value.dtype != torch.bfloat16}


def _certified(folder: Path, target: str) -> object:
    space = json.loads((folder / "model.json").read_bytes())["model"]["space"]
    return read_certificates(folder, space)


def _recipe(folder: Path, target: str) -> object:
    return read_recipe(folder / target, folder / "out")


def _latency(folder: Path, target: str) -> object:
    table = load_table(folder / target)
    return table, table.correlation


def _blocks(folder: Path, target: str) -> object:
    found = read_blocks(folder)
    return found.target, found.settings, found.graphs


def _block_table(folder: Path, target: str) -> object:
    table = load_block_table(folder / target)
    return table, table.error, table.milliseconds(dict.fromkeys(table.blocks, 1.0))


def _csv(folder: Path, target: str) -> object:
    return _facts(open_dataset(folder / target))


def _shards(folder: Path, target: str) -> object:
    dataset = open_dataset(folder / target)
    members = [member for member in dataset.split("train").images if isinstance(member, PackedPicture)]
    return _facts(dataset), [hashlib.sha256(member.read()).hexdigest() for member in members]


def _set(folder: Path, target: str) -> object:
    dataset = open_dataset(_SETS.get(target, "deepfashion2"), folder)
    return _facts(dataset), dataset.relevance and [rows.tolist() for rows in dataset.relevance.positives]


def _templates(folder: Path, target: str) -> object:
    faces = open_ijb(folder, "ijbc")
    arrays = (faces.quality, faces.templates, faces.media, faces.pairs, faces.same, faces.probes.people)
    return faces.images.ids, [image.matrix for image in faces.images.images], [array.tolist() for array in arrays]  # type: ignore[union-attr]


def _packed(folder: Path, target: str) -> object:
    dataset = open_dataset(folder / target)
    members = [image for split in dataset.splits.values() for image in split.images if isinstance(image, PackedPicture)]
    return _facts(dataset), dataset.same, [hashlib.sha256(member.read()).hexdigest() for member in members]


def _packed_records(folder: Path, target: str) -> object:
    return _packed(folder, "train.rec")


def _annotation(folder: Path, target: str, draw: random.Random) -> dict[str, bytes]:
    """Other JSON values in an annotation."""
    return {target: json.dumps(changed(json.loads((folder / target).read_bytes()), draw)).encode()}


def _source(folder: Path, target: str, reading: Reading | None = None) -> object:
    if target == "v.npy":
        reading = Reading(ids=folder / "ids.npy")
    with open_source(folder / target, reading) as source:
        rows = list(source.read())
    return source.space, [(one.ids, one.labels, one.payload, one.vectors.tobytes()) for one in rows]


def _source_of_ids(folder: Path, target: str) -> object:
    return _source(folder, "v.hnswlib", Reading(ids=folder / target))


class _Store:
    """A client of a store in which every collection has the same metadata."""

    def __init__(self, metadata: object) -> None:
        vectors = SimpleNamespace(size=8, distance="Cosine", multivector_config=None)
        self._config = SimpleNamespace(params=SimpleNamespace(vectors=vectors), metadata=metadata)

    def get_collection(self, _: str) -> object:
        return SimpleNamespace(config=self._config)

    def collection_exists(self, _: str) -> bool:
        return True

    def get_aliases(self) -> object:
        return SimpleNamespace(aliases=[SimpleNamespace(alias_name="photos", collection_name="photos--old")])

    def get_collections(self) -> object:
        return SimpleNamespace(collections=[SimpleNamespace(name=f"photos--{name}") for name in ("new", "old")])


def _collection(folder: Path, target: str) -> object:
    told = read_json(folder / target)
    metadata = told.get("metadata")  # which a store keeps as an object, whatever is in it
    alias = Collection(_Store(metadata if isinstance(metadata, dict) else None), QdrantAddress("photos"))
    shape, places = alias.shape(), find(alias)
    beside = told.get("payload")
    point = SimpleNamespace(id=7, vector=[0.0] * 8, payload=beside if isinstance(beside, dict) else None)
    row = rows_of([point], shape, "label", vectors=True)
    return shape, places.note, str(places.old.address), places.over, row.ids, row.labels, row.payload


def _payload(folder: Path, target: str) -> object:
    return read_payload(folder)


def _signed_payload(folder: Path, target: str) -> object:
    return read_payload(folder, None, _release(folder, target).payload)


def _release(folder: Path, target: str) -> Release:
    data = read_release(folder)
    if data is None:
        raise GalleryError("there is no release")
    return Release.parse(data, folder / "release.json")


def _backfilled(folder: Path, target: str) -> object:
    return embedded_again(folder / FOLDER, load_snapshot(folder, False))


def _held_out(folder: Path, target: str) -> object:
    found = _kept(folder / target, "big-8-bbbbbbbbbbbb")
    if found is None:
        raise CorruptFileError("it is measured again")
    return found


def _choices(folder: Path, target: str) -> object:
    return read_choices(folder)


def _kanji(folder: Path, target: str) -> object:
    return _facts(open_dataset("kanji-hard", folder) if target.startswith("unseen") else open_dataset(folder))


def _facts(dataset: Dataset) -> object:
    return [(name, split.labels, split.ids) for name, split in dataset.splits.items()]


def _idx(folder: Path, target: str) -> object:
    array = read_idx(folder / target, 3)
    return array.shape, array.tobytes()


def _image(folder: Path, target: str) -> object:
    size = image_size(folder / target)
    image, orientation = load_image(folder / target, 8)
    return size, image.size, image.tobytes(), orientation


def _told(folder: Path, target: str) -> object:
    told = gather(COMMANDS[0], {}, (), folder / target)
    return told.config(GalleryConfig)


def _trust(folder: Path, target: str) -> object:
    return Trust.read(folder / target)


def _origins(folder: Path, target: str) -> object:
    known = Origins(folder)
    pictures = [folder / "a.png", folder / "b.png"]
    found = known.others(["a", "ben/b"], pictures)
    known.record(["a"], pictures[:1])
    return found, Origins(folder).others(["a"], pictures[:1])


def _scores(folder: Path, target: str) -> object:
    def make() -> Measure:
        return lambda member, need: Score(0.5, 0.5)

    with Evaluations(folder / target, SETTINGS, make) as found:
        return found.scores(MEMBERS[:5], "both")


def _candidates(folder: Path, target: str) -> object:
    log = CandidateLog(folder / target, SETTINGS)
    member = GlobalMember(width=8, layers=(Layer(),) * 4)
    return log.rows, log.score(member, 1), log.total("wall_seconds")


def _validation(folder: Path, target: str) -> object:
    return Validation.settings(folder / "validation"), Validation.load(folder / "validation").sha256()


def _supernet(folder: Path, target: str) -> object:
    return _finished(folder, dict(SETTINGS), Origin([], [], []))


def _resumed(folder: Path, target: str) -> object:
    found = ResumePoints(folder).newest()
    if found is None:
        raise CorruptFileError("there is no resume point")
    step, tensors, facts, damaged = found
    if damaged and max(map(len, damaged)) > LONGEST_MESSAGE:
        raise ValueError(damaged)
    return step, {name: value.numpy().tobytes() for name, value in tensors.items()}, facts


def _begun(folder: Path, target: str) -> object:
    return require_run(folder, RUN, {"seed": 1, "lr": 0.1})


def _log(folder: Path, target: str) -> object:
    rows = read_log(folder)
    with TrainingLog(folder, 3) as log:
        log.write(4, 1, 0.1, {"own": 0.25})
    return rows, read_log(folder)


def _same_data(folder: Path, target: str) -> object:
    pictures = [_OWN / "origins" / f"{name}.png" for name in "ab"]
    return require_same_data(folder, Origin(pictures, ["x", "y"], ["a", "b"]))


def _locked(folder: Path, target: str) -> object:
    require_locked(folder)
    return require_all_locked(folder, sorted((folder / "train").iterdir()))


def _write_lock(folder: Path, target: str) -> object:
    with write_lock(folder, target):
        return None


def _alone(folder: Path, target: str) -> object:
    with alone(folder / target, "training"):
        return None


@lru_cache
def _sample() -> Dataset:
    return open_dataset("sample")


def _step(folder: Path, target: str) -> object:
    story = Story(folder, _sample(), 0, 1, lambda *_: None)
    return story._once(1, "train", lambda: None)


def _value(folder: Path, target: str, draw: random.Random) -> dict[str, bytes]:
    """Another JSON value under a digest of its own."""
    value = changed(json.loads((folder / target).read_bytes()), draw)
    return {target: _sealed(value)}


def _table(folder: Path, target: str, draw: random.Random) -> dict[str, bytes]:
    """Other TOML values."""
    value = changed(tomllib.loads((folder / target).read_text("utf-8")), draw)
    lines = [f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()] if isinstance(value, dict) else []
    return {target: "\n".join(lines).encode("utf-8", "surrogatepass")}


def _rows(folder: Path, target: str, draw: random.Random) -> dict[str, bytes]:
    """Other JSON values in the lines, each line under a digest of its own."""
    lines = [json.loads(line) for line in (folder / target).read_bytes().splitlines()]
    lines = changed(lines, draw)
    if not isinstance(lines, list):
        lines = [lines]
    sealed = [_sealed(line) for line in lines]
    try:
        flat = [json.dumps(json.loads(line)).encode() for line in sealed]
    except (ValueError, RecursionError):
        flat = [line.replace(b"\n", b" ") for line in sealed]
    return {target: b"\n".join(flat) + draw.choice((b"\n", b"\n", b""))}


def _rezipped(folder: Path, target: str, draw: random.Random) -> dict[str, bytes]:
    """The same archive with one entry changed and its checksum made anew; other bytes where it is none."""
    before, buffer = (folder / target).read_bytes(), io.BytesIO()
    if not target.endswith(".pth"):
        return {target: mutant(before, [before], (), draw)}
    with zipfile.ZipFile(io.BytesIO(before)) as source, zipfile.ZipFile(buffer, "w") as archive:
        chosen = draw.choice([name for name in source.namelist() if name.endswith(("data.pkl", "data.pkl", "/0"))])
        for name in source.namelist():
            data = source.read(name)
            archive.writestr(name, mutant(data, [data], (), draw) if name == chosen else data)
    return {target: buffer.getvalue()}


def _listed(holder: str) -> Forge:
    """Other bytes, with the record in ``holder`` made anew, and the digest of that."""

    def forge(folder: Path, target: str, draw: random.Random) -> dict[str, bytes]:
        before = (folder / target).read_bytes()
        after = mutant(before, [before], (*_JSON, *_NPY), draw)
        if target.endswith(".json") and draw.random() < 0.5:
            after = json.dumps(changed(json.loads(before), draw)).encode()
        old, new = _record(before), _record(after)
        text = (folder / holder).read_text("utf-8").replace(old["sha256"], new["sha256"])
        value = json.loads(text)
        _resize(value, new)
        return {target: after, holder: _sealed(value)}

    return forge


def _record(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _resize(value: Any, record: dict[str, Any]) -> None:
    if isinstance(value, dict) and value.get("sha256") == record["sha256"]:
        value["bytes"] = record["bytes"]
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _resize(item, record)


def _sealed(value: Any) -> bytes:
    """A value under its own digest, or, where no digest of it can be made, without."""
    try:
        return sealed_json({key: item for key, item in value.items() if key != "digest"})
    except (AttributeError, ValueError, TypeError, RecursionError, MemoryError):  # deep values take much indentation
        return json.dumps(value, skipkeys=True).replace("Infinity", "1e400").encode()
