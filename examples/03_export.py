"""Turn the two runs of 02_train_a_compatible_query_model.py into verified ONNX bundles and test them."""

from __future__ import annotations

import argparse
from pathlib import Path

from compat_export import export
from compat_sdk import Bundle, Embedder


def main() -> None:
    """Export OUT/gallery-run and OUT/query-run; nothing is published unless it agrees with PyTorch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples"))
    arguments = parser.parse_args()
    for role in ("gallery", "query"):
        run, folder = arguments.out / f"{role}-run", arguments.out / f"{role}-bundle"
        report = export(run, folder, targets=["onnx"], license="Apache-2.0", overwrite=True)
        for graph in report.graphs:
            print(f"{folder}: {graph.bytes / 2**20:.1f} MiB, worst cosine to PyTorch {graph.parity.worst_cosine:.7f}")

        manifest = Bundle.open(folder).manifest  # every file's SHA-256 is checked here
        print(f"  space {manifest.space}, searches {', '.join(manifest.searches) or 'its own only'}")
        print(f"  {manifest.mmacs:.1f} MMACs, tier {manifest.tier}, licence {manifest.license}")

        test = Embedder.load(folder).self_test()  # the golden images, embedded on this machine
        print(f"  self-test on {test.rows} images: worst cosine {test.min_cosine:.7f}")


if __name__ == "__main__":
    main()
