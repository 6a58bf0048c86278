"""The last linear layer of an embedding network, whatever the network."""

from __future__ import annotations

from torch import nn

from compat_sdk.errors import TrainingError


def last_linear(network: nn.Module) -> nn.Linear:
    """The layer that writes the embedding: ``network.head``, or the last layer of it where it has several.

    Raises:
        TrainingError: The network has no such layer with a bias.
    """
    head = getattr(network, "head", None)
    last = head[-1] if isinstance(head, nn.Sequential) and len(head) else head
    if not isinstance(last, nn.Linear) or last.bias is None:
        raise TrainingError(
            f"{type(network).__name__} does not end in a linear layer named head, which start 'ridge' and centred "
            f"targets write to; leave both out"
        )
    return last
