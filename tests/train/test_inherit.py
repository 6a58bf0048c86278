"""Starting weights of a query model: which of the gallery's filters are kept, and what the pruned network computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compat_sdk.errors import ConfigError, TrainingError
from compat_sdk.images import Preprocessing
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Classification, Execution, Optimisation, Source
from compat_train.config.query import QueryConfig
from compat_train.data.training_set import load_training_set
from compat_train.methods.gallery import train_gallery
from compat_train.methods.inherit import _refitted, _useful_channels, inherit
from compat_train.methods.query import train_query
from compat_train.models import build_model, count_cost
from compat_train.models.resnet import BasicBlock, Bottleneck
from compat_train.runs.checkpoint import Checkpoint
from tests.train.descent import falls, small_steps

WIDTH, DIM, SIZE = 0.125, 16, 32
CPU = Execution(device="cpu")


@pytest.fixture(scope="module")
def pixels(clothes: Path) -> NDArray[np.uint8]:
    return load_training_set(Source(data=str(clothes)), Preprocessing(size=SIZE)).pixels


@pytest.fixture(scope="module")
def trained(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    config = GalleryConfig(
        source=Source(data=str(clothes)),
        arch="resnet18",
        width=WIDTH,
        dim=DIM,
        preprocessing=Preprocessing(size=SIZE),
        optimisation=Optimisation(epochs=2, batch=16, lr=0.1),
        execution=CPU,
    )
    return train_gallery(config, tmp_path_factory.mktemp("gallery") / "run")


def blocks(network: nn.Module) -> list[BasicBlock | Bottleneck]:
    return [module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck)]


def random_network(arch: str) -> nn.Module:
    """Random weights, gains and statistics: a new network's branches are all zero."""
    torch.manual_seed(0)
    network = build_model(arch, dim=DIM, width=WIDTH).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            for values in (module.bias, module.running_mean):
                nn.init.normal_(values, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


def gallery_of(network: nn.Module, arch: str) -> Checkpoint:
    return Checkpoint(
        path=Path("unsaved"),
        role="gallery",
        arch=arch,
        dim=DIM,
        width=WIDTH,
        stem_stride=1,
        preprocessing=Preprocessing(size=SIZE),
        space="unsaved",
        searches=(),
        classes=("a", "b", "c"),
        method="gallery",
        classification=Classification(),
        license="unspecified",
        config={},
        state=network.state_dict(),
        classifier=torch.randn(3, DIM),
    )


def pruned(gallery: Checkpoint, how: str, pixels: NDArray[np.uint8], fraction: str = "0.9") -> nn.Module:
    torch.manual_seed(1)
    small = build_model(f"{gallery.arch}_pruned{fraction}", dim=DIM, width=WIDTH)
    inherit(small, None, gallery, (), how, pixels)  # type: ignore[arg-type]
    assert small.training
    return small.eval()


def embeddings(network: nn.Module, pixels: NDArray[np.uint8]) -> Tensor:
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (Preprocessing(size=SIZE).mean, Preprocessing(size=SIZE).std))
    with torch.no_grad():
        result: Tensor = network((images - mean) / std)
    return result


def test_the_pruned_resnet101_of_table_4_costs_a_ninth() -> None:
    # By hand, at 112 pixels: multiply-adds per pixel of each stage, with 6, 13, 26 and 51 filters left of 64 to 512.
    # Stem and projection shortcuts, which keep all their filters, are more than half of it.
    stages = 25_420 * 56**2 + 187_076 * 28**2 + 1_875_612 * 14**2 + 2_741_843 * 7**2
    cost = count_cost(build_model("resnet101_pruned0.9"), 112)
    assert cost.mmacs * 1e6 == pytest.approx(3 * 49 * 64 * 112**2 + stages + 2048 * 128)
    assert cost.mmacs == pytest.approx(846.6, abs=0.1)
    assert cost.params_m == pytest.approx(5.178, abs=0.001)


@pytest.mark.parametrize(("arch", "inner"), [("resnet18", [3]), ("resnet50", [3, 3])])
def test_only_the_layers_inside_a_residual_branch_lose_filters(arch: str, inner: list[int]) -> None:
    small, whole = (blocks(build_model(name, width=0.5))[0] for name in (f"{arch}_pruned0.9", arch))
    counts = [[layer[0].out_channels for layer in block.branch] for block in (small, whole)]
    assert counts[0] == [*inner, counts[1][-1]]
    assert counts[1][0] == 32


def test_a_layer_keeps_at_least_one_filter() -> None:
    small = build_model("resnet18_pruned0.99", width=WIDTH, dim=DIM).eval()
    assert {block.branch[0][0].out_channels for block in blocks(small)} == {1}
    assert small(torch.randn(1, 3, SIZE, SIZE)).shape == (1, DIM)


@pytest.mark.parametrize(
    "arch",
    ["resnet18_pruned", "resnet18_pruned0.0", "resnet18_pruned1.0", "resnet18_pruned-0.5", "mobilenet_v2_pruned0.9"],
)
def test_a_senseless_fraction_or_network_is_refused(arch: str) -> None:
    with pytest.raises(ConfigError, match=r"above 0 and below 1, such as resnet101_pruned0\.9"):
        build_model(arch)


def test_an_unknown_pruned_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"resnet19_pruned0\.9.*resnet18"):
        build_model("resnet19_pruned0.9")


def test_magnitude_keeps_the_filters_with_the_largest_l1_norm(pixels: NDArray[np.uint8]) -> None:
    network = random_network("resnet50")
    block = blocks(network)[1]
    first, second, third = ([layer[0], layer[1]] for layer in block.branch)
    with torch.no_grad():
        # Filter 5 of the first layer: a small L2 norm, but the largest L1 norm. Filter 2 has it the other way round.
        first[0].weight.fill_(0.01)
        first[0].weight[5] = 0.1
        first[0].weight[2, 0] = 2.0
        second[0].weight[3] = 9.0
    small = blocks(pruned(gallery_of(network, "resnet50"), "magnitude", pixels))[1]
    assert torch.equal(small.branch[0][0].weight, first[0].weight[[5]])
    assert torch.equal(small.branch[1][0].weight, second[0].weight[[3]][:, [5]])
    assert torch.equal(small.branch[2][0].weight, third[0].weight[:, [3]])
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(small.branch[0][1], name), getattr(first[1], name)[[5]])
        assert torch.equal(getattr(small.branch[1][1], name), getattr(second[1], name)[[3]])
        assert torch.equal(getattr(small.branch[2][1], name), getattr(third[1], name))


def test_magnitude_copies_every_layer_outside_the_branches(pixels: NDArray[np.uint8]) -> None:
    network = random_network("resnet18")
    small = pruned(gallery_of(network, "resnet18"), "magnitude", pixels).state_dict()
    for name, value in network.state_dict().items():
        if ".branch." not in name:
            assert torch.equal(small[name], value), name


@pytest.mark.parametrize("how", ["magnitude", "channel"])
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_removing_filters_that_are_zero_changes_no_output(
    arch: str, how: str, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every pixel: a filter that fires only where the sample does not look cannot be told from a zero one.
    monkeypatch.setattr("compat_train.methods.inherit._POSITIONS", SIZE**2)
    network = random_network(arch)
    with torch.no_grad():
        for block in blocks(network):
            *inner, _ = block.branch
            for layer in inner:
                kept = round(layer[0].out_channels * 0.5)
                idle = torch.randperm(layer[0].out_channels)[kept:]
                for values in (layer[0].weight, layer[1].bias, layer[1].running_mean):
                    values[idle] = 0
    small = pruned(gallery_of(network, arch), how, pixels, "0.5")
    after, before = embeddings(small, pixels), embeddings(network, pixels)
    # Relative to how images differ, which is much less than the length of an embedding.
    assert (after - before).abs().max() < 1e-3 * before.std(0).mean()


@pytest.mark.parametrize("seed", range(5))
def test_a_refitted_layer_errs_less_over_its_sample_than_with_the_weights_it_had(seed: int) -> None:
    # Which pruning leaves the better network: benchmarks/studies/cmp_nas/cmp_nas.md, table 4.
    torch.manual_seed(seed)
    layer = nn.Sequential(nn.Conv2d(6, 5, 1, bias=False), nn.BatchNorm2d(5)).eval()
    inputs, outputs = (torch.randn(300, size) for size in (6, 5))
    kept = torch.tensor([0, 2, 5])

    def error(network: nn.Module, channels: Tensor) -> float:
        with torch.no_grad():
            apart = network(channels[:, :, None, None])[:, :, 0, 0] - outputs
        return float((apart - apart.mean(0)).square().sum())

    silent = inputs.clone()
    silent[:, [1, 3, 4]] = 0
    with torch.no_grad():
        refitted = _refitted(layer, kept, inputs, outputs)
    assert error(refitted, inputs[:, kept]) < error(layer, silent)
    with torch.no_grad():
        made = refitted(inputs[:, kept, None, None])[:, :, 0, 0]
    assert torch.allclose(made.mean(0), outputs.mean(0), atol=1e-5), "and its mean is the one that is wanted"


def test_the_channels_that_the_outputs_are_made_of_are_kept() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4)).eval()
    # Columns without anything in common: no channel can stand in for another.
    inputs = torch.linalg.qr(torch.randn(64, 9))[0]
    inputs = torch.linalg.qr(inputs - inputs.mean(0))[0][:, :8]
    with torch.no_grad():
        outputs = inputs[:, [1, 6]] @ layer[0].weight[:, [1, 6], 0, 0].T
        assert _useful_channels(layer, inputs, outputs, 2).tolist() == [1, 6]


def test_channel_pruning_repeats_itself_and_ignores_the_global_generator(pixels: NDArray[np.uint8]) -> None:
    gallery = gallery_of(random_network("resnet18"), "resnet18")
    first, again = (pruned(gallery, "channel", pixels).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_new_network_with_empty_branches_can_be_channel_pruned(pixels: NDArray[np.uint8]) -> None:
    network = build_model("resnet18", dim=DIM, width=WIDTH).eval()
    small = pruned(gallery_of(network, "resnet18"), "channel", pixels)
    torch.testing.assert_close(embeddings(small, pixels), embeddings(network, pixels))
    assert all(value.isfinite().all() for value in small.state_dict().values())


@pytest.mark.parametrize("how", ["leading", "magnitude"])
def test_the_classifier_takes_the_gallery_rows_of_its_classes(how: str, pixels: NDArray[np.uint8]) -> None:
    gallery = gallery_of(random_network("resnet18"), "resnet18")
    classifier = nn.Linear(DIM, 2, bias=False)
    small = build_model("resnet18_pruned0.5", dim=DIM, width=WIDTH)
    inherit(small, classifier, gallery, ("c", "a"), how, pixels)  # type: ignore[arg-type]
    assert gallery.classifier is not None
    assert torch.equal(classifier.weight, gallery.classifier[[2, 0]])


@pytest.mark.parametrize("how", ["magnitude", "channel"])
@pytest.mark.parametrize(
    ("arch", "settings"),
    [
        ("mobilenet_v2", {}),
        ("resnet18", {}),
        ("resnet50_pruned0.9", {}),
        ("resnet18_pruned0.9", {"width": 0.25}),
        ("resnet18_pruned0.9", {"stem_stride": 2}),
    ],
)
def test_pruning_into_another_network_is_refused(
    arch: str, settings: dict[str, float], how: str, pixels: NDArray[np.uint8]
) -> None:
    gallery = gallery_of(random_network("resnet18"), "resnet18")
    small = build_model(arch, dim=DIM, **({"width": WIDTH} | settings))  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=rf"inherit '{how}'.*resnet18, width 0\.125, stem stride 1.*_pruned0\.9"):
        inherit(small, None, gallery, (), how, pixels)  # type: ignore[arg-type]


def query(gallery: str = "g", **values: object) -> QueryConfig:
    return QueryConfig(source=Source(data="x"), gallery=gallery, **values)  # type: ignore[arg-type]


def test_what_is_inherited_follows_from_the_method_and_the_architecture() -> None:
    assert query(method="finetune", arch="resnet18").inheritance == "leading"
    assert query(method="finetune", arch="resnet101_pruned0.9").inheritance == "magnitude"
    assert query(method="bct", arch="resnet101_pruned0.9").inheritance == "none"
    assert query(method="bct", arch="resnet101_pruned0.9", inherit="channel").inheritance == "channel"


def test_finetuning_from_nothing_and_unknown_inheritances_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"finetune.*inherit is 'none'"):
        query(method="finetune", inherit="none")
    with pytest.raises(ConfigError, match="inherit is 'random'"):
        query(inherit="random")


@pytest.mark.parametrize(("method", "how"), [("finetune", "auto"), ("finetune", "channel"), ("bct", "channel")])
def test_a_pruned_network_trains_from_the_gallery_weights(
    method: str, how: str, trained: Checkpoint, clothes: Path, tmp_path: Path
) -> None:
    config = replace(
        query(str(trained.path), method=method, inherit=how, arch="resnet18_pruned0.9", width=WIDTH),
        source=Source(data=str(clothes)),
        optimisation=small_steps(lr=0.0001),
        execution=CPU,
    )
    done = train_query(config, tmp_path / "run")
    assert done.arch == "resnet18_pruned0.9" and done.searches == (trained.space,)
    assert Checkpoint.load(tmp_path / "run").build()(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, DIM)
    assert falls(tmp_path / "run", "own")
