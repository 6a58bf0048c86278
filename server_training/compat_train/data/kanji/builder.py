"""Builds the kanji set: an open-set retrieval benchmark drawn from fonts that ship as Debian packages.

An identity is a character of JIS X 0208 level 1, an instance is a typeface. Test identities are unseen
in training, queries are brush, pen and display faces, the gallery is print faces: the structure of face
or consumer-to-shop retrieval, on any machine, with nothing to download but fonts.

Run it with ``compat-sdk data build kanji --out DIR`` or ``python -m compat_train.data.kanji.builder``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from PIL import features

from compat_sdk.arrays import save_array
from compat_sdk.bundle.folder import replace_folder
from compat_sdk.errors import CompatError, ConfigError, CorruptFileError, DataError
from compat_sdk.files.atomic import make_folder, write_atomic
from compat_sdk.files.digests import sha256_file
from compat_sdk.files.documents import read_json
from compat_sdk.outputs import Layout, require_own
from compat_sdk.progress import Progress
from compat_sdk.workers import Workers, usable_cores
from compat_train.data.kanji.faces import FACES, Face
from compat_train.data.kanji.glyphs import TILE_PX, jis_level_1, render_face
from compat_train.data.kanji.plan import SEED, plan_rows, split_identities, unfit_faces, unseen_rows

FORMAT, VERSION = "compat-sdk-kanji", 1
_LAYOUT: Layout = {r"(images|rows|unseen|unseen-rows)\.npy": None, r"meta\.json": None}
FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("~/.local/share/fonts"))


@dataclass(frozen=True)
class KanjiSet:
    """What was built.

    Attributes:
        path: Folder with ``images.npy``, ``rows.npy`` and ``meta.json``, and with ``unseen.npy`` and
            ``unseen-rows.npy``: what ``kanji-hard`` has beyond them.
        images: Images per split.
        identities: Characters per split.
        print_faces: Names of the gallery's faces.
        query_faces: Names of the queries' faces.
        dropped: Faces of the table that were left out, with the reason.
    """

    path: Path
    images: Mapping[str, int]
    identities: Mapping[str, int]
    print_faces: tuple[str, ...]
    query_faces: tuple[str, ...]
    dropped: Mapping[str, str]


def build_kanji(
    out: str | Path,
    *,
    progress: Progress | None = None,
    processes: int | None = None,
    font_folders: Sequence[Path] = FONT_FOLDERS,
) -> KanjiSet:
    """Draws the kanji set into a folder and returns what is in it.

    The same fonts, Pillow and FreeType give the same bytes. The folder appears complete or not at all.

    Args:
        out: Folder to write. It must be absent, empty, or a kanji set, which is then replaced.
        progress: Called as ``(stage, done, total, values)`` after every face.
        processes: How many processes draw, at least 1; by default one per usable core. They are spawned,
            so a script that calls this needs the usual ``if __name__ == "__main__"``.
        font_folders: Where to look for the font files.

    Raises:
        ConfigError: ``processes`` is below 1, or the folder holds other things.
        DataError: Fonts are missing; the message names the packages.
    """
    if processes is not None and processes < 1:
        raise ConfigError(f"processes is {processes}; expected 1 or more")
    out = Path(out)
    _require_replaceable(out)
    paths = find_fonts(FACES, font_folders)
    characters = jis_level_1()
    tiles, present = _render(FACES, paths, characters, processes or usable_cores(), progress)
    dropped = unfit_faces(FACES, tiles, present)
    kept = [row for row, face in enumerate(FACES) if face.name not in dropped]
    faces = [FACES[row] for row in kept]
    identities = split_identities(characters)
    rows = plan_rows(identities, characters, faces, present[kept])
    stored = {"images": np.concatenate([rows[name] for name in rows])}
    stored["unseen"] = unseen_rows(identities, characters, faces, present[kept])
    kept_rows = np.asarray(kept)
    make_folder(out.parent)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for name, order in stored.items():
            save_array(folder / f"{name}.npy", tiles[kept_rows[order[:, 1]], order[:, 0]])
        save_array(folder / "rows.npy", stored["images"])
        save_array(folder / "unseen-rows.npy", stored["unseen"])
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "characters": "".join(characters),
            "faces": [asdict(face) | {"name": face.name} for face in faces],
            "fonts_sha256": {face.file: sha256_file(paths[face.file]) for face in faces},
            **{f"{name}_sha256": sha256_file(folder / f"{name}.npy") for name in stored},
            "dropped": dropped,
            "splits": {name: len(part) for name, part in rows.items()},
            "identities": {name: len(part) for name, part in identities.items()},
            "seed": SEED,
            "pillow": pillow_version,
            "freetype": features.version("freetype2"),
        }
        write_atomic(folder / "meta.json", (json.dumps(meta, indent=2, ensure_ascii=False) + "\n").encode())
        folder.chmod(0o755)
        replace_folder(folder, out, lambda: _require_replaceable(out))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return KanjiSet(
        path=out,
        images={name: len(part) for name, part in rows.items()},
        identities={name: len(part) for name, part in identities.items()},
        print_faces=tuple(face.name for face in faces if face.role == "print"),
        query_faces=tuple(face.name for face in faces if face.role == "query"),
        dropped=dropped,
    )


def find_fonts(faces: Iterable[Face], folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the path of every face's file.

    Raises:
        DataError: Some are not installed; the message names the Debian packages that bring them.
    """
    faces = tuple(faces)
    wanted = {face.file for face in faces}
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.expanduser().rglob("*.[to]t[fc]")):
            if path.name in wanted:
                found.setdefault(path.name, path)
    missing = [face for face in faces if face.file not in found]
    if missing:
        packages = " ".join(sorted({face.package for face in missing}))
        raise DataError(
            f"{len(missing)} of {len(wanted)} fonts are not installed; on Debian run: "
            f"apt install --no-install-recommends {packages}"
        )
    return found


def _render(
    faces: Sequence[Face],
    paths: Mapping[str, Path],
    characters: Sequence[str],
    processes: int,
    progress: Progress | None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Returns tiles ``[faces, characters, 32, 32]`` and presence ``[faces, characters]``."""
    tiles = np.zeros((len(faces), len(characters), TILE_PX, TILE_PX), np.uint8)
    present = np.zeros((len(faces), len(characters)), np.bool_)
    with Workers(processes) as workers:
        coming = [workers.submit(render_face, paths[face.file], characters) for face in faces]
        for row, drawn in enumerate(coming):
            tiles[row], present[row] = drawn.result()
            if progress is not None:
                progress("draw kanji", row + 1, len(faces), {"missing": float((~present[row]).sum())})
    return tiles, present


def _require_replaceable(out: Path) -> None:
    """Refuses a folder that is not absent, empty or a kanji set and nothing else."""
    require_own(out, _LAYOUT, "data build kanji")
    if out.is_symlink():
        raise ConfigError(f"{out} is a link, which the new folder cannot replace; name the folder itself")
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        meta = read_json(out / "meta.json")
    except CorruptFileError:
        meta = {}
    if meta.get("format") != FORMAT:
        raise ConfigError(f"{out} exists and is not a kanji set; choose another folder or empty this one")


def main() -> int:
    """Builds the set from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the kanji retrieval set from installed fonts.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--processes", type=int, help="how many processes draw")
    arguments = parser.parse_args()
    try:
        built = build_kanji(arguments.out, processes=arguments.processes)
    except CompatError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(
        f"{built.path}: {dict(built.images)} images, {len(built.print_faces)} print and "
        f"{len(built.query_faces)} query faces, left out: {dict(built.dropped) or 'none'}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
