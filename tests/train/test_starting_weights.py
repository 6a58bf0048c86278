"""Published weights that a training starts from: which files are read, and which belong to a network."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from compat_sdk.errors import CompatError, ConfigError, CorruptFileError, DataError, TrainingError
from compat_sdk.images import Preprocessing
from compat_train import Execution, GalleryConfig, Optimisation, QueryConfig, Source, train_gallery, train_query
from compat_train.methods.starting_weights import published_weights, starting_state
from compat_train.models import build_model
from compat_train.runs.weights_file import read_weights
from tests.timm_here import make_timm_loadable, needs_timm

make_timm_loadable()

State = dict[str, Tensor]


def config_of(data: Path, **settings: object) -> GalleryConfig:
    """A short training of a small network; its rate is too small to move any weight that it starts from."""
    told = {"arch": "shufflenet_v2", "width": 0.25, "dim": 8, "preprocessing": Preprocessing(size=32)} | settings
    if str(told["arch"]).startswith("timm:"):
        told["width"] = 1.0
    return GalleryConfig(
        source=Source(data=str(data)),
        optimisation=Optimisation(epochs=1, batch=16, lr=1e-12, weight_decay=0.0),
        execution=Execution(device="cpu"),
        **told,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def own() -> State:
    """Weights of one of our networks, as `config_of` has it."""
    torch.manual_seed(5)
    return build_model("shufflenet_v2", width=0.25, dim=8).state_dict()


@pytest.fixture(scope="module")
def of_timm() -> State:
    """Weights of a network of timm as its hub has them: with a classifier, and no counters."""
    import timm

    torch.manual_seed(5)
    state = timm.create_model("test_efficientnet").state_dict()
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def start_of(file: Path, **settings: object) -> State:
    config = config_of(file, weights=str(file), **settings)
    found = starting_state(config, published_weights(config), dim=config.dim, size=32)
    assert found is not None
    return dict(found)


def test_training_starts_from_the_file_and_another_file_is_another_run(
    own: State, clothes: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.safetensors"
    save_file(own, file)
    config = config_of(clothes, weights=str(file))
    trained = train_gallery(config, tmp_path / "run")
    moving = ("running_mean", "running_var", "num_batches_tracked")
    for name, value in trained.state.items():
        assert name.endswith(moving) or torch.allclose(value, own[name], atol=1e-7), name
    assert train_gallery(config, tmp_path / "run").space == trained.space
    save_file(own | {"head.bias": own["head.bias"] + 1}, file)
    with pytest.raises(TrainingError, match="weights_sha256 was"):
        train_gallery(config, tmp_path / "run")


def test_the_weights_of_a_run_start_another_and_a_query_model(own: State, clothes: Path, tmp_path: Path) -> None:
    gallery = train_gallery(config_of(clothes), tmp_path / "gallery")
    file = tmp_path / "gallery" / "model.safetensors"
    assert all(torch.equal(value, gallery.state[name]) for name, value in start_of(file).items())
    query = QueryConfig(
        source=Source(data=str(clothes)),
        gallery=str(gallery.path),
        arch="shufflenet_v2",
        width=0.25,
        weights=str(file),
        optimisation=Optimisation(epochs=1, batch=16, lr=1e-12, weight_decay=0.0),
        execution=Execution(device="cpu"),
    )
    trained = train_query(query, tmp_path / "query")
    assert all(torch.allclose(trained.state[name], gallery.state[name], atol=1e-7) for name in ("head.weight",))


@pytest.mark.parametrize(
    "settings", [{"method": "finetune"}, {"inherit": "leading"}, {"weights": "hub"}, {"weights": ""}], ids=str
)
def test_weights_that_contradict_another_setting_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="weights is"):
        QueryConfig(source=Source(data="x"), gallery="g", **({"weights": "w.safetensors"} | settings))  # type: ignore[arg-type]


@needs_timm
def test_the_classifier_is_left_out_and_the_layer_to_the_embedding_is_fresh(of_timm: State, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({name: value.half() for name, value in of_timm.items()}, file)
    start = start_of(file, arch="timm:test_efficientnet")
    torch.manual_seed(0)
    fresh = build_model("timm:test_efficientnet", dim=8).state_dict()
    assert start.keys() == fresh.keys()
    for name, value in start.items():
        if name.startswith("head.") or name.endswith("num_batches_tracked"):
            assert torch.equal(value, fresh[name])
        else:
            assert torch.equal(value, of_timm[name.removeprefix("features.")].half().float())


@pytest.mark.parametrize(("arch", "last"), [("shufflenet_v2", "head."), ("mobilenet_v3", "head.2.")])
def test_only_the_layer_to_the_embedding_may_be_missing_and_only_as_a_whole(
    arch: str, last: str, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    published = build_model(arch, width=0.25, dim=8).state_dict()
    file = tmp_path / "model.safetensors"
    save_file({name: value for name, value in published.items() if not name.startswith(last)}, file)
    start = start_of(file, arch=arch)
    torch.manual_seed(0)
    fresh = build_model(arch, width=0.25, dim=8).state_dict()
    assert start.keys() == fresh.keys()
    for name, value in start.items():
        assert torch.equal(value, (fresh if name.startswith(last) else published)[name]), name
    with pytest.raises(DataError, match=f"it looks like {arch}"):
        start_of(file, arch="resnet18")
    save_file({name: value for name, value in published.items() if name != f"{last}bias"}, file)
    with pytest.raises(DataError, match=f"it lacks {last}bias"):
        start_of(file, arch=arch)


@needs_timm
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "bn1.weight"}, r"lacks bn1\.weight"),
        (lambda state: state | {"extra.weight": torch.zeros(2)}, r"has besides extra\.weight"),
        (lambda state: state | {"bn1.weight": torch.zeros(3)}, r"has bn1\.weight of \[3\] for \[24\]"),
        (lambda state: state | {"bn1.weight": torch.zeros(24, dtype=torch.int64)}, r"has bn1\.weight"),
        (lambda _: {"layer": torch.zeros(2)}, r"lacks .* and \d+ more; has besides layer"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[[State], State], said: str, of_timm: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compat_train.models.pretrained._candidates", lambda _: iter(()))
    file = tmp_path / "model.safetensors"
    save_file(change(of_timm), file)
    with pytest.raises(DataError, match=rf"does not fit timm:test_efficientnet: it {said}.*architecture$"):
        start_of(file, arch="timm:test_efficientnet")


@needs_timm
def test_weights_of_another_network_say_of_which(of_timm: State, own: State, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    file = tmp_path / "model.safetensors"
    save_file(own, file)
    with pytest.raises(DataError, match="it looks like shufflenet_v2") as refused:
        start_of(file, arch="timm:test_efficientnet", width=1.0)
    assert len(str(refused.value)) < 320
    save_file(timm.create_model("test_resnet").state_dict(), file)
    with pytest.raises(DataError, match="it looks like timm:test_resnet"):
        start_of(file, arch="timm:test_efficientnet")


def saved(value: object, **how: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **how)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {name: value + 1 for name, value in state.items()}, "state_dict_ema": state},
        lambda state: {f"module.{name}": value for name, value in state.items()},
    ],
)
def test_the_state_is_found_in_what_training_scripts_save(
    wrap: Callable[[State], object], own: State, tmp_path: Path
) -> None:
    (tmp_path / "w.pth").write_bytes(saved(wrap(own)))
    found = read_weights(tmp_path / "w.pth").tensors
    assert found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own)


class Runs:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("touched"),))


def deflated(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return buffer.getvalue()


def flipped(data: bytes) -> bytes:
    at = data.index(torch.full((64,), 0.5).numpy().tobytes()) + 9
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


HALVES = {"a": torch.full((64,), 0.5)}


@pytest.mark.parametrize(
    ("name", "data", "error", "said"),
    [
        ("w.pth", saved({"a": torch.zeros(2), "b": Runs()}), DataError, "more than tensors"),
        ("w.pth", pickle.dumps(Runs()), CorruptFileError, "no archive of torch"),
        ("w.pth", saved(HALVES, _use_new_zipfile_serialization=False), CorruptFileError, "no archive of torch"),
        ("w.bin", deflated(saved(HALVES)), CorruptFileError, "entries are compressed"),
        ("w.pt", flipped(saved(HALVES)), CorruptFileError, "is damaged in"),
        ("w.pt", saved(HALVES)[:200], CorruptFileError, "no archive of torch"),
        ("w.pt", saved([torch.zeros(2)]), DataError, "no dictionary of tensors"),
        ("w.pt", saved({"a": torch.zeros(2), "epoch": 3}), DataError, "no dictionary of tensors"),
        ("w.pt", saved({"a": torch.eye(2).to_sparse()}), DataError, "sparse or quantised"),
        ("w.pt", saved({}), DataError, "holds no tensors"),
        ("w.pt", saved({"a": torch.tensor([1.0, torch.nan])}), CorruptFileError, "not finite"),
        ("w.safetensors", b"", CorruptFileError, "is not a safetensors file"),
        ("w.safetensors", saved(HALVES), CorruptFileError, "is not a safetensors file"),
        ("w.onnx", b"", DataError, "expected a file .safetensors"),
    ],
)
def test_a_file_that_is_not_tensors_is_refused_and_nothing_in_it_runs(
    name: str, data: bytes, error: type[CompatError], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(data)
    with pytest.raises(error, match=said) as refused:
        read_weights(name)
    assert len(str(refused.value)) < 300 and not Path("touched").exists()


@pytest.mark.parametrize("name", ["nothing.safetensors", "folder.pth"])
def test_a_file_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(DataError, match="cannot read weights"):
        read_weights(tmp_path / name)


@needs_timm
def test_a_hub_that_cannot_be_reached_is_one_error_and_nothing_else_asks_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import timm

    make = timm.create_model

    def offline(name: str, pretrained: bool = False, **settings: object) -> object:
        if pretrained:
            raise ConnectionError("no route to host")
        return make(name, **settings)

    monkeypatch.setattr(timm, "create_model", offline)
    build_model("timm:test_efficientnet")
    with pytest.raises(CompatError, match=r"cannot get the weights of timm:test_efficientnet .*no route to host"):
        published_weights(config_of(tmp_path, arch="timm:test_efficientnet", weights="hub"))
