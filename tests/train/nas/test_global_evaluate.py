"""The scores of a global search's objectives, against computations by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import TrainingError
from compat_train.data.training_set import load_training_set
from compat_train.embed import embed_images
from compat_train.nas.global_nas.evaluate import accuracy, classification_accuracy, renamed
from compat_train.nas.global_nas.prepare import prepare
from compat_train.runs.checkpoint import Checkpoint
from tests.train.nas.test_global_run import tiny


def test_classification_accuracy_is_the_share_of_images_nearest_to_their_class(
    identities: Path, gallery_run: Path
) -> None:
    config, checkpoint = tiny(identities), Checkpoint.load(gallery_run)
    data = load_training_set(config.source, checkpoint.preprocessing)
    labels = [data.classes[label] for label in data.labels]
    embeddings = embed_images(checkpoint.build(), data.pixels, checkpoint.preprocessing, channels_last=True)
    assert checkpoint.classifier is not None
    rows = checkpoint.classifier.numpy()
    right = 0
    for embedding, label in zip(embeddings, labels, strict=True):
        cosines = [float(embedding @ row) / float(np.linalg.norm(row)) for row in rows]
        right += checkpoint.classes[int(np.argmax(cosines))] == label
    found = classification_accuracy(config, checkpoint, data.pixels, labels)
    assert found == right / 48
    # A class that the classifier lacks is never right.
    unknown = ["unknown", *labels[1:]]
    assert classification_accuracy(config, checkpoint, data.pixels[:1], unknown[:1]) == 0
    with pytest.raises(TrainingError, match="has no classifier"):
        classification_accuracy(config, replace(checkpoint, classifier=None), data.pixels, labels)


def test_retrieval_and_r3_are_top_1_of_the_candidates_and_the_gallery_models_embeddings(
    identities: Path, gallery_run: Path, tmp_path: Path
) -> None:
    config = tiny(identities, objective="r3", gallery=str(gallery_run), dim=None, preprocessing=None)
    images = prepare(config, tmp_path).images
    gallery = Checkpoint.load(gallery_run)
    # The candidate is the gallery model with mirrored first axes, so that the two disagree.
    turned = dict(gallery.state)
    last = next(name for name in reversed(turned) if turned[name].shape[:1] == (16,) and turned[name].dim() == 2)
    turned[last] = turned[last].clone()
    turned[last][:8] *= -1
    candidate = replace(gallery, state=turned)
    queries, own = (
        embed_images(candidate.build(), pixels, gallery.preprocessing, channels_last=True)
        for pixels in (images.queries, images.gallery)
    )
    across = embed_images(gallery.build(), images.gallery, gallery.preprocessing, channels_last=True)

    def first(side: object) -> float:
        best = (queries @ np.asarray(side).T).argmax(1)
        return float(
            np.mean([images.gallery_labels[row] == label for row, label in zip(best, images.query_labels, strict=True)])
        )

    assert first(own) != first(across)
    assert accuracy(config, candidate, images) == pytest.approx(first(own) * first(across))
    alone = replace(images, gallery_embeddings=None)
    retrieval = tiny(identities, objective="retrieval")
    assert accuracy(retrieval, candidate, alone) == pytest.approx(first(own))


def test_a_renamed_progress_keeps_its_figures() -> None:
    seen: list[object] = []
    call = renamed(lambda *arguments: seen.append(arguments), "new", {"width": 4.0})
    assert call is not None and renamed(None, "new") is None
    call("old", 1, 2, {"loss": 0.5})
    assert seen == [("new", 1, 2, {"loss": 0.5, "width": 4.0})]
