"""Every source, what it is called, and the one opener of gallery models."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compat_sdk.bundle import Bundle
from compat_sdk.errors import CompatError, ConfigError, CorruptFileError
from compat_train import Checkpoint, Wanted, adopt
from compat_train.adoption.opening import open_gallery_model
from compat_train.adoption.source import is_source, parse_source
from compat_train.embed import embed_images
from compat_train.models.adopted import ALLOWED
from tests.golden.files import copy_of
from tests.train.records import edit_record

WANTED = Wanted(size=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
MODULE = """
import torch
from torch import nn

class Noisy(nn.Module):
    def forward(self, images):
        return images.mean((2, 3)) + torch.rand(len(images), 3)

def build():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()

def training():
    return build().train()

def noisy():
    return Noisy().eval()

def maps():
    return nn.Conv2d(3, 4, 3).eval()

def number():
    return 7
"""


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's that is allowed."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "their_teacher.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setenv(ALLOWED, "their_teacher")
    yield "module:their_teacher:"  # type: ignore[misc]
    sys.modules.pop("their_teacher", None)


def test_a_module_is_adopted_with_its_weights(teacher: str, tmp_path: Path) -> None:
    done = adopt(f"{teacher}build", tmp_path / "run", WANTED)
    assert done.proof is not None and done.proof.inputs > 0.999999 and done.checkpoint.dim == 4
    assert [layer.kind for layer in _layers(tmp_path / "run")] == ["convolution", "batch norm"]


def _layers(run: Path) -> tuple[object, ...]:
    from compat_train.models.cost import per_layer

    return per_layer(Checkpoint.load(run).build(), 16)  # type: ignore[return-value]


def test_a_run_does_not_choose_what_is_imported(teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adopt(f"{teacher}build", tmp_path / "run", WANTED)
    sys.modules.pop("their_teacher")
    monkeypatch.setenv(ALLOWED, "another")
    with pytest.raises(ConfigError, match=f"{ALLOWED}=their_teacher"):
        Checkpoint.load(tmp_path / "run").build()
    assert "their_teacher" not in sys.modules
    with pytest.raises(ConfigError, match=f"{ALLOWED}=os"):
        adopt("module:os:abort", tmp_path / "other", WANTED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("training", "training mode"),
        ("noisy", "two embeddings"),
        ("maps", r"gives \[1, 4, 14, 14\] for one image"),
        ("number", "returned a int"),
        ("absent", "cannot import absent"),
    ],
)
def test_a_module_that_is_no_embedder_is_refused(name: str, message: str, teacher: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        adopt(f"{teacher}{name}", tmp_path / "run", WANTED)
    assert not (tmp_path / "run").exists()


def test_weights_of_a_file_are_all_taken_or_none(teacher: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(9)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    taken = Wanted(**{**vars(WANTED), "weights": tmp_path / "w.safetensors"})
    found = adopt(f"{teacher}training", tmp_path / "run", taken).checkpoint
    assert torch.equal(found.state["0.weight"], other.state_dict()["0.weight"])
    save_file({"1.weight": torch.ones(4), "x": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CompatError, match=r"does not fit|another network"):
        adopt(f"{teacher}training", tmp_path / "run2", taken)


def test_a_pickle_is_not_run(teacher: str, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("open('harm', 'w')",)

    torch.save({"0.weight": Bomb()}, tmp_path / "w.pt")
    wanted = Wanted(**{**vars(WANTED), "weights": tmp_path / "w.pt"})
    with pytest.raises(CompatError):
        adopt(f"{teacher}build", tmp_path / "run", wanted)
    assert not Path("harm").exists()


def test_the_model_in_a_bundle_keeps_its_space(tmp_path: Path) -> None:
    bundle = copy_of("0.7", tmp_path / "old") / "bundles" / "gallery.bundle"
    manifest = Bundle.open(bundle).manifest
    found = adopt(str(bundle), tmp_path / "run").checkpoint
    assert (found.space, found.dim, found.preprocessing) == (manifest.space, manifest.dim, manifest.preprocessing)
    images, vectors = Bundle.open(bundle).golden()
    np.testing.assert_allclose(embed_images(found.build(), images, found.preprocessing), vectors, atol=1e-4)
    with pytest.raises(ConfigError, match="says its own size"):
        adopt(str(bundle), tmp_path / "other", Wanted(size=16))


@pytest.mark.parametrize(
    ("source", "wanted", "name"),
    [
        ("onnx:x.onnx", {"images": Path("photos")}, "images"),
        ("module:a:b", {"layout": "nhwc"}, "layout"),
        ("module:a:b", {"output": "x"}, "output"),
        ("timm:resnet18", {"output": "x"}, "output"),
        ("{bundle}", {"license": "mit"}, "license"),
        ("open_clip:ViT-B-32:w.pt", {"weights": Path("w.pt")}, "weights"),
        ("huggingface:folder", {"weights": Path("w.pt")}, "weights"),
        ("vectors:t.npz", {"mean": (0.5, 0.5, 0.5)}, "mean"),
    ],
)
def test_what_a_source_would_ignore_is_refused(
    source: str, wanted: dict[str, object], name: str, tmp_path: Path
) -> None:
    source = source.format(bundle=copy_of("0.7", tmp_path / "old") / "bundles" / "gallery.bundle")
    with pytest.raises(ConfigError, match=f"leave --{name} out"):
        adopt(source, tmp_path / "run", Wanted(**wanted))  # type: ignore[arg-type]


def test_a_layout_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="nchw, nhwc"):
        Wanted(layout="hwc")


def test_the_opener_takes_all_of_them(tmp_path: Path) -> None:
    bundle = copy_of("0.7", tmp_path / "old") / "bundles" / "gallery.bundle"
    run = tmp_path / "old" / "runs" / "gallery"
    adopt(str(bundle), tmp_path / "adopted")
    spaces = {open_gallery_model(path).space for path in (bundle, str(bundle), run, tmp_path / "adopted")}
    assert spaces == {Bundle.open(bundle).manifest.space}
    with pytest.raises(ConfigError, match="does not exist"):
        open_gallery_model(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="RUN already"):
        adopt(str(run), tmp_path / "again")


@pytest.mark.parametrize(
    "text", ["", "timm", "timm:", "onnx:", "open_clip:ViT-B-32", "module:a", "module:a:b:c", "module:a b:c", "keras:x"]
)
def test_what_is_no_source_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_source(text)


def test_sources_are_told_from_paths() -> None:
    assert is_source("onnx:x.onnx") and is_source("timm:resnet50") and not is_source("runs/gallery")
    assert not is_source("bundle:x") and not is_source("C:/models")
    assert parse_source("open_clip:ViT-B-32:a/b.pt").file == Path("a/b.pt")


def test_a_record_with_odd_values_is_refused(tmp_path: Path) -> None:
    bundle = copy_of("0.7", tmp_path / "old") / "bundles" / "gallery.bundle"
    for change in ({"network": []}, {"network": {"a": [1]}}, {"of_bundle": 3}, {"arch": "keras"}):
        adopt(str(bundle), tmp_path / "run")
        edit_record(tmp_path / "run" / "model.json", change)
        with pytest.raises(CompatError):
            Checkpoint.load(tmp_path / "run").build()


def test_an_adopted_arch_without_its_graph_is_refused(tmp_path: Path) -> None:
    from compat_train.models.adopted import build_adopted

    with pytest.raises(CorruptFileError, match="no graph"):
        build_adopted("onnx", {}, {})
