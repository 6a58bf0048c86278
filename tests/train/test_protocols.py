"""Evaluations where labels do not say what is right: listed matches and junk, and pairs; against naive loops."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from compat_cli.app import app
from compat_sdk.datasets import Dataset, Split, open_dataset
from compat_sdk.datasets.content import content_sha256
from compat_sdk.datasets.published.ijb import open_ijb
from compat_sdk.datasets.relevance import Relevance, ascending
from compat_sdk.errors import CheckFailedError, ConfigError, DataError
from compat_sdk.images import to_pixels
from compat_sdk.metrics import Metric, fold_accuracy, tar_at_far
from compat_train.evaluation.embedding_model import open_model
from compat_train.evaluation.evaluate import evaluate
from compat_train.evaluation.face_templates import FARS as TEMPLATE_FARS
from compat_train.evaluation.face_templates import evaluate_templates
from compat_train.evaluation.judged import judge
from compat_train.evaluation.splits import filled_split
from compat_train.evaluation.verification import FARS, mirrored, verify_pairs
from tests.sdk.published.layouts import ijb, market, put
from tests.train.test_evaluate import save_run

RANDOM = np.random.default_rng(3)
NET = "global:plain:16:s3c3s3"


def unit(count: int) -> np.ndarray:
    rows = RANDOM.normal(size=(count, 6)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def listed(*, trapezoid: bool = False) -> Dataset:
    """Three queries: two matches and junk; none; one match, and its own picture at row 9."""
    images = RANDOM.integers(0, 256, (13, 28, 28), np.uint8)
    query = Split("query", images[[10, 11, 9]], ("",) * 3, ("a", "b", "c"))
    gallery = Split("gallery", images[:10], ("",) * 10, tuple(map(str, range(10))))
    positives = tuple(map(ascending, ([2, 5], [], [1, 9])))
    ignored = tuple(map(ascending, ([0, 7], [3], [])))
    relevance = Relevance(positives, ignored, trapezoid)
    return Dataset("listed", {"query": query, "gallery": gallery}, relevance=relevance)


def naive(
    scores: np.ndarray, right: set[int], junk: set[int], *, trapezoid: bool, cut_off: int = 0
) -> tuple[int, float]:
    """First rank and average precision by walking down the ranking."""
    ranking = [row for row in np.argsort(-scores, kind="stable").tolist() if row not in junk]
    ranks = [place for place, row in enumerate(ranking, 1) if row in right]
    total = 0.0
    for found, rank in enumerate(ranks, 1):
        if cut_off and rank > cut_off:
            break
        before = 1.0 if rank == 1 else (found - 1) / (rank - 1)
        total += (before + found / rank) / 2 if trapezoid else found / rank
    return ranks[0], total / (min(len(right), cut_off) if cut_off else len(right))


@pytest.mark.parametrize("trapezoid", [False, True])
def test_listed_matches_are_ranked_without_junk_and_without_the_querys_own_picture(trapezoid: bool) -> None:
    dataset = listed(trapezoid=trapezoid)
    queries, gallery, own = unit(3), unit(10), np.array([-1, -1, 9])
    found = judge(Metric("map", 0), queries, gallery, dataset, memory_mib=64, exclude_self=own)
    expected = [
        naive(queries[0] @ gallery.T, {2, 5}, {0, 7}, trapezoid=trapezoid),
        naive(queries[2] @ gallery.T, {1}, {9}, trapezoid=trapezoid),
    ]
    assert found.ranked.first_rank.tolist() == [rank for rank, _ in expected] and found.ranked.skipped == 1
    assert found.values == pytest.approx([precision for _, precision in expected])
    at_3 = judge(Metric("map", 3), queries, gallery, dataset, memory_mib=64, exclude_self=own)
    cut = naive(queries[0] @ gallery.T, {2, 5}, {0, 7}, trapezoid=False, cut_off=3)
    assert at_3.values[0] == pytest.approx(cut[1])
    with pytest.raises(ConfigError, match=r"tpir@fpir=0\.1 needs identities"):
        judge(Metric("tpir", 0.1), queries, gallery, dataset, memory_mib=64, exclude_self=own)


@pytest.mark.parametrize("by_lists", [True, False])
def test_a_cut_off_is_judged_by_the_ranking_that_the_table_is_of(
    by_lists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = listed()
    if not by_lists:
        query, gallery_split = dataset.split("query"), dataset.split("gallery")
        named = {
            "query": dataclasses.replace(query, labels=("a", "b", "c")),
            "gallery": dataclasses.replace(gallery_split, labels=tuple("abcdeabcde")),
        }
        dataset = Dataset("labelled", named)
    calls: list[str] = []

    def count(module: str, name: str) -> None:
        kept = getattr(importlib.import_module(module), name)

        def counted(*values: object, **others: object) -> object:
            calls.append(name)
            return kept(*values, **others)

        monkeypatch.setattr(f"{module}.{name}", counted)

    count("compat_train.evaluation.judged", "score_listed")
    count("compat_train.evaluation.judged", "score_queries")
    count("compat_sdk.metrics.metric", "score_queries")
    queries, gallery, own = unit(3), unit(10), np.array([-1, -1, 9])
    cut = judge(Metric("map", 3), queries, gallery, dataset, memory_mib=64, exclude_self=own)
    assert calls == ["score_listed" if by_lists else "score_queries"]
    whole = judge(Metric("map", 0), queries, gallery, dataset, memory_mib=64, exclude_self=own)
    assert cut.ranked.average_precision.tolist() == whole.values.tolist() and len(cut.values) == len(whole.values)


def test_an_evaluation_follows_the_lists_and_its_digest_has_them(tmp_path: Path) -> None:
    dataset = listed()
    save_run(tmp_path / "model", 0, arch=NET, width=1.0)
    found = evaluate(dataset, tmp_path / "model", tmp_path / "model", metric=Metric("map", 100))
    assert (found.queries, found.skipped, found.own) == (2, 1, 1)
    others = dataclasses.replace(
        dataset, relevance=Relevance(tuple(map(ascending, ([3], [1], [2]))), (ascending([]),) * 3)
    )
    again = evaluate(others, tmp_path / "model", tmp_path / "model", metric=Metric("map", 100))
    assert (again.queries, again.query_query.accuracy) != (found.queries, found.query_query.accuracy)
    assert content_sha256(dataset, ("query", "gallery")) != content_sha256(others, ("query", "gallery"))


def test_a_match_of_the_same_camera_is_no_hit_by_the_command(tmp_path: Path) -> None:
    market(tmp_path / "market")
    same = tmp_path / "market" / "bounding_box_test" / "0001_c1s1_002301_00.jpg.jpg"
    same.write_bytes((tmp_path / "market" / "query" / "0001_c1s1_001051_00.jpg").read_bytes() + b"\0")
    save_run(tmp_path / "model", 0, arch=NET, width=1.0)
    model = str(tmp_path / "model")
    words = [
        "evaluate",
        "--data",
        "market-1501",
        "--root",
        str(tmp_path / "market"),
        "--query",
        model,
        "--gallery",
        model,
    ]
    told = CliRunner().invoke(app, [*words, "--json"])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    assert (facts["queries"], facts["skipped"], facts["gallery_size"]) == (1, 1, 4)
    refused = CliRunner().invoke(app, [*words, "--report", str(tmp_path / "page.html")])
    assert isinstance(refused.exception, ConfigError) and "lists what is right" in str(refused.exception)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twelve pairs, whose left pictures are not symmetric."""
    images = RANDOM.integers(0, 256, (24, 28, 28), np.uint8)
    images[1:12:2] = images[0:12:2] // 2
    splits = {
        name: Split(name, images[side::2], ("",) * 12, tuple(f"{name}{n}" for n in range(12)))
        for side, name in enumerate(("query", "gallery"))
    }
    return Dataset("pairs", splits, same=(True, False) * 6)


@pytest.mark.parametrize("flip", [False, True])
def test_pairs_are_verified_by_each_model_and_across(flip: bool, pairs: Dataset, tmp_path: Path) -> None:
    save_run(tmp_path / "gallery", 0, arch=NET, width=1.0)
    save_run(tmp_path / "query", 1, arch=NET, width=1.0, role="query")
    found = verify_pairs(pairs, tmp_path / "query", tmp_path / "gallery", flip=flip)
    models = {name: open_model(tmp_path / name) for name in ("query", "gallery")}

    def vector(model: str, side: str, row: int) -> np.ndarray:
        image = np.repeat(np.asarray(pairs.split(side).images)[row][None, :, :, None], 3, 3)
        total = models[model].embed(image)[0]
        if flip:
            total = total + models[model].embed(np.ascontiguousarray(image[:, :, ::-1]))[0]
        return total / np.linalg.norm(total)

    for cell in ("query_query", "query_gallery", "gallery_gallery"):
        left, right = cell.split("_")
        scores = [float(vector(left, "query", row) @ vector(right, "gallery", row)) for row in range(12)]
        same = list(pairs.same or ())
        verified = getattr(found, cell)
        assert verified.accuracy.mean == pytest.approx(fold_accuracy(scores, same).mean)
        assert [point.tar for point in verified.tar] == [point.tar for point in tar_at_far(scores, same, FARS)]
    assert (found.pairs, found.same, found.flipped) == (12, 6, flip)
    assert json.loads(json.dumps(found.to_json()))["pairs"] == 12 and "M(q,g)" in found.table()


def test_pairs_are_evaluated_by_the_command_and_refuse_what_has_no_meaning_there(tmp_path: Path) -> None:
    faces = []
    for row in range(24):
        buffer = io.BytesIO()
        Image.fromarray(RANDOM.integers(0, 256, (28, 28, 3), np.uint8)).save(buffer, "PNG")
        faces.append(buffer.getvalue() if row % 4 < 3 else faces[-1])
    put(tmp_path / "lfw.bin", pickle.dumps((faces, [True, False] * 6)))
    save_run(tmp_path / "model", 0, arch=NET, width=1.0)
    model = str(tmp_path / "model")
    words = ["evaluate", "--data", str(tmp_path / "lfw.bin"), "--query", model, "--gallery", model]
    told = CliRunner().invoke(app, [*words, "--json"])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    assert facts["pairs"] == 12 and facts["query_query"] == facts["gallery_gallery"] and not facts["compatible"]
    assert isinstance(CliRunner().invoke(app, [*words, "--require-compatible"]).exception, CheckFailedError)
    for option in (["--certify"], ["--metric", "top-5"], ["--report", str(tmp_path / "page.html")]):
        refused = CliRunner().invoke(app, [*words, *option])
        assert isinstance(refused.exception, ConfigError) and "has pairs" in str(refused.exception)
    with pytest.raises(DataError, match="has pairs and no identities"):
        filled_split(open_dataset(tmp_path / "lfw.bin"), "query")


def test_a_set_without_pairs_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no pairs"):
        verify_pairs(listed(), tmp_path, tmp_path)


@pytest.mark.parametrize("keep_lengths", [False, True])
def test_templates_are_pooled_compared_and_searched_across_models(tmp_path: Path, keep_lengths: bool) -> None:
    faces = open_ijb(ijb(tmp_path / "ijb"), "ijbc")
    save_run(tmp_path / "gallery", 0, arch=NET, width=1.0)
    save_run(tmp_path / "query", 1, arch=NET, width=1.0, role="query")
    found = evaluate_templates(faces, tmp_path / "query", tmp_path / "gallery", keep_lengths=keep_lengths)
    models = {name: open_model(tmp_path / name) for name in ("query", "gallery")}
    lengths: list[float] = []

    def template(model: str, number: int) -> np.ndarray:
        media: dict[int, list[np.ndarray]] = {}
        embed = models[model].raw if keep_lengths else models[model].embed
        assert embed is not None
        for row in np.flatnonzero(faces.templates == number).tolist():
            image = to_pixels(faces.images.images[row], models[model].preprocessing)[None]
            both = embed(image)[0] + embed(np.ascontiguousarray(image[:, :, ::-1]))[0]
            lengths.append(float(np.linalg.norm(both)))
            one = both if keep_lengths else both / np.linalg.norm(both)
            media.setdefault(int(faces.media[row]), []).append(one * faces.quality[row])
        total = np.sum([np.mean(frames, axis=0) for frames in media.values()], axis=0)
        return total / np.linalg.norm(total)

    for cell in ("query_query", "query_gallery", "gallery_gallery"):
        left, right = cell.split("_")
        scores = [float(template(left, a) @ template(right, b)) for a, b in faces.pairs.tolist()]
        assert [point.tar for point in found[cell].tar] == [
            point.tar for point in tar_at_far(scores, faces.same, TEMPLATE_FARS)
        ]
        rates = []
        for gallery in faces.galleries:
            person, row = int(gallery.people[0]), template(right, int(gallery.templates[0]))
            asked = zip(faces.probes.templates.tolist(), faces.probes.people.tolist(), strict=True)
            probes = [(person_of, float(template(left, number) @ row)) for number, person_of in asked]
            threshold = max(score for p, score in probes if p != person)
            rates.append(np.mean([score > threshold for p, score in probes if p == person]))
        assert found[cell].tpir == (np.mean(rates),) * 2
    assert max(lengths) > 1.1 * min(lengths) or not keep_lengths  # else both poolings are one
    with pytest.raises(ConfigError, match="gives unit vectors alone"):
        mirrored(dataclasses.replace(models["query"], raw=None), keep_lengths=True)
