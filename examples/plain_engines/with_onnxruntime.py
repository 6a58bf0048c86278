"""A bundle's ONNX graph in onnxruntime alone, without compat-sdk.

    python with_onnxruntime.py BUNDLE BUNDLE/onnx-fp32/model.onnx

It embeds the images that every bundle carries and compares with what the trained model made of them. The manifest says
all that a client must know: what is done to a picture, and the graph's names, axes and batch.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

bundle, graph = map(Path, sys.argv[1:])
manifest = json.loads((bundle / "manifest.json").read_text())
(record,) = [found for found in manifest["graphs"] if bundle / found["file"] == graph]
steps = manifest["preprocessing"]

pixels = np.load(bundle / "golden" / "images.npy")  # uint8 [n, size, size, 3], RGB: what golden/pictures become
# One formula for every graph: one that normalises itself has mean 0 and std 1/255 here, which change nothing.
image = (pixels / 255 - steps["mean"]) / steps["std"]
image = image[..., ::-1] if steps["channels"] == "bgr" else image
image = image if record["layout"] == "nhwc" else image.transpose(0, 3, 1, 2)
image = np.ascontiguousarray(image, np.float32)

session = onnxruntime.InferenceSession(str(graph))
batch = record["batch"] or len(image)  # null: any number of images
blocks = []
for start in range(0, len(image), batch):
    rows = np.arange(start, start + batch) % len(image)  # the last block is filled up
    blocks += session.run([record["output"]], {record["inputs"][0]: image[rows]})
embedding = np.concatenate(blocks)[: len(image)]

expected = np.load(bundle / "golden" / "embeddings.npy")
smallest = (embedding * expected).sum(1).min()
print(f"{embedding.shape}, smallest cosine to the trained model {smallest:.6f}")
if not smallest >= 0.999:
    sys.exit(
        f"error: the smallest cosine is {smallest:.6f}, expected at least 0.999: {graph} is of low precision, or is a "
        f"--pixels graph of compat-sdk 0.7 or before, whose manifest states a normalisation twice; export it again"
    )
