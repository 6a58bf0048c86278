"""Models of timm, transformers and open_clip: adopted with the weights of a file, prepared as the package does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from compat_sdk.errors import ConfigError, CorruptFileError
from compat_train import Wanted, adopt
from compat_train.adoption.opening import open_gallery_model
from compat_train.data.golden_pictures import standard_pictures
from compat_train.embed import embed_images
from tests.timm_here import make_timm_loadable, needs_timm

SMALL_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def timm_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a small ResNet of timm, as timm saves them."""
    make_timm_loadable()
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("timm") / "weights.safetensors"
    save_file(pytest.importorskip("timm").create_model("resnet10t").state_dict(), file)
    return file


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small ViT, as transformers saves it."""
    make_timm_loadable()
    transformers: Any = pytest.importorskip("transformers")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("hf") / "vit"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.ViTModel(transformers.ViTConfig(image_size=32, patch_size=16, **sizes)).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model of open_clip with a file of weights, as a source."""
    make_timm_loadable()
    open_clip: Any = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    (folder / "small-of-a-test.json").write_text(json.dumps(SMALL_CLIP))
    open_clip.add_model_config(folder / "small-of-a-test.json")
    save_file(open_clip.create_model("small-of-a-test").state_dict(), folder / "w.safetensors")
    return f"open_clip:small-of-a-test:{folder / 'w.safetensors'}"


def check(source: str, wanted: Wanted, run: Path, *, dim: int, size: int) -> None:
    """It is proven from picture files on, and the RUN alone gives the same vectors again."""
    done = adopt(source, run, wanted)
    assert done.proof is not None and done.proof.inputs > 0.9999 and (done.proof.files or 0) > 0.98
    assert (done.checkpoint.dim, done.checkpoint.preprocessing.size) == (dim, size)
    again = open_gallery_model(str(run))
    assert again.space == adopt(source, run.parent / "again", wanted).checkpoint.space
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    found = [embed_images(model.build(), pixels, model.preprocessing) for model in (done.checkpoint, again)]
    np.testing.assert_array_equal(*found)
    assert len(standard_pictures()) == done.proof.pictures


@needs_timm
def test_a_network_of_timm(timm_weights: Path, tmp_path: Path) -> None:
    check("timm:resnet10t", Wanted(weights=timm_weights), tmp_path / "run", dim=512, size=176)


def test_a_folder_of_transformers(vit: Path, tmp_path: Path) -> None:
    check(f"huggingface:{vit}", Wanted(), tmp_path / "run", dim=16, size=32)


def test_the_image_side_of_open_clip(clip: str, tmp_path: Path) -> None:
    check(clip, Wanted(), tmp_path / "run", dim=16, size=32)


def test_the_output_of_transformers_is_part_of_the_space(vit: Path, tmp_path: Path) -> None:
    pooled, token = (
        adopt(f"huggingface:{vit}", tmp_path / str(name), Wanted(output=name)).checkpoint
        for name in ("pooler_output", "cls")
    )
    assert pooled.space != token.space
    with pytest.raises(ConfigError, match="name one by --output"):
        adopt(f"huggingface:{vit}", tmp_path / "other", Wanted(output="logits"))


def copied(vit: Path, to: Path, name: str, **changes: object) -> Path:
    to.mkdir()
    for file in vit.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    (to / name).write_text(json.dumps(json.loads((vit / name).read_text()) | changes))
    return to


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("config.json", {"model_type": "no-such-model"}, "builds no model from this configuration"),
        ("config.json", {"hidden_size": 24}, "does not fit the model|weights of the model"),
        ("preprocessor_config.json", {"rescale_factor": 1.0}, "expected 1/255"),
        ("preprocessor_config.json", {"size": {"height": 32, "width": 48}}, "expected a square"),
        ("preprocessor_config.json", {"image_mean": "grey"}, "image_mean grey; expected three numbers"),
        ("preprocessor_config.json", {"image_std": [0.5, None, 0.5]}, "expected three numbers"),
        ("preprocessor_config.json", {"rescale_factor": "1/255"}, "rescale_factor 1/255; expected a number"),
        ("preprocessor_config.json", {"crop_size": [224], "do_center_crop": True}, "crop_size .*expected pixels"),
        ("preprocessor_config.json", {"crop_size": 16, "do_center_crop": True, "size": {}}, "square of one side"),
        ("preprocessor_config.json", {"resample": [3]}, "resample"),
        ("preprocessor_config.json", {"size": "large"}, "size large; expected pixels"),
    ],
)
def test_a_folder_that_cannot_be_followed_is_refused(
    name: str, changes: dict[str, object], says: str, vit: Path, tmp_path: Path
) -> None:
    folder = copied(vit, tmp_path / "folder", name, **changes)
    with pytest.raises((ConfigError, CorruptFileError), match=says):
        adopt(f"huggingface:{folder}", tmp_path / "run", Wanted())
    assert not (tmp_path / "run").exists()


def test_code_that_comes_with_a_model_is_not_run(vit: Path, tmp_path: Path) -> None:
    folder = copied(
        vit, tmp_path / "folder", "config.json", model_type="theirs", auto_map={"AutoModel": "theirs.Model"}
    )
    (folder / "theirs.py").write_text("raise SystemExit('code of a model was run')")
    with pytest.raises(ConfigError, match="builds no model"):
        adopt(f"huggingface:{folder}", tmp_path / "run", Wanted())
