"""Store vectors, search them, and see a search across embedding spaces refused. Needs the bare runtime only.

With ``--bundle DIR`` (such as one from 03_export.py) images are embedded by that model; without it, their pixels
serve as vectors, so that the example runs before anything has been trained.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from compat_sdk import Embedder, Embeddings, Gallery, IncompatibleSpaceError, Split, open_dataset


def embed(split: Split, bundle: Path | None) -> Embeddings:
    """Unit vectors of a split, which know the space they are written in."""
    if bundle is not None:
        return Embedder.load(bundle).embed(list(split.images))
    pixels = np.stack([np.asarray(image, np.float32).ravel() for image in split.images])
    return Embeddings(pixels / np.linalg.norm(pixels, axis=1, keepdims=True), space="pixels-of-28x28")


def main() -> None:
    """Index the sample's gallery, search it with its queries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="a model; pixels are used without one")
    parser.add_argument("--out", type=Path, help="folder for the gallery; a temporary one by default")
    arguments = parser.parse_args()
    dataset = open_dataset("sample")
    stored, queries = dataset.splits["gallery"], dataset.splits["query"]

    with tempfile.TemporaryDirectory() as scratch:
        vectors = embed(stored, arguments.bundle)
        path = (arguments.out or Path(scratch)) / "gallery"
        gallery = Gallery.create(path, space=vectors.space, dim=vectors.dim)
        gallery.add(vectors, stored.ids, stored.labels)

        hits = gallery.search(embed(queries, arguments.bundle), k=5)
        print(f"query {queries.ids[0]} ({queries.labels[0]}):")
        for hit in hits[0]:
            print(f"  {hit.score:.3f}  {hit.label:12}  {hit.id}")
        right = sum(found[0].label == label for found, label in zip(hits, queries.labels, strict=True))
        print(f"the best hit has the query's class in {100 * right / len(hits):.1f} % of {len(hits)} searches")

        stranger = Embeddings(vectors.vectors[:1], space="another-model")
        try:
            gallery.search(stranger)
        except IncompatibleSpaceError as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    main()
