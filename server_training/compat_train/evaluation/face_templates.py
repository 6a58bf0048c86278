"""IJB-B and IJB-C with a query model and a gallery model: templates compared one to one, and searched one to many.

Each model embeds every picture and its mirror image; the two are added, weighted by the detector's score, averaged over
the frames of a medium and summed over media. One to one, the first template of a pair is the query model's and the
second the gallery model's. One to many, probes are the query model's. A network's outputs have unit length, or with
``keep_lengths`` their own, as in insightface's default: a picture that the network is sure of then weighs more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Trust
from compat_sdk.datasets.published.ijb import FaceTemplates, Subjects
from compat_sdk.errors import ConfigError
from compat_sdk.metrics import (
    Acceptance,
    best_scores,
    merged_tpir_at_fpir,
    pair_scores,
    pool_templates,
    tar_at_far,
    tpir_at_fpir,
)
from compat_sdk.progress import Progress
from compat_train.device import torch_threads
from compat_train.evaluation.embedding_model import open_model
from compat_train.evaluation.splits import split_vectors
from compat_train.evaluation.verification import mirrored

FARS, FPIRS = (1e-4, 1e-5), (0.1, 0.01)
"""False acceptance rates, and false positive identification rates, that are reported."""


@dataclass(frozen=True)
class TemplateScores:
    """What one system reaches.

    Attributes:
        tar: True acceptance one to one, at each of `FARS`.
        tpir: One to many, the mean over both galleries, at each of `FPIRS`.
        merged_tpir: The same as older scripts compute it, with one merged gallery.
    """

    tar: tuple[Acceptance, ...]
    tpir: tuple[float, ...]
    merged_tpir: tuple[float, ...]


def evaluate_templates(
    faces: FaceTemplates,
    query: str | Path,
    gallery: str | Path,
    *,
    keep_lengths: bool = False,
    memory_mib: float = 256,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
    trust: Trust | None = None,
) -> dict[str, TemplateScores]:
    """Scores of each model against itself and across, under ``query_query``, ``query_gallery``, ``gallery_gallery``.

    Args:
        faces: An opened set.
        query: RUN or BUNDLE of the query model, or of the new model.
        gallery: RUN or BUNDLE of the gallery model, or of the old model.
        keep_lengths: Pool the networks' outputs with their lengths; needs RUNs.
        memory_mib: Bound on decoded images and on scores held at a time, in MiB.
        device: Where a RUN is evaluated: auto, cpu or cuda.
        threads: CPU threads for decoding and inference; None takes one per core.
        progress: Called with a stage, how much of it is done, its total, and figures.
        trust: Whose signature both models must have; None for no matter whose.

    Raises:
        DataError: An image cannot be read, or a gallery has no mated probe or no stranger.
        ConfigError: The models differ in dimension, only vectors of one are known, or only unit vectors where lengths
            are to be kept.
    """
    same = Path(query).resolve() == Path(gallery).resolve()
    models = [
        open_model(source, device=device, threads=threads, trust=trust)
        for source in ([gallery] if same else [query, gallery])
    ]
    if models[0].dim != models[-1].dim:
        raise ConfigError(
            f"{models[0].name} gives {models[0].dim} dimensions and {models[-1].name} {models[-1].dim}; only models of "
            f"one dimension can be compared"
        )
    with torch_threads(threads):
        found = split_vectors(
            [mirrored(model, keep_lengths=keep_lengths) for model in models],
            faces.images,
            memory_mib=memory_mib,
            threads=threads,
            progress=progress,
        )
    pooled = [pool_templates(each, faces.templates, faces.media, quality=faces.quality) for each in found]
    numbers, (of_query, of_gallery) = pooled[0][0], (pooled[0][1], pooled[-1][1])
    cells = {
        "query_query": (of_query, of_query),
        "query_gallery": (of_query, of_gallery),
        "gallery_gallery": (of_gallery, of_gallery),
    }
    return {cell: _scores(faces, numbers, *sides, memory_mib) for cell, sides in cells.items()}


def _scores(
    faces: FaceTemplates,
    numbers: NDArray[np.int64],
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    memory_mib: float,
) -> TemplateScores:
    scores = pair_scores(left, right, np.searchsorted(numbers, faces.pairs))
    probes, people = _taken(numbers, left, faces.probes)
    galleries = [_taken(numbers, right, gallery) for gallery in faces.galleries]
    best = [best_scores(probes, people, *gallery, memory_mib=memory_mib) for gallery in galleries]
    merged = np.concatenate([vectors for vectors, _ in galleries]), [label for _, own in galleries for label in own]
    return TemplateScores(
        tar=tuple(tar_at_far(scores, faces.same, FARS)),
        tpir=tuple(tpir_at_fpir(best, rate) for rate in FPIRS),
        merged_tpir=tuple(merged_tpir_at_fpir(probes, people, *merged, rate, memory_mib=memory_mib) for rate in FPIRS),
    )


def _taken(
    numbers: NDArray[np.int64], vectors: NDArray[np.float32], subjects: Subjects
) -> tuple[NDArray[np.float32], list[str]]:
    """Vectors of these templates, and the person of each."""
    return vectors[np.searchsorted(numbers, subjects.templates)], [str(person) for person in subjects.people.tolist()]
