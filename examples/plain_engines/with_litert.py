"""A bundle's LiteRT graph in ai-edge-litert alone, without compat-sdk.

    python with_litert.py BUNDLE BUNDLE/tflite-fp32/model.tflite

It embeds the pictures that every bundle carries, from their bytes, and compares with what the trained model made of
them. The manifest says all that a client must know: what is done to a picture, and the graph's names, axes and batch.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

bundle, graph = map(Path, sys.argv[1:])
manifest = json.loads((bundle / "manifest.json").read_text())
(record,) = [found for found in manifest["graphs"] if bundle / found["file"] == graph]
steps = manifest["preprocessing"]


def decoded(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """A picture's file as the model wants it: uint8 [size, size, 3], RGB, upright."""
    size, kernel = steps["size"], Image.Resampling[steps["resize"].upper()]
    picture: Image.Image = Image.open(path)
    kept = steps.get("crop", 1.0)  # central part of the sides; left out where all is kept
    if steps["draft"]:  # a JPEG is decoded at a fraction of its size, no smaller than this many times what is needed
        least = math.ceil(steps["draft"] * size / kept)
        picture.draft(None, (least, least))
    if picture.has_transparency_data:  # laid on white
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    width, height = picture.width * kept, picture.height * kept
    if steps["fit"] == "crop":
        width = height = min(width, height)
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    # Rows first, then columns: in one call the order is up to Pillow's version.
    rows = picture.convert("RGB").resize((size, picture.height), kernel, box=(left, 0, left + width, picture.height))
    return np.array(ImageOps.exif_transpose(rows.resize((size, size), kernel, box=(0, top, size, top + height))))


pixels = np.load(bundle / "golden" / "images.npy")  # uint8 [n, size, size, 3], RGB
for row, path in enumerate(sorted((bundle / "golden" / "pictures").glob("*"))):  # bundles of 0.7 have none
    pixels[row] = decoded(path)
# One formula for every graph: one that normalises itself has mean 0 and std 1/255 here, which change nothing.
image = (pixels / 255 - steps["mean"]) / steps["std"]
image = image[..., ::-1] if steps["channels"] == "bgr" else image
image = image if record["layout"] == "nhwc" else image.transpose(0, 3, 1, 2)
image = np.ascontiguousarray(image, np.float32)

embed = Interpreter(model_path=str(graph)).get_signature_runner()
batch = record["batch"]  # this format always fixes it
blocks = []
for start in range(0, len(image), batch):
    rows = np.arange(start, start + batch) % len(image)  # the last block is filled up
    blocks.append(embed(**{record["inputs"][0]: image[rows]})[record["output"]])
embedding = np.concatenate(blocks)[: len(image)]

expected = np.load(bundle / "golden" / "embeddings.npy")
smallest = (embedding * expected).sum(1).min()
print(f"{embedding.shape}, smallest cosine to the trained model {smallest:.6f}")
allowed = record.get("min_cosine", 0.999)  # bundles of 0.7 do not state it
if not smallest >= allowed:
    sys.exit(
        f"error: the smallest cosine is {smallest:.6f}, expected at least {allowed:g}: the engine or its use is at "
        f"fault, or {graph} is a --pixels graph of compat-sdk 0.7, which states a normalisation twice; export it again"
    )
