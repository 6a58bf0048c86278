"""Verification, identification and templates against loops from their definitions, and the traps of public code."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compat_sdk.errors import ConfigError, DataError, VectorError
from compat_sdk.metrics import (
    best_scores,
    fold_accuracy,
    identify,
    merged_tpir_at_fpir,
    pair_scores,
    pool_templates,
    split_galleries,
    tar_at_far,
    tpir_at_fpir,
)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def faces(seed, probes=60, gallery=25, dim=8, people=30):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((people, dim))
    sides = []
    for count, known in ((probes, people), (gallery, people - 10)):  # ten people are not in the gallery
        who = random.integers(0, known, count)
        sides += [unit(centres[who] + 0.7 * random.standard_normal((count, dim))), [f"person-{one}" for one in who]]
    return sides


def naive_best(probes, names, gallery, labels, own=None):
    mate, other = [], []
    for number, (probe, name) in enumerate(zip(probes, names, strict=True)):
        best = {True: -math.inf, False: -math.inf}
        for row, (image, label) in enumerate(zip(gallery, labels, strict=True)):
            if own is None or own[number] != row:
                score = float(probe.astype(np.float64) @ image.astype(np.float64))
                best[name == label] = max(best[name == label], score)
        mate.append(best[True])
        other.append(best[False])
    return mate, other


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("memory_mib", [0.05, 256])
def test_best_scores_are_those_of_a_loop(memory_mib, excluded):
    case = faces(3)
    own = np.random.default_rng(0).integers(-1, 25, 60) if excluded else None
    found = best_scores(*case, memory_mib=memory_mib, exclude_self=own)
    mate, other = naive_best(*case, own)
    np.testing.assert_allclose(found.mate, mate, atol=1e-7)
    np.testing.assert_allclose(found.other, other, atol=1e-7)


@pytest.mark.parametrize("fpir", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_tpir_is_that_of_the_definition(seed, fpir):
    case = faces(seed)
    found = best_scores(*case)
    mate, other = naive_best(*case)
    strangers = sorted((o for m, o in zip(mate, other, strict=True) if m == -math.inf), reverse=True)
    allowed = int(fpir * len(strangers) + 1e-9)
    threshold = strangers[allowed]
    mated = [(m, o) for m, o in zip(mate, other, strict=True) if m > -math.inf]
    expected = sum(m > threshold + 1e-9 and m > o for m, o in mated) / len(mated)
    assert identify(found, fpir).tpir == expected
    assert identify(found, fpir).fpir <= fpir + 1e-12


def test_identification_by_hand():
    """Four probes: found; found but second; below the threshold; a stranger, whose score is the threshold."""
    gallery = np.eye(4, dtype=np.float32)
    probes = unit(np.array([[9, 1, 0, 0], [5, 6, 0, 0], [0, 0, 1, 0.95], [0, 0, 3, 4]], np.float32))
    found = identify(best_scores(probes, ["a", "a", "c", "z"], gallery, ["a", "b", "c", "d"]), 0.0)
    assert found.threshold == pytest.approx(0.8)
    assert found.hits.tolist() == [1.0, 0.0, 0.0]
    assert (found.non_mated, found.fpir) == (1, 0.0)


def test_a_mate_that_only_ties_with_another_identity_is_no_hit():
    probe = unit(np.array([[1, 1, 0], [0, 0.1, 1]], np.float32))
    gallery = np.eye(3, dtype=np.float32)[:2]
    assert identify(best_scores(probe, ["a", "z"], gallery, ["a", "b"]), 0.0).tpir == 0.0


def test_separate_galleries_and_the_merged_rule_give_different_figures():
    probes, names, gallery, labels = faces(5, probes=200, gallery=60)
    parts = split_galleries(labels)
    separate = [best_scores(probes, names, gallery[rows], [labels[row] for row in rows]) for rows in parts]
    both = tpir_at_fpir(separate, 0.1)
    assert both == np.mean([identify(one, 0.1).tpir for one in separate])
    merged = merged_tpir_at_fpir(probes, names, gallery, labels, 0.1)
    assert merged != both
    scores = probes.astype(np.float64) @ gallery.T.astype(np.float64)
    same = np.array(names)[:, None] == np.array(labels)
    threshold = np.sort(scores[~same])[::-1][math.ceil(0.1 * 200) - 1]
    assert merged == np.mean(np.where(same, scores, -9).max(1) > threshold + 1e-9)
    assert merged == merged_tpir_at_fpir(probes, names, gallery, labels, 0.1, memory_mib=0.2)


def test_split_galleries_keep_an_identity_together_and_depend_on_names_alone():
    labels = ["b", "a", "c", "a", "b", "d"]
    parts = split_galleries(labels)
    assert [[labels[row] for row in rows] for rows in parts] == [["a", "c", "a"], ["b", "b", "d"]]
    turned = split_galleries(labels[::-1])
    assert [sorted(labels[::-1][row] for row in rows) for rows in turned] == [["a", "a", "c"], ["b", "b", "d"]]
    with pytest.raises(ConfigError, match="1 identities"):
        split_galleries(["a", "a"])


def test_identification_without_strangers_says_what_to_do():
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(DataError, match="split the gallery by identity"):
        identify(best_scores(vectors, list("abc"), vectors, list("abc")), 0.1)
    with pytest.raises(ConfigError, match="at least 0 and below 1"):
        identify(best_scores(vectors, list("abz"), vectors, list("abc")), 1.0)
    with pytest.raises(DataError, match="0 gallery images"):
        best_scores(vectors, list("abc"), vectors[:0], [])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_tar_is_that_of_a_loop_over_all_thresholds(seed, ties):
    random = np.random.default_rng(seed)
    same = random.random(300) < 0.3
    scores = random.standard_normal(300) + same
    if ties:
        scores = np.round(scores)
    points = [(0.0, 0.0, math.inf)] + [
        (float((scores[~same] >= level).mean()), float((scores[same] >= level).mean()), level) for level in set(scores)
    ]
    for far in (0.0, 0.001, 0.01, 0.1, 0.5, 1.0):
        nearest = min(points, key=lambda point: (abs(point[0] - far), -point[0], -point[1]))
        lawful = max((point for point in points if point[0] <= far), key=lambda point: (point[1], point[0]))
        [found] = tar_at_far(scores, same, [far])
        assert found.far == pytest.approx(nearest[0])
        assert abs(found.far - far) == pytest.approx(min(abs(point[0] - far) for point in points))
        [strict] = tar_at_far(scores, same, [far], choose="at most")
        assert (strict.tar, strict.far <= far) == (pytest.approx(lawful[1]), True)


def test_tar_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    same = random.random(2000) < 0.2
    scores = np.round(random.standard_normal(2000) + same, 2)
    far, tar, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
    for wanted in (1e-3, 1e-2, 1e-1):
        place = len(far) - 1 - int(np.argmin(np.abs(far - wanted)[::-1]))
        [found] = tar_at_far(scores, same, [wanted])
        assert (found.far, found.tar) == (pytest.approx(far[place]), pytest.approx(tar[place]))


def test_the_nearest_rate_may_exceed_what_was_asked_for_and_the_lawful_one_does_not():
    scores, same = [0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, False, False]
    [nearest] = tar_at_far(scores, same, [0.3])
    assert (nearest.tar, nearest.far, nearest.threshold) == (1.0, pytest.approx(1 / 3), 0.7)
    [lawful] = tar_at_far(scores, same, [0.3], choose="at most")
    assert (lawful.tar, lawful.far, lawful.threshold) == (0.5, 0.0, 0.9)


def test_pair_scores_of_two_models_are_cosines_and_do_not_depend_on_the_block():
    random = np.random.default_rng(0)
    new, old = unit(random.standard_normal((20, 16))), unit(random.standard_normal((30, 16)))
    pairs = np.stack([random.integers(0, 20, 100), random.integers(0, 30, 100)], axis=1)
    found = pair_scores(new, old, pairs)
    np.testing.assert_allclose(found, [float(new[a] @ old[b]) for a, b in pairs], atol=1e-6)
    assert found.tobytes() == pair_scores(new, old, pairs, block=7).tobytes()
    with pytest.raises(DataError, match="right row outside 0 to 29"):
        pair_scores(new, old, [[0, 30]])
    with pytest.raises(DataError, match="left row"):
        pair_scores(new, old, [[-1, 0]])


def naive_folds(scores, same, folds):
    from itertools import pairwise

    size, more = divmod(len(same), folds)
    bounds = np.cumsum([0] + [size + (fold < more) for fold in range(folds)])
    accuracies = []
    for start, end in pairwise(bounds):
        rest = [row for row in range(len(same)) if not start <= row < end]
        best, chosen = -1.0, 0.0
        for threshold in np.arange(0, 4, 0.01):
            right = np.mean([(2 - 2 * scores[row] < threshold) == same[row] for row in rest])
            if right > best:
                best, chosen = right, threshold
        accuracies.append(np.mean([(2 - 2 * scores[row] < chosen) == same[row] for row in range(start, end)]))
    return accuracies


def test_fold_accuracy_is_that_of_a_loop():
    random = np.random.default_rng(2)
    same = random.random(43) < 0.5
    scores = np.clip(0.3 * random.standard_normal(43) + 0.5 * same, -1, 1)
    found = fold_accuracy(scores, same, folds=10)
    np.testing.assert_allclose(found.folds, naive_folds(scores, same, 10))
    assert (found.mean, found.std) == (pytest.approx(np.mean(found.folds)), pytest.approx(np.std(found.folds)))


@pytest.mark.parametrize(
    ("scores", "same", "match"),
    [
        ([0.1, 0.2], [True], "one score"),
        ([0.1, np.nan], [True, False], "1 scores are not finite"),
        ([0.1, 0.2], [True, True], "2 of 2 pairs"),
        ([0.1, 0.2], ["yes", "no"], "one score"),
    ],
)
def test_pairs_without_an_answer_are_refused(scores, same, match):
    with pytest.raises(DataError, match=match):
        tar_at_far(scores, same, [0.1])
    with pytest.raises(DataError, match=match):
        fold_accuracy(scores, same, 2)


def naive_template(features, medium, quality):
    total = np.zeros(features.shape[1])
    for one in sorted(set(medium.tolist())):
        frames = [quality[row] * features[row].astype(np.float64) for row in np.flatnonzero(medium == one)]
        total += np.mean(frames, axis=0)
    return total / np.linalg.norm(total)


@pytest.mark.parametrize("block", [1, 64 * 2**20])
def test_templates_average_frames_and_sum_media(monkeypatch, block):
    monkeypatch.setattr("compat_sdk.metrics.templates._BLOCK_BYTES", block)
    random = np.random.default_rng(4)
    features = (3 * random.standard_normal((80, 6))).astype(np.float32)
    flipped = random.standard_normal((80, 6)).astype(np.float32)
    template, medium = random.integers(0, 12, 80) * 7, random.integers(0, 5, 80)
    quality = random.random(80)
    numbers, found = pool_templates(features, template, medium, flipped=flipped, quality=quality)
    assert numbers.tolist() == sorted(set(template.tolist()))
    for number, vector in zip(numbers, found, strict=True):
        rows = np.flatnonzero(template == number)
        expected = naive_template((features.astype(np.float64) + flipped)[rows], medium[rows], quality[rows])
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_the_length_of_a_feature_counts_in_its_template():
    features = np.array([[10, 0], [0, 1]], np.float32)
    _, [kept] = pool_templates(features, [1, 1], [1, 2])
    _, [normalised] = pool_templates(unit(features), [1, 1], [1, 2])
    assert kept[0] > 0.99
    assert normalised.tolist() == pytest.approx([2**-0.5, 2**-0.5])


def test_what_is_no_template_is_refused():
    ones = np.ones((2, 3), np.float32)
    with pytest.raises(VectorError, match="template 5 sums to zero"):
        pool_templates(np.array([[1, 0, 0], [-1, 0, 0]], np.float32), [5, 5], [1, 2])
    with pytest.raises(VectorError, match="not finite"):
        pool_templates(np.full((2, 3), np.nan, np.float32), [1, 1], [1, 1])
    with pytest.raises(VectorError, match="flipped ones in the same shape"):
        pool_templates(ones, [1, 1], [1, 1], flipped=np.ones((2, 2), np.float32))
    with pytest.raises(DataError, match="templates must be 2 whole numbers"):
        pool_templates(ones, [1.5, 2], [1, 1])
    with pytest.raises(DataError, match="quality must be 2"):
        pool_templates(ones, [1, 2], [1, 1], quality=[1.0, -1.0])
    with pytest.raises(DataError, match="no images"):
        pool_templates(np.zeros((0, 3), np.float32), [], [])
