"""Verification of pairs: are these two of one identity? Each model against itself, and the query model across.

Left pictures are the queries, and right ones the gallery. Accuracy is that of ten folds, as LFW, CFP-FP, CPLFW, AgeDB
and CALFW publish it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compat_sdk.bundle import Trust
from compat_sdk.certificate import NEW_MODEL_RULE, QUERY_RULE
from compat_sdk.datasets import Dataset
from compat_sdk.errors import ConfigError, DataError
from compat_sdk.metrics import Acceptance, FoldAccuracy, fold_accuracy, pair_scores, tar_at_far
from compat_sdk.progress import Progress
from compat_sdk.shown import escaped
from compat_sdk.space import may_search
from compat_train.device import torch_threads
from compat_train.evaluation.embedding_model import Model, open_model
from compat_train.evaluation.splits import embed_split

FARS = (1e-3, 1e-4)
"""False acceptance rates that are reported."""
PAIRS = ("query_query", "query_gallery", "gallery_gallery")


@dataclass(frozen=True)
class Verified:
    """What one system says of all pairs.

    Attributes:
        accuracy: Over ten folds.
        tar: True acceptance at each of `FARS`; one pair of two people is the finest step.
    """

    accuracy: FoldAccuracy
    tar: tuple[Acceptance, ...]

    def to_json(self) -> dict[str, object]:
        """JSON values; all but thresholds are fractions in [0, 1]. A threshold that nothing reaches is null."""
        points = [
            {
                "wanted_far": far,
                "far": point.far,
                "tar": point.tar,
                "threshold": point.threshold if np.isfinite(point.threshold) else None,
            }
            for far, point in zip(FARS, self.tar, strict=True)
        ]
        return {"accuracy": self.accuracy.mean, "std": self.accuracy.std, "tar_at_far": points}


@dataclass(frozen=True)
class Verification:
    """An evaluation on pairs.

    Attributes:
        query_query: Both pictures by the query model.
        query_gallery: The left by the query model and the right by the gallery model.
        gallery_gallery: Both by the gallery model.
        rule_applied: Which rule is asked of the query model.
        declared: Whether it declares that it searches the gallery model's space.
        pairs: How many.
        same: How many of them are of one identity.
        query_name: The query model's name.
        gallery_name: The gallery model's name.
        flipped: Whether each vector is that of the picture plus that of its mirror image.
    """

    query_query: Verified
    query_gallery: Verified
    gallery_gallery: Verified
    rule_applied: str
    declared: bool
    pairs: int
    same: int
    query_name: str
    gallery_name: str
    flipped: bool

    @property
    def compatible(self) -> bool:
        """Whether the rule holds in mean accuracy."""
        alone = self.query_query if self.rule_applied == QUERY_RULE else self.gallery_gallery
        return self.query_gallery.accuracy.mean > alone.accuracy.mean

    @property
    def rule_text(self) -> str:
        """The rule with its two accuracies, in percent."""
        alone = self.query_query if self.rule_applied == QUERY_RULE else self.gallery_gallery
        across = self.query_gallery.accuracy.mean
        return f"{self.rule_applied}: {100 * across:.2f} % against {100 * alone.accuracy.mean:.2f} %"

    def to_json(self) -> dict[str, object]:
        """JSON values; accuracies are fractions in [0, 1]."""
        return {
            **{pair: getattr(self, pair).to_json() for pair in PAIRS},
            "compatible": self.compatible,
            "rule_applied": self.rule_applied,
            "declared": self.declared,
            "pairs": self.pairs,
            "same": self.same,
            "query_model": self.query_name,
            "gallery_model": self.gallery_name,
            "flipped": self.flipped,
        }

    def table(self) -> str:
        """Plain text: percentages, and whether the rule holds."""
        header = "".join(f"{f'TAR@FAR={far:g}':>16}" for far in FARS)
        lines = [f"{'percent':10}{'10-fold accuracy':>20}{header}"]
        for pair, name in zip(PAIRS, ("M(q,q)", "M(q,g)", "M(g,g)"), strict=True):
            found: Verified = getattr(self, pair)
            accuracy = f"{100 * found.accuracy.mean:.2f} +- {100 * found.accuracy.std:.2f}"
            lines.append(f"{name:10}{accuracy:>20}" + "".join(f"{100 * point.tar:16.2f}" for point in found.tar))
        lines.append(f"rule {self.rule_applied} {'holds' if self.compatible else 'does not hold'}")
        lines.append(f"{self.pairs} pairs, {self.same} of one identity")
        lines.append(escaped(f"query model {self.query_name}; gallery model {self.gallery_name}"))
        if not self.declared:
            lines.append("the query model does not declare this gallery's space: a search would be refused")
        return "\n".join(lines)


def verify_pairs(
    dataset: Dataset,
    query: str | Path,
    gallery: str | Path,
    *,
    flip: bool = True,
    memory_mib: float = 256,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
    trust: Trust | None = None,
) -> Verification:
    """Accuracy of both models and across them, on a dataset of pairs.

    With ``flip`` a vector is that of the picture plus that of its mirror image, at unit length, as published
    evaluations have it. Models give unit vectors, so both count alike.

    Args:
        dataset: Of pairs, such as an opened ``lfw.bin``.
        query: RUN or BUNDLE of the query model, or of the new model.
        gallery: RUN or BUNDLE of the gallery model, or of the old model.
        flip: Also embed the mirror image.
        memory_mib: Bound on decoded images held at a time, in MiB.
        device: Where a RUN is evaluated: auto, cpu or cuda.
        threads: CPU threads for decoding and inference; None takes one per core.
        progress: Called with a stage, how much of it is done, its total, and figures.
        trust: Whose signature both models must have; None for no matter whose.

    Raises:
        DataError: The dataset has no pairs, fewer than ten, or of one kind alone; or an image cannot be read.
        ConfigError: The models differ in dimension.
    """
    if dataset.same is None:
        raise DataError(f"{dataset.name} has no pairs; expected a file such as lfw.bin")
    alike = Path(query).resolve() == Path(gallery).resolve()
    sources = [gallery] if alike else [query, gallery]
    models = [open_model(source, device=device, threads=threads, trust=trust) for source in sources]
    of_query, of_gallery = models[0], models[-1]
    if of_query.dim != of_gallery.dim:
        raise ConfigError(
            f"{of_query.name} gives {of_query.dim} dimensions and {of_gallery.name} {of_gallery.dim}; only models of "
            f"one dimension can be compared"
        )
    embedding = [mirrored(model) for model in models] if flip else models
    sides = {}
    with torch_threads(threads):
        for name in ("query", "gallery"):
            found = embed_split(
                embedding, dataset.split(name), memory_mib=memory_mib, threads=threads, progress=progress
            )
            sides[name] = found[0].vectors, found[-1].vectors
    (left_query, left_gallery), (right_query, right_gallery) = sides["query"], sides["gallery"]
    new_model = of_query.role == "gallery" and of_gallery.space in of_query.searches
    return Verification(
        _verified(left_query, right_query, dataset.same),
        _verified(left_query, right_gallery, dataset.same),
        _verified(left_gallery, right_gallery, dataset.same),
        rule_applied=NEW_MODEL_RULE if new_model else QUERY_RULE,
        declared=may_search(of_query.space, of_query.searches, of_gallery.space),
        pairs=len(dataset.same),
        same=sum(dataset.same),
        query_name=of_query.name,
        gallery_name=of_gallery.name,
        flipped=flip,
    )


def mirrored(model: Model, *, keep_lengths: bool = False) -> Model:
    """The model whose vector of a picture is the sum of the picture's and its mirror image's.

    Args:
        model: As it is opened.
        keep_lengths: Add the network's outputs as they are, and leave the sum so; otherwise unit vectors are added, and
            the sum has unit length.

    Raises:
        ConfigError: Only vectors of the model are known, or only unit vectors where lengths are to be kept.
    """
    if model.stored is not None:
        raise ConfigError(
            f"only vectors of {model.name} are known, and none of mirror images; pass a model that embeds"
        )
    if keep_lengths and model.raw is None:
        raise ConfigError(
            f"{model.name} gives unit vectors alone, whose lengths say nothing; pass the RUN of the model"
        )
    output = model.embed if model.raw is None or not keep_lengths else model.raw

    def embed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        both = output(pixels) + output(np.ascontiguousarray(pixels[:, :, ::-1]))
        if keep_lengths:
            return both
        lengths = np.maximum(np.linalg.norm(both, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return np.asarray(both / lengths, np.float32)

    return dataclasses.replace(model, embed=embed)


def _verified(left: NDArray[np.float32], right: NDArray[np.float32], same: tuple[bool, ...]) -> Verified:
    rows = np.arange(len(same), dtype=np.int64)
    scores = pair_scores(left, right, np.stack([rows, rows], axis=1))
    return Verified(fold_accuracy(scores, same), tuple(tar_at_far(scores, same, FARS)))
