"""The MobileNetV2 of the npm package nsfwjs as a weights file for the network ``mobilenet_v2``, proven on pictures.

    npm pack nsfwjs@4.4.0 && tar xf nsfwjs-4.4.0.tgz
    python -m benchmarks.accuracy.tfjs_mobilenet package --out runs/mobilenet_v2.safetensors

The package holds a Keras graph and its weights, in one byte each, as JavaScript. TensorFlow pads even sides at the end
before a stride of two, torch on both sides, so that the same kernels see a grid that lies one pixel further up and
left. Turned by 180 degrees the two are one: kernels turned so, on a picture turned so, give the same features. That is
the proof of every number here. The file has the kernels upright, for pictures that are upright; how far its features
then are from the original's is printed.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from compat_sdk.errors import CorruptFileError, DataError
from compat_train.models.build import build_model

MODEL = Path("dist/models/mobilenet_v2")
_FEATURES = 1280
_EPSILON = 1e-5  # of torch's batch norms
_LAST = "out_relu"  # what is pooled
_Array = NDArray[np.float32]


def read_graph(folder: Path) -> tuple[list[dict[str, Any]], dict[str, _Array]]:
    """Reads the package's graph and weights.

    Args:
        folder: With ``model.min.js`` and the shards.

    Returns:
        Keras' layers in their order, and weights by name as Keras lays them out.

    Raises:
        DataError: There is no such model.
        CorruptFileError: The files are not what release 4.4.0 has.
    """
    if not (folder / "model.min.js").is_file():
        raise DataError(f"{folder} holds no model.min.js; expected the package nsfwjs 4.4.0, unpacked")
    model = json.loads(_as_json((folder / "model.min.js").read_text()))
    (group,) = model["weightsManifest"]
    data = b"".join(_shard((folder / f"{path}.min.js").read_text()) for path in group["paths"])
    weights: dict[str, _Array] = {}
    start = 0
    for entry in group["weights"]:
        count, kept = int(np.prod(entry["shape"])), entry["quantization"]
        if kept["dtype"] != "uint8":
            raise CorruptFileError(f"{entry['name']} is {kept['dtype']}; expected uint8, as in nsfwjs 4.4.0")
        steps = np.frombuffer(data, np.uint8, count, start).reshape(entry["shape"])
        weights[entry["name"]] = (steps * np.float64(kept["scale"]) + kept["min"]).astype(np.float32)
        start += count
    if start != len(data):
        raise CorruptFileError(f"{folder} has {len(data)} bytes of weights; expected {start}")
    return model["modelTopology"]["model_config"]["config"]["layers"], weights


def original_features(layers: list[dict[str, Any]], weights: Mapping[str, _Array], images: Tensor) -> Tensor:
    """Runs Keras' graph layer by layer as it is written, up to the mean over the pixels.

    Args:
        layers: Of `read_graph`.
        weights: Of `read_graph`.
        images: Float ``[n, 3, 224, 224]`` in [0, 1].

    Returns:
        ``[n, 1280]``.
    """
    found: dict[str, Tensor] = {}
    for layer in layers:
        name, config = layer["config"]["name"], layer["config"]
        inputs = [found[source[0]] for source in layer["inbound_nodes"][0]] if layer["inbound_nodes"] else [images]
        found[name] = _run_layer(layer["class_name"], name, config, inputs, weights).to(images.dtype)
        if name == _LAST:
            return found[name].mean((2, 3))
    raise CorruptFileError(f"the graph has no layer {_LAST}; expected nsfwjs 4.4.0")


def torch_state(layers: list[dict[str, Any]], weights: Mapping[str, _Array], *, turned: bool) -> dict[str, Tensor]:
    """The weights under the names of ``mobilenet_v2``, all but those of its last layer.

    Both networks have the same layers in the same order, which is how they are matched; shapes are compared. Batch
    norms here add 1e-5 to the variance, those of the original 1e-3: the difference goes into the variance.

    Args:
        layers: Of `read_graph`.
        weights: Of `read_graph`.
        turned: Turn kernels by 180 degrees.
    """
    network = build_model("mobilenet_v2", dim=_FEATURES, stem_stride=2)
    places = [
        (key, part)
        for key, part in network.get_submodule("features").named_modules()
        if isinstance(part, nn.Conv2d | nn.BatchNorm2d)
    ]
    kinds = ("Conv2D", "DepthwiseConv2D", "BatchNormalization")
    sources = [layer for layer in layers if layer["class_name"] in kinds]
    state: dict[str, Tensor] = {}
    for (key, part), layer in zip(places, sources, strict=True):
        name = layer["config"]["name"]
        if isinstance(part, nn.Conv2d):
            kernel = _kernel(layer["class_name"], name, weights)
            values = {"weight": kernel.flip(2, 3) if turned else kernel}
        else:
            scale, shift, mean, variance = _norm(name, weights)
            variance = variance + (layer["config"]["epsilon"] - _EPSILON)
            values = {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}
        for kind, value in values.items():
            if value.shape != getattr(part, kind).shape:
                raise CorruptFileError(f"{name} is {list(value.shape)}; expected {list(getattr(part, kind).shape)}")
            state[f"features.{key}.{kind}"] = value.contiguous()
    return state


def converted_features(state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """``[n, 1280]``: what goes into the last layer of ``mobilenet_v2`` with these weights, in eval mode."""
    network = build_model("mobilenet_v2", dim=_FEATURES, stem_stride=2)
    network.load_state_dict(dict(state), strict=False)
    network.head = nn.Identity()
    with torch.no_grad():
        found: Tensor = network.to(images.dtype).eval()(images)
    return found


def prove(layers: list[dict[str, Any]], weights: Mapping[str, _Array], images: Tensor) -> tuple[float, float]:
    """Compares the converted network with the original graph.

    Args:
        layers: Of `read_graph`.
        weights: Of `read_graph`.
        images: Float ``[n, 3, 224, 224]`` in [0, 1].

    Returns:
        Largest relative difference of features, kernels and pictures turned, in double precision; and the smallest
        cosine of features of upright pictures under upright kernels.
    """
    images = images.double()
    wanted = original_features(layers, weights, images)
    turned = converted_features(torch_state(layers, weights, turned=True), images.flip(2, 3))
    upright = converted_features(torch_state(layers, weights, turned=False), images)
    difference = float((turned - wanted).abs().max() / wanted.abs().max())
    return difference, float(F.cosine_similarity(upright, wanted).min())


def main() -> None:
    """Writes the weights file and says how far it is from the original."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="folder of the unpacked package")
    parser.add_argument("--out", type=Path, required=True, help="weights file to write, .safetensors")
    parser.add_argument(
        "--pictures", type=Path, help="folder whose first pictures prove it; random pixels if not given"
    )
    options = parser.parse_args()
    layers, weights = read_graph(options.package / MODEL)
    difference, cosine = prove(layers, weights, _pictures(options.pictures))
    print(f"turned: largest relative difference of features {difference:.1e}; upright: smallest cosine {cosine:.4f}")
    if difference > 1e-6:
        raise CorruptFileError("the converted network is not the original; nothing was written")
    network = build_model("mobilenet_v2", dim=_FEATURES, stem_stride=2)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(torch_state(layers, weights, turned=False), options.out)
    millions = sum(value.numel() for value in network.get_submodule("features").parameters()) / 1e6
    print(f"{options.out}: {millions:.3f} M parameters")


def _run_layer(
    kind: str, name: str, config: Mapping[str, Any], inputs: list[Tensor], weights: Mapping[str, _Array]
) -> Tensor:
    first = inputs[0]
    if kind == "InputLayer":
        return first
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = config["padding"]
        return F.pad(first, (left, right, top, bottom))
    if kind in ("Conv2D", "DepthwiseConv2D"):
        kernel = _kernel(kind, name, weights).to(first.dtype)
        stride = config["strides"][0]
        if config["padding"] == "same":
            if stride != 1:
                raise CorruptFileError(f"{name} pads by itself at stride {stride}; expected a padding layer before it")
            first = F.pad(first, (kernel.shape[-1] // 2,) * 4)
        return F.conv2d(first, kernel, stride=stride, groups=first.shape[1] if kind == "DepthwiseConv2D" else 1)
    if kind == "BatchNormalization":
        scale, shift, mean, variance = (value.to(first.dtype)[:, None, None] for value in _norm(name, weights))
        return (first - mean) / (variance + float(config["epsilon"])).sqrt() * scale + shift
    if kind == "ReLU":
        return first.clamp(0, float(config["max_value"]))
    if kind == "Add":
        return inputs[0] + inputs[1]
    raise CorruptFileError(f"the graph has a layer {kind}; expected those of MobileNetV2")


def _kernel(kind: str, name: str, weights: Mapping[str, _Array]) -> Tensor:
    """From ``[h, w, in, out]``, or ``[h, w, channels, 1]`` of a depthwise one, to torch's ``[out, in, h, w]``."""
    if kind == "Conv2D":
        return torch.from_numpy(weights[f"{name}/kernel"].transpose(3, 2, 0, 1).copy())
    return torch.from_numpy(weights[f"{name}/depthwise_kernel"].transpose(2, 3, 0, 1).copy())


def _norm(name: str, weights: Mapping[str, _Array]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scale, shift, mean and variance."""
    scale, shift, mean, variance = (
        torch.from_numpy(weights[f"{name}/{part}"]) for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return scale, shift, mean, variance


def _as_json(script: str) -> str:
    """The object that a minified script exports, as JSON: keys in quotes, ``!0`` as true, ``.5`` as 0.5."""
    begin = script.index(".exports={") + len(".exports=")
    pieces = re.split(r'("[^"]*")', script[begin:])  # texts, which hold no quotes, are the odd ones
    depth, written = 0, []
    for number, piece in enumerate(pieces):
        if number % 2:
            written.append(piece)
            continue
        for place, letter in enumerate(piece):
            depth += (letter in "{[") - (letter in "}]")
            if depth == 0:
                written.append(_plain(piece[: place + 1]))
                return "".join(written)
        written.append(_plain(piece))
    raise CorruptFileError("the script ends within its object; get the package again")


def _plain(piece: str) -> str:
    piece = piece.replace("!0", "true").replace("!1", "false")
    piece = re.sub(r"([{,])([A-Za-z_]\w*):", r'\1"\2":', piece)
    return re.sub(r"(?<![\w.])\.(\d)", r"0.\1", piece)


def _shard(script: str) -> bytes:
    """The bytes that a script exports as base64."""
    found = re.search(r'\.exports="([A-Za-z0-9+/=]+)"', script)
    if found is None:
        raise CorruptFileError("a shard holds no base64 text; get the package again")
    return base64.b64decode(found[1])


def _pictures(folder: Path | None) -> Tensor:
    """Eight pictures as float ``[8, 3, 224, 224]`` in [0, 1]."""
    if folder is None:
        return torch.rand(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    from compat_sdk.images import Preprocessing, decode_many, find_pictures

    pixels = decode_many(find_pictures(folder).paths[:8], Preprocessing(size=224))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


if __name__ == "__main__":
    main()
