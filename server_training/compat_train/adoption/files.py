"""Gallery models that a file says all of: an ONNX model, a bundle, and a function of the user's that builds one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compat_sdk.bundle import Bundle
from compat_sdk.errors import ConfigError
from compat_sdk.identity import Identity
from compat_sdk.images import Preprocessing
from compat_train.adoption.found import Found, Original, Wanted, adopted_checkpoint
from compat_train.adoption.onnx_file import (
    Layout,
    dimension,
    find_ports,
    one_form,
    original_outputs,
    parse_onnx,
    read_onnx,
    with_output,
)
from compat_train.adoption.source import AdoptSource
from compat_train.models.adopted import imported_network, output_dim
from compat_train.models.onnx_network import graph_state
from compat_train.models.pretrained import matched_state
from compat_train.runs.run_files import on_cpu
from compat_train.runs.weights_file import read_weights

_IMAGENET = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"


def onnx_model(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """An ONNX file.

    Raises:
        ConfigError: It takes anything but one image or has several outputs; or its preprocessing,
            which the file does not hold, is not told.
    """
    assert source.file is not None
    path = source.file
    model = read_onnx(path)
    ports = find_ports(model, path, output=wanted.output, layout=cast("Layout | None", wanted.layout))
    if None not in (ports.size, wanted.size) and ports.size != wanted.size:
        raise ConfigError(f"{path} takes images of {ports.size} pixels, and --size says {wanted.size}; leave it out")
    preprocessing = _told(wanted, ports.size, str(path))
    graph = one_form(model, ports)
    whole = with_output(model, ports.output)
    checkpoint = adopted_checkpoint(
        out=out,
        arch="onnx",
        dim=dimension(graph, preprocessing.size),
        preprocessing=preprocessing,
        state=graph_state(graph),
        wanted=wanted,
        network={},
        origin={
            "kind": "onnx",
            "file": path.name,
            "input": ports.input,
            "output": ports.output,
            "layout": ports.layout,
        },
    )
    return Found(checkpoint=checkpoint, original=Original(lambda inputs: original_outputs(whole, ports, list(inputs))))


def bundle_model(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """The model in a bundle, which keeps its space; what its preprocessing is, the bundle says.

    Raises:
        ConfigError: It is a transform, or it has no ONNX graph at fp32.
        BundleError: It is damaged.
    """
    assert source.file is not None
    bundle = Bundle.open(source.file, trust=wanted.trust)
    manifest = bundle.manifest
    if manifest.preprocessing is None:
        raise ConfigError(f"{source.file} is a transform; expected the bundle of a model of images")
    graphs = [graph for graph in manifest.graphs if (graph.target, graph.precision) == ("onnx", "fp32")]
    if not graphs:
        held = ", ".join(f"{graph.target} {graph.precision}" for graph in manifest.graphs)
        raise ConfigError(
            f"{source.file} holds {held}; a gallery model is taken from its ONNX graph at fp32: export the model again "
            f"with --target onnx"
        )
    graph = graphs[0]
    data = next(iter(bundle.graph_files(graph).values()))
    path = source.file
    model = parse_onnx(data, path)
    ports = find_ports(model, path, output=graph.output, layout=cast("Layout", graph.layout))
    checkpoint = adopted_checkpoint(
        out=out,
        arch="onnx",
        dim=manifest.dim,
        preprocessing=manifest.preprocessing,
        state=graph_state(one_form(model, ports)),
        wanted=replace(wanted, license=manifest.license),
        network={},
        origin={"kind": "bundle", "file": path.name, "name": manifest.name, "arch": manifest.arch},
    )
    own = cast("Identity | None", manifest.identity)  # no transform, which has no preprocessing
    checkpoint = replace(checkpoint, space=manifest.space, searches=manifest.searches, of_bundle=own)
    return Found(checkpoint=checkpoint, original=Original(lambda inputs: original_outputs(data, ports, list(inputs))))


def module_model(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """What a function of the user's builds, with the weights of a file over it where one is given.

    Raises:
        ConfigError: The function's module is not allowed, its network is in training mode or draws at random, the
            weights are another network's, or its size or preprocessing are not told.
    """
    network = imported_network(source.name)
    if wanted.weights is not None:
        weights = read_weights(wanted.weights)
        network.load_state_dict(matched_state(network, source.name, weights.tensors, weights.name))
    elif network.training:
        raise ConfigError(
            f"{source.name} returned a network in training mode, as a new one is; load its weights and call eval() in "
            f"the function, or give --weights"
        )
    network.eval()
    preprocessing = _told(wanted, None, source.name)
    dim = output_dim(network, preprocessing.size)
    require_steady(network, preprocessing.size, source.name)
    checkpoint = adopted_checkpoint(
        out=out,
        arch=f"module:{source.name}",
        dim=dim,
        preprocessing=preprocessing,
        state=on_cpu(network.state_dict()),
        wanted=wanted,
        network={},
        origin={"kind": "module", "name": source.name},
    )
    return Found(checkpoint=checkpoint, original=Original(outputs_of(network)))


@torch.no_grad()
def require_steady(network: nn.Module, size: int, name: str) -> None:
    """Refuse a network that gives one image two embeddings.

    Raises:
        ConfigError: It does.
    """
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    first, again = network(image), network(image)
    if not torch.allclose(first, again, rtol=1e-4, atol=1e-5):
        raise ConfigError(f"{name} gives one image two embeddings; expected a network in eval mode, without randomness")


def outputs_of(network: nn.Module) -> Any:
    """A network in memory as `Original.inputs` wants it."""

    @torch.no_grad()
    def run(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = [network(torch.from_numpy(image[None].copy())) for image in inputs]
        outputs: NDArray[np.float32] = torch.cat(rows).float().numpy()
        return outputs

    return run


def _told(wanted: Wanted, size: int | None, name: str) -> Preprocessing:
    """The preprocessing of a model that does not state it.

    Raises:
        ConfigError: It is not told.
    """
    missing = [flag for flag, value in (("--mean", wanted.mean), ("--std", wanted.std)) if value is None]
    if size is None and wanted.size is None:
        missing.insert(0, "--size")
    if missing:
        raise ConfigError(
            f"{name} does not say how its images are prepared; give {', '.join(missing)} as it was trained, such as "
            f"{_IMAGENET} for most networks of ImageNet"
        )
    return wanted.over({} if size is None else {"size": size})
