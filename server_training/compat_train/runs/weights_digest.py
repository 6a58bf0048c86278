"""One number for all weights of a network: what an identity says of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of every tensor's name, type, shape and bytes, in 64 hexadecimal digits.

    Args:
        state: Weights by name, on any device; their order does not matter.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        data = value.reshape(-1).view(torch.uint8).numpy().tobytes()
        digest.update(json.dumps([name, str(value.dtype), list(value.shape), len(data)]).encode())
        digest.update(data)
    return digest.hexdigest()
