"""Small real data for every training test."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from compat_sdk.datasets import open_dataset
from tests.train.folders import write_folder


@pytest.fixture(scope="session")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder dataset of real images: 4 classes, 12 train, 4 query and 6 gallery images of each."""
    return write_folder(tmp_path_factory.mktemp("clothes"), open_dataset("sample"), classes=4)


@pytest.fixture
def picture() -> Image.Image:
    """One image of 40 x 30 pixels with a gradient in each channel."""
    return Image.merge("RGB", [Image.linear_gradient("L").resize((40, 30)) for _ in range(3)])
