"""A bundle that is written and not yet published, tested as a device will test it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from compat_export.convert.graphs import Converted, opened
from compat_sdk.bundle import Bundle
from compat_sdk.bundle.self_test import input_statistics
from compat_sdk.embedder import Embedder
from compat_sdk.images import Preprocessing
from compat_sdk.transform import Transform
from compat_train.embed import input_tensor


def input_record(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Mean and deviation of each channel of what PyTorch makes of pixels, float32 ``[n, 3, 2]``.

    Args:
        pixels: uint8 ``[n, size, size, 3]``, RGB.
        preprocessing: What the bundle says of its graphs.
    """
    return input_statistics(input_tensor(torch.from_numpy(pixels), preprocessing).numpy())


def require_self_test(bundle: Bundle) -> None:
    """Return only if every graph, read from the bundle, passes the bundle's own self-test on every engine here.

    Raises:
        CheckFailedError: One does not.
        MissingExtraError: Its engine is not installed.
    """
    for graph in bundle.manifest.graphs:
        files = {name: bundle.read(name) for name in bundle.manifest.files if graph.is_made_of(name)}
        with opened(Converted(graph, files)) as engines:
            for engine in engines:
                if bundle.manifest.source is None:
                    Embedder(bundle, engine, graph=graph, threads=1).self_test()
                else:
                    Transform(bundle, engine, graph=graph).self_test()
