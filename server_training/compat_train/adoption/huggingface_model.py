"""An image model of transformers, as it was pretrained and saved in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.documents import read_json
from compat_sdk.shown import shortened
from compat_train.adoption.files import outputs_of, require_steady
from compat_train.adoption.found import Found, Original, Wanted, adopted_checkpoint, through
from compat_train.adoption.preprocessor_config import told_by_processor
from compat_train.adoption.source import AdoptSource
from compat_train.models.adopted import (
    HuggingFaceNetwork,
    huggingface_model,
    output_dim,
)
from compat_train.models.optional_package import import_package
from compat_train.runs.run_files import on_cpu
from compat_train.runs.weights_file import read_weights


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
    own = told_by_processor(read_json(folder / "preprocessor_config.json"), str(folder))
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
    processor = None if wanted.prepares else through(_processor(folder), run)
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


def _processor(folder: Path) -> Callable[[Image.Image], Tensor]:
    """The preprocessing of transformers itself."""
    transformers = import_package("transformers", "huggingface")
    load: Any = transformers.AutoImageProcessor.from_pretrained
    processor = load(str(folder), local_files_only=True)

    def prepare(image: Image.Image) -> Tensor:
        found: Tensor = processor(image, return_tensors="pt")["pixel_values"][0]
        return found

    return prepare


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
