"""What a training class means to the old classifier when the old model never saw it.

    skip             its images add nothing to the loss under the old classifier
    prototypes       the class gets a row: the mean of its images' old embeddings; known classes keep theirs
    all-prototypes   every training class gets such a row, and the old classifier is not used
    refined-prototypes   the same, and images that lie apart from their class count less: UniBCT
    lwf              its images are held to what the old classifier says of their old embeddings, as soft labels

"prototypes" is the default: they draw the new classes to where the old model puts their images, which is where an
old gallery has them, and that is how BCT's author does it. On kanji, with 150 of 500 characters known to the old model,
one seed and three epochs, M(new, old) on unseen characters was 66.4 % with prototypes and 42.1 % with skip, in a system
whose M(old, old) was 70.1 %. "skip" needs no pass of the old model over the images. Where the old model knows every
class the two are the same.

Source: Shen et al., BCT, CVPR 2020, https://arxiv.org/abs/2003.11942, section 3.3 (rows for new classes). Skipping,
soft labels and rows for every class are the choices of its public code and of later work. Refined rows:
`compat_train.methods.refined_prototypes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compat_train.config.query import Unseen
from compat_train.data.training_set import TrainingSet
from compat_train.methods.gallery_outputs import plain_outputs
from compat_train.methods.refined_prototypes import refined_prototypes
from compat_train.runs.checkpoint import Checkpoint


def extended_classifier(
    unseen: Unseen, gallery: Checkpoint, data: TrainingSet, rows: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The frozen classifier that new embeddings are trained under, and each training class's row in it.

    Args:
        unseen: What to do about classes that the old model never saw.
        gallery: The old model.
        data: Training images.
        rows: int64 ``[classes]``, row of the old classifier; -1 where there is none.
        device: Where the old model runs; both results lie there.

    Returns:
        Class weights ``[rows, dim]``, any norm, without gradient; and int64 ``[classes]``, -1 where a class still has
        no row.
    """
    unknown = rows < 0
    whole = unseen in ("all-prototypes", "refined-prototypes")
    if whole:
        unknown = torch.ones_like(unknown)
    elif unseen != "prototypes" or not unknown.any():
        assert gallery.classifier is not None  # checked by gallery_rows
        return gallery.classifier.detach().to(device), rows.to(device)
    numbers = unknown.nonzero()[:, 0]
    wanted = np.flatnonzero(np.isin(data.labels, numbers.numpy()))
    embeddings = training_embeddings(gallery, data.pixels, device, wanted, ids=data.ids)
    labels = torch.from_numpy(data.labels[wanted]).to(device)
    means = refined_prototypes if unseen == "refined-prototypes" else class_means
    found = means(embeddings, labels, len(data.classes))[numbers.to(device)]
    if whole:
        return found, torch.arange(len(rows), device=device)
    assert gallery.classifier is not None
    known = gallery.classifier.detach().to(device)
    extended = rows.clone()
    extended[numbers] = torch.arange(len(known), len(known) + len(found))
    # Unit rows on both sides: a mean of unit vectors is shorter, and the losses normalise rows anyway.
    return torch.cat((torch.nn.functional.normalize(known), torch.nn.functional.normalize(found))), extended.to(device)


def class_means(embeddings: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean embedding of each class: the rows of a classifier made from embeddings.

    Args:
        embeddings: ``[n, dim]``.
        labels: int64 ``[n]`` in ``[0, classes)``.
        classes: Number of classes.

    Returns:
        ``[classes, dim]``, not normalised; zero for a class without images.
    """
    sums = torch.zeros(classes, embeddings.shape[1], device=embeddings.device).index_add_(0, labels, embeddings)
    counts = torch.bincount(labels, minlength=classes).clamp_min(1)
    return sums / counts[:, None]


def training_embeddings(
    gallery: Checkpoint,
    pixels: NDArray[np.uint8],
    device: torch.device,
    rows: NDArray[np.int64] | None = None,
    *,
    ids: Sequence[str] = (),
) -> Tensor:
    """Unit-norm embeddings ``[n, dim]`` of the plain training images, or some rows of them, by the old model.

    See `plain_outputs`.
    """
    chosen = np.arange(len(pixels), dtype=np.int64) if rows is None else rows
    return plain_outputs(gallery, pixels, chosen, device, ids=ids)
