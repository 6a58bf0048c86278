"""Networks of timm by name: what a name may be, what a network takes, and the form in which it is deployed."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

from compat_sdk.errors import CompatError, ConfigError, MissingExtraError
from compat_sdk.images import Preprocessing
from compat_train import Execution, GalleryConfig, Optimisation, QueryConfig, Source, train_gallery
from compat_train.config.settings import config_from_mapping
from compat_train.models import build_model, count_cost
from compat_train.models.optional_package import import_timm
from compat_train.models.timm_network import as_deployed, require_size, timm_preprocessing
from tests.timm_here import make_timm_loadable, needs_timm

make_timm_loadable()


def settled(name: str, size: int, dim: int = 16) -> nn.Module:
    """A network whose batch norms have seen something, so that its numbers are of the order of 1."""
    torch.manual_seed(0)
    network = build_model(name, dim=dim)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network(torch.randn(8, 3, size, size))
    return network.eval()


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"\[timm\]"):
        build_model("timm:resnet18")


def test_a_timm_that_does_not_load_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("compat_train.models.optional_package.importlib.import_module", broken)
    for arch in ("timm:resnet18", "swin_tiny"):
        with pytest.raises(CompatError, match="torchvision that was built for the torch that is here"):
            build_model(arch)


@needs_timm
@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("timm:", "is no name of timm's"),
        ("timm:../resnet18", "is no name of timm's"),
        ("timm:resnet18/other", "is no name of timm's"),
        ("timm:hf-hub:someone/model", "is no name of timm's"),
        ("timm:resnet18\n", "is no name of timm's"),
        ("timm:mobilenetv4_conv_smal", "did you mean mobilenetv4_conv_small"),
        ("timm:resnet18.nowhere", r"no weights nowhere of resnet18; it has .*a1_in1k"),
    ],
)
def test_a_name_that_timm_does_not_know_is_refused(arch: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_model(arch)


@needs_timm
@pytest.mark.parametrize("setting", [{"width": 0.5}, {"stem_stride": 2}])
def test_settings_of_our_own_networks_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} is .* timm's own; leave"):
        build_model("timm:test_resnet", **setting)  # type: ignore[arg-type]


@needs_timm
@pytest.mark.parametrize("arch", ["timm:test_efficientnet", "timm:test_resnet.r160_in1k", "timm:test_vit"])
def test_a_network_maps_images_to_embeddings_and_every_weight_gets_a_gradient(arch: str) -> None:
    model = build_model(arch, dim=12)
    for size in (64, 96):
        assert model(torch.rand(2, 3, size, size)).shape == (2, 12)
    model(torch.rand(2, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.manual_seed(3)
    first = build_model(arch, dim=12).state_dict()
    torch.manual_seed(3)
    assert all(torch.equal(value, first[name]) for name, value in build_model(arch, dim=12).state_dict().items())


@needs_timm
def test_pooled_features_are_the_embedding_at_their_own_length() -> None:
    with pytest.raises(ConfigError, match=r"dim is 12, and timm:test_efficientnet/pooled has 256 .*set dim to 256"):
        build_model("timm:test_efficientnet/pooled", dim=12)
    model = build_model("timm:test_efficientnet/pooled", dim=256).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), model.features(images))


@needs_timm
def test_a_size_that_a_network_does_not_take_is_refused_before_data_is_read(clothes: Path, tmp_path: Path) -> None:
    model = build_model("timm:test_vit")
    require_size(model, "timm:test_vit", 96)
    assert model.training
    with pytest.raises(ConfigError, match=r"size is 100, which timm:test_vit does not take .*its own size is 160"):
        require_size(model, "timm:test_vit", 100)
    config = GalleryConfig(
        source=Source(data=str(clothes)), arch="timm:test_vit", preprocessing=Preprocessing(size=100)
    )
    with pytest.raises(ConfigError, match="does not take"):
        train_gallery(config, tmp_path / "run")
    assert not (tmp_path / "run" / "pixels").exists()


@needs_timm
@pytest.mark.parametrize("name", ["repvit_m0_9", "mobileone_s0", "fastvit_t8", "test_vit"])
def test_the_deployed_network_is_the_same_function_and_costs_less(name: str) -> None:
    trained = settled(f"timm:{name}", 64)
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    deployed = as_deployed(trained, 64)
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = trained(images), deployed(images)
    assert (expected - found).abs().max() < 1e-4 * expected.abs().max()
    whole, merged = count_cost(trained, 64), count_cost(deployed, 64)
    fewer = name != "test_vit"
    assert ((merged.mmacs < whole.mmacs), (merged.params_m < whole.params_m)) == (fewer, True)
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())


@needs_timm
def test_positions_are_resampled_once() -> None:
    trained = settled("timm:test_vit", 96)
    deployed = as_deployed(trained, 96)
    assert deployed.get_parameter("features.pos_embed").shape[1] == trained.features.num_prefix_tokens + 36
    assert trained.get_parameter("features.pos_embed").shape[1] == trained.features.num_prefix_tokens + 100


def test_other_networks_are_deployed_as_they_are() -> None:
    model = build_model("shufflenet_v2", width=0.25)
    assert as_deployed(model, 28) is model


@needs_timm
def test_what_published_weights_expect_of_an_image_is_known() -> None:
    found = timm_preprocessing("timm:resnet101.a1h_in1k")
    assert (found.size, found.fit, found.resize) == (224, "crop", "bicubic")
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    if "crop" in {entry.name for entry in fields(Preprocessing)}:
        assert found.crop == 0.95
    assert timm_preprocessing("timm:mobileone_s0", 112).resize == "bilinear"
    assert timm_preprocessing("timm:mobileone_s0", 112).size == 112


@needs_timm
def test_with_published_weights_images_are_prepared_as_they_expect() -> None:
    told = {"source": {"data": "sample"}, "arch": "timm:test_vit", "weights": "w.safetensors"}
    query = config_from_mapping(QueryConfig, told | {"gallery": "g", "preprocessing": {"size": 96}})
    assert query.preprocessing == timm_preprocessing("timm:test_vit", 96)
    assert config_from_mapping(QueryConfig, told | {"gallery": "g", "weights": None}).preprocessing is None
    assert config_from_mapping(GalleryConfig, told).preprocessing == timm_preprocessing("timm:test_vit")
    other = config_from_mapping(GalleryConfig, told | {"preprocessing": {"size": 96}}).preprocessing
    assert other == timm_preprocessing("timm:test_vit", 96)
    assert config_from_mapping(GalleryConfig, told | {"weights": None}).preprocessing == Preprocessing(size=112)


@needs_timm
def test_a_network_of_timm_trains_resumes_and_comes_back(clothes: Path, tmp_path: Path) -> None:
    config = GalleryConfig(
        source=Source(data=str(clothes)),
        arch="timm:test_efficientnet",
        dim=8,
        preprocessing=Preprocessing(size=32),
        optimisation=Optimisation(epochs=1, batch=16),
        execution=Execution(device="cpu"),
    )
    trained = train_gallery(config, tmp_path / "run")
    again = train_gallery(config, tmp_path / "run")
    assert again.space == trained.space and trained.space.startswith("timm-8-")
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(trained.build()(images), again.build()(images))


def test_a_module_of_timm_is_imported_by_its_name() -> None:
    assert import_timm("math").sqrt(4) == 2


@needs_timm
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "size", "gmacs"),
    [
        ("mobilenetv3_large_100", 224, 0.23),
        ("mobilenetv4_conv_small", 224, 0.19),
        ("efficientnet_lite0", 224, 0.40),
        ("repvit_m0_9", 224, 0.83),
        ("fastvit_t8", 256, 0.70),
        ("mobileone_s0", 224, 0.275),
        ("ghostnetv2_100", 224, 0.18),
        ("starnet_s1", 224, 0.43),
        ("edgenext_xx_small", 256, 0.26),
        ("tiny_vit_5m_224", 224, 1.27),
    ],
)
def test_the_multiply_adds_are_the_published_ones(arch: str, size: int, gmacs: float) -> None:
    network = build_model(f"timm:{arch}", dim=1000).eval()
    assert count_cost(as_deployed(network, size), size).mmacs / 1e3 == pytest.approx(gmacs, rel=0.06)
