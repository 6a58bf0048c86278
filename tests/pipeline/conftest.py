"""A tiny real dataset in folders, and a way to run commands in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_cli.app import main
from compat_sdk.datasets import open_dataset

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs one command: exit code, stdout and stderr, down to what native code prints."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        code = leaving.value.code or 0
        assert isinstance(code, int)
        return code, out, err

    return call


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled data are an eighth of themselves, for a story whose steps are what is tested."""
    pytest.importorskip("torch")
    from compat_sdk.datasets import Dataset, opening
    from compat_train.data.training_set import split_rows

    whole = open_dataset("sample")
    splits = {name: split_rows(split, np.arange(0, len(split), 8)) for name, split in whole.splits.items()}
    monkeypatch.setattr(opening, "open_sample", lambda: Dataset(whole.name, splits, whole.description))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images of three classes in train/ query/ gallery/ folders: 48, 9 and 18 PNG files."""
    root = tmp_path_factory.mktemp("photos")
    dataset = open_dataset("sample")
    for name, count in (("train", 16), ("query", 3), ("gallery", 6)):
        split = dataset.splits[name]
        for label in split.classes[:3]:
            rows = [row for row, found in enumerate(split.labels) if found == label][:count]
            for row in rows:
                path = root / name / label.replace("/", "-") / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(split.images[row]).save(path)  # type: ignore[arg-type]
    return root
