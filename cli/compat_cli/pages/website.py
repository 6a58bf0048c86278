"""A static site that searches a gallery on the device: the runtime for browsers, a bundle, a gallery, small pictures.

index.html, app.js, style.css, icon.svg, app.webmanifest, sw.js, site.json
compat-sdk/    the runtime of sdk/web, without its comments
ort/           three files of onnxruntime-web, and three more for WebGPU, which a browser fetches only if it has one
bundle/        manifest.json, one ONNX graph and the golden files
gallery/       gallery.json, vectors and tables; no index, which only Python reads
pictures/      a JPEG per row, 1,000 a folder
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from compat_sdk.bundle import Bundle, Graph, Trust
from compat_sdk.bundle.files import open_files, read_document
from compat_sdk.bundle.names import MANIFEST
from compat_sdk.errors import BundleError, CompatError, ConfigError, DataError, ImageError, IncompatibleSpaceError
from compat_sdk.gallery import Gallery
from compat_sdk.gallery.files import read_checked
from compat_sdk.gallery.state import STATE_FILE, parse_state
from compat_sdk.gallery.store import read_state_bytes
from compat_sdk.images import open_image
from compat_sdk.outputs import Layout, delete_own, require_own
from compat_sdk.progress import Progress
from compat_sdk.shown import shown_value
from compat_sdk.space import may_search

_FILES = Path(__file__).parent / "site_files"
_PACKAGED = _FILES / "compat-sdk"
_TREE = Path(__file__).parents[3] / "sdk" / "web" / "src"
_ORT = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_ORT_WEBGPU = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
# Comments of whole lines and at their ends, indents, empty lines. No text of the runtime spans lines: a test holds it.
_COMMENTS = re.compile(r"^ */\*\*[\s\S]*?\*/\n|^ *//.*\n|^\n|^ +| +// [^\"'`\n]*$", re.MULTILINE)
_PAGES = ("app.js", "style.css", "icon.svg", "index.html")
_ROWS_PER_FOLDER = 1000
_WORD = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_LAYOUT: Layout = {
    r"index\.html|app\.(js|webmanifest)|style\.css|icon\.svg|sw\.js|site\.json": None,
    "compat-sdk": {r"[a-z]+\.js": None},
    "ort": {r"ort[a-z.-]*\.(mjs|wasm)": None},
    "bundle": {
        rf"manifest\.json|{_WORD}\.onnx": None,
        "golden": {r"[a-z]+\.npy": None, "pictures": {r"\d\d\.(jpg|png)": None}},
        _WORD: {rf"{_WORD}": None},
    },
    "gallery": {r"gallery\.json|(vectors|rows)-\d+-[0-9a-f]{16}\.(npy|jsonl?)": None},
    "pictures": {r"\d{4}": {r"\d{7}\.jpg": None}},
}


@dataclass(frozen=True)
class Site:
    """What a site was made of.

    Attributes:
        path: Its folder.
        rows: Rows of the gallery.
        pictures: Rows with a picture.
        space: Embedding space of the gallery.
        bytes: Size of all its files.
    """

    path: Path
    rows: int
    pictures: int
    space: str
    bytes: int


def write_site(
    out: Path,
    bundle: Bundle,
    gallery_folder: Path,
    *,
    onnxruntime_web: Path | None,
    pictures: Path | None,
    title: str,
    k: int,
    precision: str | None,
    side: int,
    webgpu: bool,
    trust: Trust | None,
    progress: Progress,
) -> Site:
    """Write the site, in the place of one that was written before.

    Args:
        out: Its folder; nothing but such a site may be there.
        bundle: The query model.
        gallery_folder: What it searches.
        onnxruntime_web: Where that package is, see `_find_onnxruntime_web`.
        pictures: Folder in which the gallery's ids are paths; None for a site without pictures.
        title: Shown above the page.
        k: Hits shown for a picture.
        precision: Of the ONNX graph; None for the first listed.
        side: Longer side of the small pictures, in pixels.
        webgpu: Whether the engine's part for WebGPU comes along.
        trust: Whose signature the gallery must have, if it is signed or the trust file says that galleries are.
        progress: Told of each picture.

    Raises:
        ConfigError: ``out`` holds something else, or the bundle embeds no images.
        IncompatibleSpaceError: The model may not search the gallery.
        BundleError: The bundle has no such ONNX graph.
        CompatError: The files of onnxruntime-web are not there.
        DataError: None of the gallery's pictures is in the folder.
        OSError: The site cannot be written.
    """
    require_own(out, _LAYOUT, "app web")
    ort = _find_onnxruntime_web(onnxruntime_web, webgpu)
    signed = trust is not None and (trust.galleries or Gallery.is_signed(gallery_folder))
    gallery = Gallery.open(gallery_folder, trust=trust if signed else None)
    state = read_state_bytes(gallery_folder)  # which a collection, or a list of parts, has not
    manifest = bundle.manifest
    if manifest.preprocessing is None:
        raise ConfigError(f"{bundle.path} is a transform of embeddings and takes no images; give a query model")
    if not may_search(manifest.space, manifest.searches, gallery.space):
        may = ", ".join(manifest.searches) or "no other space"
        raise IncompatibleSpaceError(
            manifest.space,
            manifest.searches,
            gallery.space,
            f"the model writes in space {manifest.space} and may search {may}, but the gallery is in space "
            f"{gallery.space}; expected the gallery's own model or a query model trained against it",
        )
    graph = bundle.graph("onnx", precision)
    found = _pictures_of(gallery.ids, pictures)
    delete_own(out, _LAYOUT)
    written = _Written(out)
    for name in _ORT:
        written.put(f"ort/{name}", (ort / name).read_bytes())
    for name in _ORT_WEBGPU if webgpu else ():
        written.put(f"ort/{name}", (ort / name).read_bytes(), kept=False)
    for path in sorted(_runtime().glob("*.js")):
        written.put(f"compat-sdk/{path.name}", _COMMENTS.sub("", path.read_text("utf-8")).encode())
    _put_bundle(written, bundle, graph)
    _put_gallery(written, gallery_folder, state)
    without = _put_pictures(out, found, len(gallery), side, progress)
    about = {"title": title, "k": k, "precision": graph.precision, "pictures": bool(found), "without": without}
    about["webgpu"] = webgpu
    written.put("site.json", json.dumps(about).encode())
    written.put("app.webmanifest", _web_manifest(title))
    for name in _PAGES:  # the page comes last: half a site has none
        written.put(name, (_FILES / name).read_bytes())
    (out / "sw.js").write_bytes(_service_worker(written.digests, written.kept))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Site(out, len(gallery), len(gallery) - len(without), gallery.space, size)


class _Written:
    """The files of a site but its pictures, as they are written."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self.digests: dict[str, str] = {}
        self.kept: list[str] = []

    def put(self, name: str, data: bytes, *, kept: bool = True) -> None:
        """Write one file, named with ``/``; every visitor's browser keeps it, or only one that has asked for it."""
        (self._out / name).parent.mkdir(parents=True, exist_ok=True)
        (self._out / name).write_bytes(data)
        self.digests[name] = hashlib.sha256(data).hexdigest()
        if kept:
            self.kept.append(name)


def _find_onnxruntime_web(given: Path | None, webgpu: bool) -> Path:
    """The folder with onnxruntime-web's files: one that was given, or the nearest ``node_modules`` above this folder.

    Args:
        given: The package, its ``dist``, or the ``node_modules`` that it lies in.
        webgpu: Whether its part for WebGPU is wanted too.

    Raises:
        CompatError: They are not there; the message says how to install them.
    """
    here = Path.cwd()
    places = [given] if given is not None else [folder / "node_modules" for folder in (here, *here.parents)]
    folders = [folder for place in places for folder in (place / "onnxruntime-web" / "dist", place / "dist", place)]
    found = next((folder for folder in folders if all((folder / name).is_file() for name in _ORT)), None)
    if found is None:
        where = (
            f"no node_modules at or above {here} has onnxruntime-web" if given is None else f"{given} lacks {_ORT[0]}"
        )
        raise CompatError(
            f"{where}: the engine that runs the model in the browser; run: npm install onnxruntime-web, or give its "
            f"folder (--onnxruntime-web DIR)"
        )
    lacking = [name for name in _ORT_WEBGPU if webgpu and not (found / name).is_file()]
    if lacking:
        raise CompatError(
            f"{found} lacks {lacking[0]}, which is for browsers with WebGPU; run: npm install onnxruntime-web@latest, "
            f"or write the site without it (--no-webgpu)"
        )
    return found


def _runtime() -> Path:
    """Where the runtime for browsers lies: in the installed package, or in the tree that this file is of."""
    return _PACKAGED if _PACKAGED.is_dir() else _TREE


def _put_bundle(written: _Written, bundle: Bundle, graph: Graph) -> None:
    """The manifest as it is, and of what it lists the graph and the golden files."""
    document = read_document(open_files(bundle.path), MANIFEST)
    if hashlib.sha256(document).hexdigest() != bundle.digest:
        raise BundleError(f"{bundle.path} changed since it was opened; try again")
    written.put(f"bundle/{MANIFEST}", document)
    for name in bundle.manifest.files:
        if graph.is_made_of(name) or name.startswith("golden/"):
            written.put(f"bundle/{name}", bundle.read(name))


def _put_gallery(written: _Written, folder: Path, state: bytes) -> None:
    """The state as it is, and of what it names the vectors and the tables."""
    written.put(f"gallery/{STATE_FILE}", state)
    for segment in parse_state(folder, state).segments:
        for file in (segment.vectors, segment.table):
            written.put(f"gallery/{file.name}", read_checked(folder, file))


def _pictures_of(ids: Sequence[str], folder: Path | None) -> Mapping[int, Path]:
    """The picture of each row that has one in the folder, by row."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; expected the one whose pictures the gallery was built from")
    inside = folder.resolve()
    found = {}
    for row, id in enumerate(ids):
        with suppress(OSError, ValueError):  # an id that no path can be
            path = (folder / id).resolve()
            if path.is_relative_to(inside) and path.is_file():
                found[row] = path
    if ids and not found:
        raise DataError(
            f"{folder} has none of the gallery's pictures, such as {shown_value(ids[0])}; give the folder that `index "
            f"build --images` was given"
        )
    return found


def _put_pictures(out: Path, found: Mapping[int, Path], rows: int, side: int, progress: Progress) -> list[int]:
    """Write the small pictures, and return the rows that have none."""
    without = sorted(set(range(rows)) - set(found))
    for done, (row, path) in enumerate(found.items(), 1):
        place = out / "pictures" / f"{row // _ROWS_PER_FOLDER:04}" / f"{row:07}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            picture = open_image(path)
        except ImageError:
            without.append(row)
            continue
        picture.thumbnail((side, side))
        picture.save(place, "JPEG", quality=80)
        progress("pictures", done, len(found), {})
    return sorted(without)


def _web_manifest(title: str) -> bytes:
    icon = {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}
    return json.dumps({"name": title, "start_url": "./", "display": "standalone", "icons": [icon]}).encode()


def _service_worker(digests: Mapping[str, str], kept: Sequence[str]) -> bytes:
    """The worker that keeps the site, and before it the version and the names of what it fetches for everybody."""
    template = (_FILES / "sw.js").read_bytes()
    version = hashlib.sha256(json.dumps(digests, sort_keys=True).encode() + template).hexdigest()[:16]
    return f'const VERSION = "{version}";\nconst FILES = {json.dumps(sorted(kept))};\n'.encode() + template
