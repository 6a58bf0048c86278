"""Networks that were not trained here, rebuilt from what their RUN folder keeps of them.

No file is executed to rebuild one. A `module:` network is built by the user's own function, and that only where the
user names its module in the environment: a RUN that came from elsewhere cannot choose what is imported.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.shown import shortened
from compat_train.models.onnx_network import GRAPH, OnnxNetwork
from compat_train.models.optional_package import import_package

ALLOWED = "COMPAT_SDK_MODULES"
"""Environment variable with the modules, separated by commas, that `module:` networks may be built by."""
VECTORS = "vectors"
"""Architecture of a gallery model of which only the vectors are known."""


def is_adopted(arch: str) -> bool:
    """Whether an architecture is one that was not trained here, of a kind that `build_adopted` knows."""
    return arch in ("onnx", VECTORS) or arch.partition(":")[0] in ("open_clip", "huggingface", "module")


def build_adopted(arch: str, network: Mapping[str, int | float | str], state: Mapping[str, Tensor]) -> nn.Module:
    """A network from elsewhere with its weights, on the CPU, in eval mode.

    Args:
        arch: Its architecture, for which `is_adopted` holds.
        network: What else decides it, as its RUN records it.
        state: Its weights; of an ONNX file its bytes.

    Raises:
        ConfigError: Only vectors are known, or a module that may not be imported or that has no such function.
        CorruptFileError: The weights are those of another network.
        MissingExtraError: A package that it needs is not installed.
    """
    kind, _, name = arch.partition(":")
    if arch == VECTORS:
        raise ConfigError(
            "only the vectors of this gallery model are known, so it embeds no new pictures; adopt the model itself, "
            "or use pictures that it has vectors for"
        )
    if arch == "onnx":
        if GRAPH not in state:
            raise CorruptFileError("the RUN of an ONNX model holds no graph; adopt it again")
        return OnnxNetwork(state[GRAPH].cpu().numpy().tobytes()).eval()
    match kind:
        case "open_clip":
            built: nn.Module = OpenClipNetwork(open_clip_model(name))
        case "huggingface":
            built = HuggingFaceNetwork(huggingface_model(str(network["config"])), str(network["output"]))
        case "module":
            built = imported_network(name)
        case _:
            raise ConfigError(f"{shortened(arch)} is no network from elsewhere that is known here")
    try:
        built.load_state_dict(state)
    except RuntimeError as error:
        raise CorruptFileError(
            f"the weights are not those of {shortened(arch)} as the installed packages build it "
            f"({shortened(str(error), 100)}); install the version that it was adopted with, or adopt it again"
        ) from error
    return built.eval()


class OpenClipNetwork(nn.Module):
    """The image side of an open_clip model: float32 ``[n, 3, s, s]`` to ``[n, dim]``, not normalised.

    Args:
        model: Output of `open_clip_model`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        visual = model.visual
        assert isinstance(visual, nn.Module)
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of images, as the model's ``encode_image`` gives them."""
        found = self.visual(images)
        embeddings: Tensor = found[0] if isinstance(found, tuple) else found
        return embeddings


def open_clip_model(name: str) -> nn.Module:
    """A fresh open_clip model; nothing is downloaded.

    Raises:
        MissingExtraError: open_clip is not installed.
        CompatError: It is installed and cannot be loaded.
        ConfigError: It knows no such model.
    """
    open_clip = import_package("open_clip", "open-clip")
    if name not in open_clip.list_models():
        raise ConfigError(f"open_clip knows no model {shortened(name)!r}; see open_clip.list_models()")
    model: nn.Module = open_clip.create_model(name, pretrained=None)
    return model


class HuggingFaceNetwork(nn.Module):
    """An image model of the package transformers: float32 ``[n, 3, s, s]`` to ``[n, dim]``, not normalised.

    Args:
        model: Output of `huggingface_model`.
        output: ``pooler_output``, ``image_embeds``, or ``cls``, the first token.
    """

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of images, pooled as ``output`` says."""
        found: Any = self.model(pixel_values=images)
        embeddings: Tensor = found.last_hidden_state[:, 0] if self.output == "cls" else getattr(found, self.output)
        return embeddings.flatten(1)


def huggingface_model(config: str) -> nn.Module:
    """A fresh model of the package transformers from its configuration, a JSON text; no code of others is run.

    Raises:
        MissingExtraError: transformers is not installed.
        CompatError: It is installed and cannot be loaded.
        ConfigError: The configuration is not that of an image model.
    """
    transformers = import_package("transformers", "huggingface")
    values = json.loads(config)
    try:
        known = transformers.AutoConfig.for_model(**values)
        from_config: Any = transformers.AutoModel.from_config
        model: nn.Module = from_config(known, trust_remote_code=False)
    except Exception as error:  # the package raises whatever a model's own code does
        raise ConfigError(
            f"transformers builds no model from this configuration ({shortened(str(error), 120)}); expected the "
            f"config.json of an image model"
        ) from error
    return model


def imported_network(name: str) -> nn.Module:
    """What a function of the user's returns, if the user allows its module.

    Args:
        name: ``package.module:callable``.

    Raises:
        ConfigError: The module is not allowed, cannot be imported, or has no such function, or it returns no module.
    """
    module, _, function = name.partition(":")
    if module not in os.environ.get(ALLOWED, "").split(","):
        raise ConfigError(
            f"this model is built by {function} of the module {module}, which is imported only where you allow it: set "
            f"{ALLOWED}={module}, if you trust it"
        )
    try:
        built = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import {function} from {module}: {shortened(str(error), 120)}") from error
    made: Callable[[], object] = built
    found = made()
    if not isinstance(found, nn.Module):
        raise ConfigError(f"{name} returned a {type(found).__name__}; expected a torch.nn.Module")
    return found


@torch.no_grad()
def output_dim(network: nn.Module, size: int) -> int:
    """Numbers per embedding of a network, by running it once on a black image.

    Raises:
        ConfigError: It takes no image of this side, or gives anything but one vector.
    """
    try:
        found = network(torch.zeros(1, 3, size, size))
    except Exception as error:  # whatever a network from elsewhere raises
        raise ConfigError(
            f"the network fails on an image of {size} pixels: {shortened(str(error), 160)}; give another --size"
        ) from error
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 1:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ConfigError(f"the network gives {shape} for one image; expected one vector, [1, dim]")
    return int(found.shape[1])
