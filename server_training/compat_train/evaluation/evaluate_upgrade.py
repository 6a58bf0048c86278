"""Accuracy of an upgraded gallery beside the old system, and beside embedding the gallery again.

Written query model, then gallery model: M(new, h) is the accuracy when the new model embeds the queries and the
gallery is the old one, transformed. An upgrade is worth its while when M(new, h) > M(old, old); M(new, new) is what
embedding every image again would give, and M(h, h) what the transformed old model is worth as a model of its own.

Source: Ramanujan et al., Forward Compatible Training, CVPR 2022, https://arxiv.org/abs/2112.02805, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from compat_sdk.bundle import Bundle, Trust
from compat_sdk.datasets import Dataset, own_rows
from compat_sdk.errors import ConfigError, IncompatibleSpaceError
from compat_sdk.kinds import is_bundle
from compat_sdk.metrics import Metric, PerQuery, RetrievalScores, paired_difference, upgrade_gain
from compat_sdk.progress import Progress
from compat_sdk.shown import escaped
from compat_sdk.space import Embeddings
from compat_train.device import torch_threads
from compat_train.evaluation.cka import linear_cka
from compat_train.evaluation.embedding_model import Model, open_model
from compat_train.evaluation.judged import judge
from compat_train.evaluation.result import SHOWN, overlap_lines, percent
from compat_train.evaluation.splits import embed_split, filled_split
from compat_train.evaluation.transform_model import TransformModel, open_transform
from compat_train.runs.run_files import RECORD, read_role

_NAMES = {
    "old_old": "M(old,old)",
    "new_old": "M(new,old)",
    "new_transformed": "M(new,h)",
    "transformed_transformed": "M(h,h)",
    "new_new": "M(new,new)",
}


@dataclass(frozen=True, eq=False)
class UpgradeEvaluation:
    """What an upgrade of a gallery gives.

    Attributes:
        scores: Accuracy under ``old_old``, ``new_transformed``, ``transformed_transformed``, ``new_new``, and, where
            both models have as many dimensions, ``new_old``: the old gallery as it is, chance for a new model that
            was trained independently.
        gain: Difference M(new, h) - M(old, old) in the accuracy that was asked for, and its 95 % paired bootstrap
            interval, as fractions.
        cosine: Mean cosine, over the gallery, between the transformed embedding and the new model's, in [-1, 1].
        cka: Linear CKA over the gallery of ``old_new``, ``transformed_new`` and, where side-information is embedded
            from images, ``side_old``.
        queries: Queries scored.
        gallery_size: Images in the gallery.
        own: Queries whose own picture stands in the gallery; it is left out of their rankings.
        copies: Queries of which the gallery holds further copies. Those count, and are easily found.
        names: Names of the old model, the new model and the transforms in order.
        per_query: Rank and average precision of each scored query, under the keys of ``scores``.
    """

    scores: Mapping[str, RetrievalScores]
    gain: tuple[float, float, float]
    cosine: float
    cka: Mapping[str, float]
    queries: int
    gallery_size: int
    own: int
    copies: int
    names: tuple[str, ...]
    per_query: Mapping[str, PerQuery] = field(repr=False)

    @property
    def worthwhile(self) -> bool:
        """Whether M(new, h) > M(old, old) in the accuracy asked for. Whether by more than chance, ``gain`` says."""
        return self.scores["new_transformed"].accuracy > self.scores["old_old"].accuracy

    @property
    def upgrade_gain(self) -> float | None:
        """Relative gain in it, see `compat_sdk.metrics.scores.upgrade_gain`; None where M(old, old) is 0."""
        before = self.scores["old_old"].accuracy
        return upgrade_gain(self.scores["new_transformed"].accuracy, before) if before else None

    def to_json(self) -> dict[str, object]:
        """JSON values; accuracies are fractions in [0, 1]."""
        return {
            **{pair: found.to_json() for pair, found in self.scores.items()},
            "worthwhile": self.worthwhile,
            "gain": dict(zip(("difference", "lo", "hi"), self.gain, strict=True)),
            "upgrade_gain": self.upgrade_gain,
            "cosine": self.cosine,
            "cka": dict(self.cka),
            "queries": self.queries,
            "gallery_size": self.gallery_size,
            "own_images_left_out": self.own,
            "queries_with_copies": self.copies,
            "old_model": self.names[0],
            "new_model": self.names[1],
            "transforms": list(self.names[2:]),
        }

    def table(self) -> str:
        """Plain text: percentages with 95 % intervals, the gain and the alignment."""
        metric = self.scores["old_old"].metric
        added = str(metric) not in SHOWN
        head = f"{'percent':12}{'top-1 [95 %]':22}{'top-5':>8}{'top-10':>8}{'mAP':>8}"
        lines = [head + (f"{f'{metric} [95 %]':>26}" if added else "")]
        for pair, name in _NAMES.items():
            if (found := self.scores.get(pair)) is not None:
                interval = percent(found.cmc[1], found.ci95["1"])
                rest = "".join(f"{100 * value:8.1f}" for value in (found.cmc[5], found.cmc[10], found.map))
                asked = percent(found.accuracy, found.interval)
                lines.append(f"{name:12}{interval:22}{rest}" + (f"{asked:>26}" if added else ""))
        difference, low, high = (100 * value for value in self.gain)
        points = "points" if metric == Metric() else f"points of {metric}"
        lines.append(f"M(new,h) - M(old,old): {difference:+.1f} {points}, 95 % interval [{low:+.1f}, {high:+.1f}]")
        alignment = ", ".join(f"{name.replace('_', ' and ')} {value:.3f}" for name, value in self.cka.items())
        lines.append(f"mean cosine of transformed and new embeddings {self.cosine:.3f}; linear CKA: {alignment}")
        lines.append(
            escaped(
                f"{self.queries} queries, gallery of {self.gallery_size} images; old model {self.names[0]}, new model "
                f"{self.names[1]}, transforms {', '.join(self.names[2:])}"
            )
        )
        return "\n".join([*lines, *overlap_lines(self.own, self.copies)])


def evaluate_upgrade(
    dataset: Dataset,
    old: str | Path,
    new: str | Path,
    transforms: Sequence[str | Path],
    sides: Sequence[str | Path] = (),
    *,
    memory_mib: float = 256,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
    trust: Trust | None = None,
    metric: Metric | None = None,
) -> UpgradeEvaluation:
    """Accuracy of a gallery that was embedded by the old model and transformed, searched by the new one.

    Args:
        dataset: With the splits ``query`` and ``gallery``.
        old: RUN or BUNDLE of the old model.
        new: RUN or BUNDLE of the new model.
        transforms: RUN or BUNDLE of each transform, in the order in which they are applied: one, or several for a
            gallery that went through versions in between.
        sides: Source of each transform's side-information, for those transforms that take one, in their order: an
            encoder of images, or, from the second on, a transform g that carries on the side-information before it.
        memory_mib: Bound on decoded images and on scores held at a time, in MiB.
        device: Where a RUN is evaluated: auto, cpu or cuda. A BUNDLE runs on its engine.
        threads: CPU threads for decoding and inference; None takes one per core.
        progress: Called with a stage, how much of it is done, its total, and figures.
        trust: Whose signature every model must have; None for no matter whose.
        metric: The accuracy that before and after are compared by; top-1 if not given.

    Raises:
        DataError: A split is missing or empty, an image cannot be read, or no query has a match in the gallery.
        BundleError: A bundle is damaged, or not signed as is asked for.
        ConfigError: There is no transform, or too few or too many ``sides``.
        IncompatibleSpaceError: A transform was trained for another model than the one before it.
    """
    if not transforms:
        raise ConfigError("there is no transform to evaluate; pass the RUN of `compat-sdk train upgrade`")
    splits = {name: filled_split(dataset, name) for name in ("query", "gallery")}
    own, copies = own_rows(splits["query"], splits["gallery"])
    steps = [open_transform(path, device=device, threads=threads, trust=trust) for path in transforms]
    takes = [step for step in steps if step.spaces.side_space is not None]
    if len(takes) != len(sides):
        raise ConfigError(
            f"{len(takes)} of the transforms take side-information, but {len(sides)} sources of it are given; pass "
            f"one for each, in their order"
        )
    sources = [_source(path, device, threads, trust) for path in sides]
    models = [open_model(path, device=device, threads=threads, trust=trust) for path in (old, new)]
    if steps[-1].spaces.space != models[1].space:
        raise IncompatibleSpaceError(
            models[1].space,
            (),
            steps[-1].spaces.space,
            f"the last transform gives space {steps[-1].spaces.space}, but the new model {models[1].name} writes in "
            f"{models[1].space}; pass the model that the transform was trained for",
        )
    encoders = [source for source in sources if isinstance(source, Model)]
    found: dict[str, list[Embeddings]] = {"old": [], "new": [], "transformed": []}
    side: Embeddings | None = None
    with torch_threads(threads):
        for split in splits.values():
            of_old, of_new, *of_images = embed_split(
                [*models, *encoders], split, memory_mib=memory_mib, threads=threads, progress=progress
            )
            side = of_images[0] if of_images else None
            found["old"].append(of_old)
            found["new"].append(of_new)
            found["transformed"].append(_compose(steps, sources, of_old, of_images))
    judged = {}
    for pair in _NAMES:
        queries, gallery = (found[name] for name in pair.split("_"))
        if queries[0].dim == gallery[1].dim:
            judged[pair] = judge(
                metric or Metric(),
                queries[0].vectors,
                gallery[1].vectors,
                dataset,
                memory_mib=memory_mib,
                exclude_self=own,
            )
    gallery_old, gallery_new, upgraded = (found[name][1].vectors for name in ("old", "new", "transformed"))
    cka = {"old_new": linear_cka(gallery_old, gallery_new), "transformed_new": linear_cka(upgraded, gallery_new)}
    if side is not None:
        cka["side_old"] = linear_cka(side.vectors, gallery_old)
    return UpgradeEvaluation(
        scores={pair: found.scores for pair, found in judged.items()},
        gain=paired_difference(judged["new_transformed"].values, judged["old_old"].values),
        cosine=float(np.einsum("ij,ij->i", upgraded, gallery_new).mean()),
        cka=cka,
        queries=len(judged["old_old"].ranked),
        gallery_size=judged["old_old"].ranked.gallery_size,
        own=int((own >= 0).sum()),
        copies=copies,
        names=(models[0].name, models[1].name, *(step.name for step in steps)),
        per_query={pair: found.ranked for pair, found in judged.items()},
    )


def _compose(
    transforms: Sequence[TransformModel],
    sources: Sequence[Model | TransformModel],
    old: Embeddings,
    of_images: Sequence[Embeddings],
) -> Embeddings:
    """Embeddings after several transforms in turn: h2(h1(old, side), side'), and so on.

    Side-information of a later transform is either embedded from the images anew, or carried over from the one
    before by a transform g of the same inputs, as a gallery without its images must.

    Source: Ramanujan et al., Forward Compatible Training, CVPR 2022, https://arxiv.org/abs/2112.02805, section 4.4.

    Args:
        transforms: The h of each version.
        sources: For each of them that takes side-information, the encoder or g that it comes from.
        old: Old embeddings.
        of_images: Side-information by each encoder among ``sources``, in their order.

    Raises:
        ConfigError: The first source is a g, which has nothing before it to carry over, or two neighbours do not fit
            together.
    """
    embedded, coming = iter(of_images), iter(sources)
    before: tuple[Embeddings, Embeddings | None] | None = None
    side: Embeddings | None = None
    for transform in transforms:
        if transform.spaces.side_space is None:
            side = None
        else:
            source = next(coming)
            if isinstance(source, Model):
                side = next(embedded)
            elif before is None:
                raise ConfigError(
                    f"{source.name} carries side-information over from a version before, but the first transform has "
                    f"none before it; pass a side-information encoder first"
                )
            else:
                side = source.of(*before)
        before = (old, side)
        old = transform.of(old, side)
    return old


def _source(path: str | Path, device: str, threads: int | None, trust: Trust | None) -> Model | TransformModel:
    role: str | None = None
    if (Path(path) / RECORD).is_file():
        role = read_role(path)
    elif is_bundle(path):
        role = Bundle.open(path, trust=trust).manifest.role
    if role == "transform":
        return open_transform(path, device=device, threads=threads, trust=trust)
    return open_model(path, device=device, threads=threads, trust=trust)
