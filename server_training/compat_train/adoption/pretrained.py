"""Gallery models of the packages timm, open_clip and transformers, prepared as they were pretrained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.documents import read_json
from compat_sdk.images import open_image
from compat_sdk.shown import shortened
from compat_train.adoption.files import outputs_of, require_steady
from compat_train.adoption.found import Found, Original, Wanted, adopted_checkpoint
from compat_train.adoption.source import AdoptSource
from compat_train.models.adopted import (
    HuggingFaceNetwork,
    OpenClipNetwork,
    huggingface_model,
    open_clip_model,
    output_dim,
)
from compat_train.models.build import build_model
from compat_train.models.optional_package import import_package, import_timm
from compat_train.models.pretrained import matched_state
from compat_train.models.timm_network import TimmNetwork, require_size, timm_preprocessing
from compat_train.runs.run_files import on_cpu
from compat_train.runs.weights_file import read_weights

_KERNELS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's kernels by number, as preprocessor_config.json has them."""


def open_clip_model_of(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """The image side of an open_clip model with the weights of a file.

    Raises:
        ConfigError: open_clip knows no such model, or the weights are another model's.
        MissingExtraError: open_clip is not installed.
    """
    assert source.file is not None
    model = open_clip_model(source.name)
    weights = read_weights(source.file)
    model.load_state_dict(matched_state(model, source.name, weights.tensors, weights.name))
    model.eval()
    stated: Mapping[str, Any] = import_package("open_clip", "open-clip").get_model_preprocess_cfg(model)
    preprocessing = wanted.over(_of_open_clip(stated, source.name))
    network = OpenClipNetwork(model).eval()
    dim = output_dim(network, preprocessing.size)
    prepared = import_package("open_clip.transform", "open-clip")
    transform = prepared.image_transform_v2(prepared.PreprocessCfg(**dict(stated)), is_train=False)
    checkpoint = adopted_checkpoint(
        out=out,
        arch=f"open_clip:{source.name}",
        dim=dim,
        preprocessing=preprocessing,
        state=on_cpu(network.state_dict()),
        wanted=wanted,
        network={},
        origin={"kind": "open_clip", "name": source.name, "file": source.file.name},
    )
    run = outputs_of(network)
    return Found(checkpoint=checkpoint, original=Original(run, None if wanted.prepares else _through(transform, run)))


def huggingface_model_of(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """An image model that transformers saved in a folder: config.json, model.safetensors, preprocessor_config.json.

    Raises:
        ConfigError: The folder holds no image model, or several of its outputs can be the embedding.
        MissingExtraError: transformers is not installed.
    """
    assert source.file is not None
    folder = source.file
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder} has no {name}; expected a folder as save_pretrained writes it, weights in one "
                f"model.safetensors"
            )
    config = json.dumps(dict(read_json(folder / "config.json")), sort_keys=True)
    own = _of_processor(read_json(folder / "preprocessor_config.json"), str(folder))
    preprocessing = wanted.over(own)
    model = _loaded(folder, config)
    output = _output_of(model, preprocessing.size, wanted.output)
    network = HuggingFaceNetwork(model, output).eval()
    dim = output_dim(network, preprocessing.size)
    require_steady(network, preprocessing.size, str(folder))
    checkpoint = adopted_checkpoint(
        out=out,
        arch=f"huggingface:{json.loads(config).get('model_type', 'model')}",
        dim=dim,
        preprocessing=preprocessing,
        state=on_cpu(network.state_dict()),
        wanted=wanted,
        network={"config": config, "output": output},
        origin={"kind": "huggingface", "folder": folder.name, "output": output},
    )
    run = outputs_of(network)
    processor = None if wanted.prepares else _through(_processor(folder), run)
    return Found(checkpoint=checkpoint, original=Original(run, processor))


def _loaded(folder: Path, config: str) -> nn.Module:
    """A model of transformers with the weights of its folder, under whatever names its release gave them.

    Raises:
        ConfigError: The configuration is not that of an image model.
        CorruptFileError: The weights are damaged, or some are missing.
    """
    huggingface_model(config)
    read_weights(folder / "model.safetensors")  # refused before the package's own reader sees it
    transformers = import_package("transformers", "huggingface")
    load: Any = transformers.AutoModel.from_pretrained
    try:
        model, info = load(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # the package raises whatever its models do
        raise CorruptFileError(
            f"{folder / 'model.safetensors'} does not fit the model of config.json ({shortened(str(error), 120)}); "
            f"restore both from one release"
        ) from error
    if missing := sorted(info["missing_keys"]) or [str(item) for item in info["mismatched_keys"]]:
        raise CorruptFileError(
            f"{folder / 'model.safetensors'} lacks {len(missing)} weights of the model, such as "
            f"{shortened(missing[0])}; restore it from a copy"
        )
    found: nn.Module = model.eval()
    return found


def _through(
    transform: Callable[[Image.Image], Tensor], run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Callable[[tuple[bytes, ...]], NDArray[np.float32]]:
    """Picture files through a package's own preprocessing and a network."""

    def embed(files: tuple[bytes, ...]) -> NDArray[np.float32]:
        return run(np.stack([transform(open_image(file)).numpy() for file in files]))

    return embed


def _processor(folder: Path) -> Callable[[Image.Image], Tensor]:
    """The preprocessing of transformers itself."""
    transformers = import_package("transformers", "huggingface")
    load: Any = transformers.AutoImageProcessor.from_pretrained
    processor = load(str(folder), local_files_only=True)

    def prepare(image: Image.Image) -> Tensor:
        found: Tensor = processor(image, return_tensors="pt")["pixel_values"][0]
        return found

    return prepare


def _of_open_clip(stated: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Fields of `Preprocessing` from open_clip's own record.

    Raises:
        ConfigError: It does something that is not done here.
    """
    size = stated["size"]
    sides = {size} if isinstance(size, int) else set(size)
    fits = {"shortest": "crop", "squash": "stretch"}
    if len(sides) != 1 or stated["resize_mode"] not in fits:
        raise ConfigError(
            f"{name} prepares images of {size} by {stated['resize_mode']!r}; expected a square, by shortest or squash"
        )
    return {
        "size": sides.pop(),
        "mean": tuple(stated["mean"]),
        "std": tuple(stated["std"]),
        "resize": stated["interpolation"],
        "fit": fits[stated["resize_mode"]],
    }


def _of_processor(stated: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Fields of `Preprocessing` from a preprocessor_config.json.

    Raises:
        ConfigError: It does something that is not done here, or a value is not of the kind that transformers writes.
    """
    edges, cropped = _edges(stated, "size", where), _edges(stated, "crop_size", where)
    kernel = stated.get("resample", 2)
    if kernel not in tuple(_KERNELS):
        raise ConfigError(f"{where} has resample {_said(stated, 'resample')}; expected one of Pillow's kernels, 0 to 5")
    found: dict[str, Any] = {"resize": _KERNELS[kernel]}
    shortest = edges.get("shortest_edge", edges.get("height"))
    if stated.get("do_center_crop"):
        side = cropped.get("height")
        if side is None or side != cropped.get("width") or shortest is None:
            raise ConfigError(
                f"{where} crops to {_said(stated, 'crop_size')} after a resize to {_said(stated, 'size')}; expected a "
                f"square of one side"
            )
        found |= {"fit": "crop", "size": side, "crop": side / shortest}
    elif "crop_pct" in stated and "shortest_edge" in edges:
        found |= {"fit": "crop", "size": edges["shortest_edge"], "crop": _number(stated, "crop_pct", 1.0, where)}
    elif "height" in edges and edges["height"] == edges.get("width"):
        found |= {"fit": "stretch", "size": edges["height"]}
    else:
        raise ConfigError(
            f"{where} resizes to {_said(stated, 'size')} without a crop; expected a square: give --size and --fit"
        )
    factor = _number(stated, "rescale_factor", 1 / 255, where)
    if stated.get("do_rescale", True) and abs(255 * factor - 1) > 1e-6:
        raise ConfigError(f"{where} rescales by {factor}; expected 1/255")
    if not stated.get("do_normalize", True):
        return found | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return found | {"mean": _channels(stated, "image_mean", where), "std": _channels(stated, "image_std", where)}


def _edges(stated: Mapping[str, Any], key: str, where: str) -> dict[str, int]:
    """Sides in pixels by name; one number is height and width."""
    value = stated.get(key)
    edges = {"height": value, "width": value} if isinstance(value, int) else value or {}
    if not isinstance(edges, Mapping) or not all(type(side) is int and side > 0 for side in edges.values()):
        raise ConfigError(f"{where} has {key} {_said(stated, key)}; expected pixels, as height, width or shortest_edge")
    return dict(edges)


def _number(stated: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = stated.get(key, default)
    if type(value) not in (int, float) or not value > 0:
        raise ConfigError(f"{where} has {key} {_said(stated, key)}; expected a number above 0")
    return float(value)


def _channels(stated: Mapping[str, Any], key: str, where: str) -> tuple[float, ...]:
    value = stated.get(key)
    if not isinstance(value, list) or len(value) != 3 or not all(type(part) in (int, float) for part in value):
        raise ConfigError(f"{where} has {key} {_said(stated, key)}; expected three numbers: red, green and blue")
    return tuple(map(float, value))


def _said(stated: Mapping[str, Any], key: str) -> str:
    return shortened(str(stated.get(key)), 60)


@torch.no_grad()
def _output_of(model: nn.Module, size: int, wanted: str | None) -> str:
    """Which output of an image model is the embedding.

    Raises:
        ConfigError: It takes no images, or has not the output that is wanted, or none that can be it unasked.
    """
    try:
        found = model(pixel_values=torch.zeros(1, 3, size, size))
    except Exception as error:  # whatever a model of the package raises
        raise ConfigError(f"the model takes no image of {size} pixels: {shortened(str(error), 160)}") from error
    has = [name for name in ("image_embeds", "pooler_output") if getattr(found, name, None) is not None]
    states = getattr(found, "last_hidden_state", None)
    if states is not None and states.ndim == 3:
        has.append("cls")
    if wanted is None and has and has[0] != "cls":
        return has[0]
    if wanted is None or wanted not in has:
        raise ConfigError(f"the model has the outputs {', '.join(has) or 'none of one vector'}; name one by --output")
    return wanted


def timm_model_of(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """A network of timm with the weights of a file, its pooled features as the embedding.

    Raises:
        ConfigError: timm knows no such network, no weights are told, or its size is one that it does not take.
        DataError: The weights are another network's.
        MissingExtraError: timm is not installed.
    """
    name = f"timm:{source.name}"
    if wanted.weights is None:
        raise ConfigError(f"{name} needs --weights FILE: a network with fresh weights embeds nothing of use")
    preprocessing = wanted.over(timm_preprocessing(name).to_json())
    arch = name if name.endswith("/pooled") else f"{name}/pooled"
    dim = _pooled_features(name.removesuffix("/pooled"))
    network = build_model(arch, dim=dim)
    require_size(network, arch, preprocessing.size)
    weights = read_weights(wanted.weights)
    network.load_state_dict(matched_state(network, arch, weights.tensors, weights.name))
    network.eval()
    require_steady(network, preprocessing.size, name)
    checkpoint = adopted_checkpoint(
        out=out,
        arch=arch,
        dim=dim,
        preprocessing=preprocessing,
        state=on_cpu(network.state_dict()),
        wanted=wanted,
        network={},
        origin={"kind": "timm", "name": source.name, "file": wanted.weights.name, "sha256": weights.sha256},
    )
    run = outputs_of(network)
    transform = None if wanted.prepares else _through(_timm_transform(network), run)
    return Found(checkpoint=checkpoint, original=Original(run, transform))


def _pooled_features(arch: str) -> int:
    """Numbers that a network of timm pools, before any head; no weights are drawn to tell."""
    with torch.device("meta"):
        head = build_model(arch, dim=2).head
    assert isinstance(head, nn.Linear)
    return head.in_features


def _timm_transform(network: nn.Module) -> Callable[[Image.Image], Tensor]:
    """The preprocessing of timm itself."""
    assert isinstance(network, TimmNetwork)
    data = import_timm("timm.data")
    stated = data.resolve_data_config(model=network.features)
    transform: Callable[[Image.Image], Tensor] = data.create_transform(**stated, is_training=False)
    return transform
