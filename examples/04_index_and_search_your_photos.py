"""Index a folder of your photos with the large model and search it with the small one, both from 03_export.py.

    python examples/04_index_and_search_your_photos.py ~/Pictures --query ~/Pictures/cat.jpg

Without a folder, a few images of the sample data are written into a temporary one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from compat_sdk import Embedder, Gallery, open_dataset


def sample_photos(folder: Path, count: int = 60) -> Path:
    """Writes images of the sample's gallery as PNG files, one sub-folder per class."""
    split = open_dataset("sample").splits["gallery"]
    for row in range(count):
        path = folder / split.labels[row].replace("/", "-") / f"{split.ids[row]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.images[row]).save(path)  # type: ignore[arg-type]
    return folder


def main() -> None:
    """Embed every photo below a folder, then find the ones that look like a query."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", help="folder with .jpg, .png or .webp files")
    parser.add_argument("--query", type=Path, help="an image; the first photo by default")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="where 03_export.py wrote its bundles")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.photos or sample_photos(Path(scratch) / "photos")
        photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
        large = Embedder.load(arguments.out / "gallery-bundle")
        gallery = Gallery.create(Path(scratch) / "gallery", space=large.space, dim=large.dim)
        names = [path.relative_to(folder).as_posix() for path in photos]
        gallery.add(large.embed(photos), names, [path.parent.name for path in photos])

        small = Embedder.load(arguments.out / "query-bundle")
        query = arguments.query or photos[0]
        print(f"{len(gallery)} photos indexed; most similar to {query.name}:")
        for hit in gallery.search(small.embed(query), k=5)[0]:
            print(f"  {hit.score:.3f}  {hit.id}")


if __name__ == "__main__":
    main()
