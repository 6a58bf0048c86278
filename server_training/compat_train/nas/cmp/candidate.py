"""How good a member is with the supernet's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compat_sdk.errors import TrainingError
from compat_sdk.images import Preprocessing
from compat_sdk.metrics import Metric
from compat_train.device import device_of, device_of_worker, place, torch_threads
from compat_train.embed import embed_images, input_tensor
from compat_train.methods.centred_output import Cone, write_mean
from compat_train.models.layers import fold_batch_norms
from compat_train.models.search_space import Member
from compat_train.models.supernet import take_member
from compat_train.nas.cmp.evaluations import Need, Score
from compat_train.nas.cmp.validation import Validation, read_digest
from compat_train.runs.run_files import read_tensors


@dataclass(frozen=True)
class CandidateEvaluator:
    """Makes the function that scores members; each worker process calls it once.

    Attributes:
        weights: safetensors file of the supernet.
        validation: Folder of the prepared validation arrays.
        preprocessing: Of the gallery model and the query models alike.
        dim: Length of the embedding.
        stem_stride: Stride of the first convolution.
        metric: Accuracy of the queries in the gallery.
        batch: Images per forward pass.
        device: Where candidates run.
        threads: CPU threads; 1 gives the same scores in every process.
    """

    weights: Path
    validation: Path
    preprocessing: Preprocessing
    dim: int
    stem_stride: int
    metric: Metric
    batch: int
    device: str = "cpu"
    threads: int = 1

    def decides(self) -> dict[str, object]:
        """All that the scores depend on: digests of weights and images, and the settings of the measurement."""
        return {
            "weights": hashlib.sha256(self.weights.read_bytes()).hexdigest(),
            "images": read_digest(self.validation)["sha256"],
            **({"rank": int(self.metric.at)} if self.metric.kind == "top" else {"metric": str(self.metric)}),
            "batch": self.batch,
            "device": self.device.partition(":")[0],  # a score is not the same on another kind
            "threads": self.threads,
        }

    def __call__(self) -> Callable[[Member, Need], Score]:
        """Loads the weights and the images, and returns the scoring function."""
        state = read_tensors(self.weights.read_bytes(), str(self.weights))
        images = Validation.load(self.validation)
        device = device_of_worker(self.device)
        cone = Cone.from_state(state)
        state = {name: value.to(device) for name, value in state.items()}

        def score(member: Member, need: Need) -> Score:
            with torch_threads(self.threads):
                return measured(member, need)

        def measured(member: Member, need: Need) -> Score:
            network: nn.Module = take_member(state, member, dim=self.dim, stem_stride=self.stem_stride)
            place(network, device)
            few = min(self.batch, len(images.calibration))
            recalibrate(network, images.calibration, self.preprocessing, device=device, batch=few)
            network = fold_batch_norms(network)
            if cone is not None:
                every = np.arange(len(images.calibration))
                write_mean(network, cone, images.calibration, every, self.preprocessing, device)

            def embed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
                return embed_images(
                    network, pixels, self.preprocessing, device=device, batch=self.batch, channels_last=True
                )

            queries = embed(images.queries)
            own = across = None
            if need != "across":
                own = self._accuracy(queries, embed(images.gallery), images)
            if need != "own":
                across = self._accuracy(queries, images.gallery_embeddings, images)
            return Score(own, across, None)

        return score

    def _accuracy(self, queries: NDArray[np.float32], gallery: NDArray[np.float32], images: Validation) -> float:
        if self.metric.kind == "top":  # a quarter of the time of an exact ranking, for every candidate
            similarities = torch.from_numpy(queries) @ torch.from_numpy(np.array(gallery)).T
            best = similarities.topk(min(int(self.metric.at), len(gallery)), dim=1).indices.numpy()
            return float((images.gallery_labels[best] == images.query_labels[:, None]).any(1).mean())
        labels = [list(map(str, side.tolist())) for side in (images.query_labels, images.gallery_labels)]
        return float(self.metric.values(queries, labels[0], np.array(gallery), labels[1]).mean())


@torch.no_grad()
def recalibrate(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    preprocessing: Preprocessing,
    *,
    device: torch.device | str = "cpu",
    batch: int = 128,
) -> None:
    """Gives a network batch-norm statistics of its own, in place: the mean over full batches of training images.

    Statistics that members share describe none of them. SPOS runs a moving average over resampled images; the plain
    mean of the same batches forgets none of them and repeats exactly.

    Source: Guo et al., ECCV 2020, section 3.4 (statistics recomputed before each evaluation).

    Args:
        network: On ``device``.
        pixels: uint8 ``[k, size, size, 3]``, at least one batch; images past the last full batch are not used.
        preprocessing: Of the network.
        device: Where to run.
        batch: Images per step.

    Raises:
        TrainingError: There are fewer images than one batch, so that no statistics could be made.
    """
    if len(pixels) < batch:
        raise TrainingError(
            f"{len(pixels)} images are too few to recalibrate batch norms on in batches of {batch}; expected at least "
            f"one batch: choose a smaller batch, or more calibration images"
        )
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
    network.train()
    for start in range(0, len(pixels) - batch + 1, batch):
        block = torch.from_numpy(np.array(pixels[start : start + batch])).to(device_of(device))
        network(input_tensor(block, preprocessing).contiguous(memory_format=torch.channels_last))
    network.eval()
