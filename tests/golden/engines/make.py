"""Writes the graphs beside it: one tiny network in every format, with a free batch and with a batch of 4.

    python -m tests.golden.engines.make

Run once, with the extras export-onnx, export-litert and export-executorch; the files are committed, so that the
engines' tests need no converter. `tests/sdk/engines/tiny.py` has the images and computes the same network in numpy.

    tiny.*       image float32 [n, 3, 8, 8] -> embedding float32 [n, 8]; batch 1 in LiteRT, up to 16 in ExecuTorch
    tiny-4.*     the same with n = 4
    pair.*       vector and other, float32 [n, 8] each -> embedding float32 [n, 8]; batches as tiny
    expected.npy what PyTorch makes of the five images, float32 [5, 8]
"""

from __future__ import annotations

from pathlib import Path

import litert_torch
import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn

from tests.sdk.engines.tiny import CONV_BIAS, CONV_WEIGHT, LINEAR_BIAS, LINEAR_WEIGHT, images

HERE = Path(__file__).parent
LARGEST_BATCH = 16


def unit(vectors: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / norm.clamp_min(1e-12)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, 8)
        values = {
            "conv.weight": CONV_WEIGHT,
            "conv.bias": CONV_BIAS,
            "linear.weight": LINEAR_WEIGHT,
            "linear.bias": LINEAR_BIAS,
        }
        self.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})

    def forward(self, image: Tensor) -> Tensor:
        return unit(self.linear(torch.relu(self.conv(image)).mean((2, 3))))


class Pair(nn.Module):
    """Not symmetric, so that inputs in the wrong order are noticed."""

    def forward(self, vector: Tensor, other: Tensor) -> Tensor:
        return unit(vector + 2 * other)


class Named(nn.Module):
    """litert-torch names outputs by the keys of a dictionary."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return {"embedding": self.module(**inputs)}


def write(name: str, module: nn.Module, shapes: dict[str, tuple[int, ...]], batch: int | None) -> None:
    def sample(rows: int) -> dict[str, Tensor]:
        return {port: torch.zeros(rows, *shape) for port, shape in shapes.items()}

    inputs = tuple(sample(batch or 2).values())
    rows = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    free = {port: {0: rows} for port in shapes} if batch is None else None
    onnx = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        opset_version=18,
        input_names=list(shapes),
        output_names=["embedding"],
        dynamic_shapes={port: {0: torch.export.Dim("batch")} for port in shapes} if batch is None else None,
        external_data=False,
        verbose=False,
    )
    model = onnx.model_proto
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:  # stack traces name the machine's folders
        del node.metadata_props[:]
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    exported = torch.export.export(module, inputs, dynamic_shapes=free)
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    (HERE / f"{name}.pte").write_bytes(program.buffer)
    litert_torch.convert(Named(module).eval(), sample_kwargs=sample(batch or 1)).export(str(HERE / f"{name}.tflite"))


def main() -> None:
    tiny = Tiny().eval()
    write("tiny", tiny, {"image": (3, 8, 8)}, None)
    write("tiny-4", tiny, {"image": (3, 8, 8)}, 4)
    write("pair", Pair().eval(), {"vector": (8,), "other": (8,)}, None)
    with torch.no_grad():
        np.save(HERE / "expected.npy", tiny(torch.from_numpy(images(5))).numpy())


if __name__ == "__main__":
    main()
