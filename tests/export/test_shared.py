"""What precisions of one graph share, and what they never do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from compat_export.convert.conversion import Options, Port
from compat_export.convert.shared import Shared
from compat_sdk.images import Preprocessing

PORTS = [Port("image", (3, 8, 8))]
PIXELS = Preprocessing(size=8)


def test_a_number_format_and_what_it_alone_needs_make_no_other_graph() -> None:
    shared, module, made = Shared(), nn.Identity(), list[int]()
    calibrated = Options(precision="int8-static", calibration=np.zeros((1, 3, 8, 8), np.float32))
    for options in (Options(), Options(precision="fp16"), Options(ios=18), calibrated):
        assert shared.once("onnx", module, PORTS, options, lambda: made.append(1) or len(made)) == 1  # type: ignore[func-returns-value]
    assert made == [1]


@pytest.mark.parametrize(
    "other",
    [
        {"target": "tflite"},
        {"module": nn.Identity()},
        {"ports": [replace(PORTS[0], name="picture")]},
        {"ports": [replace(PORTS[0], shape=(3, 9, 9))]},
        {"options": Options(batch=2, pixels=PIXELS)},
        {"options": Options(batch=1, pixels=PIXELS, layout="nhwc")},
        {"options": Options(batch=1)},
        {"options": Options(batch=1, pixels=replace(PIXELS, channels="bgr"))},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_else_differs_is_made_by_itself(other: dict[str, object]) -> None:
    shared = Shared()
    usual = {"target": "onnx", "module": nn.Identity(), "ports": PORTS, "options": Options(batch=1, pixels=PIXELS)}
    assert shared.once(**usual, make=lambda: "usual") == "usual"  # type: ignore[arg-type]
    assert shared.once(**usual | other, make=lambda: "other") == "other"  # type: ignore[arg-type]
    assert shared.once(**usual, make=lambda: "again") == "usual"  # type: ignore[arg-type]
