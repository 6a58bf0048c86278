"""Embedding with a network, and the three accuracies of a pair of models."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from compat_sdk.datasets import Dataset, Split, open_dataset
from compat_sdk.errors import ConfigError, CorruptFileError, DataError, ImageError, VectorError
from compat_sdk.images import Preprocessing, to_input
from compat_sdk.metrics import Metric, score_queries, summarise
from compat_train.config.parts import Classification
from compat_train.embed import embed_images, input_tensor
from compat_train.evaluation.embedding_model import open_model
from compat_train.evaluation.evaluate import evaluate
from compat_train.evaluation.splits import embed_split
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.space_name import identity_of

SIZE = 28


def save_run(path, seed, *, dim=16, arch="resnet18", width=0.125, searches=(), role="gallery", preprocessing=None):
    torch.manual_seed(seed)
    model = build_model(arch, dim=dim, width=width, stem_stride=1)
    state = model.state_dict()
    taken = preprocessing or Preprocessing(SIZE)
    identity = identity_of(state, arch=arch, dim=dim, width=width, stem_stride=1, preprocessing=taken)
    checkpoint = Checkpoint(
        path=path,
        role=role,
        arch=arch,
        dim=dim,
        width=width,
        stem_stride=1,
        preprocessing=taken,
        space=identity.space,
        searches=searches,
        classes=(),
        method="vanilla",
        classification=Classification(),
        license="",
        config={},
        state=state,
        classifier=None,
    )
    path.mkdir()
    checkpoint.save()
    return checkpoint


@pytest.fixture(scope="module")
def few():
    """The sample's first 60 queries and 120 gallery images."""
    sample = open_dataset("sample")
    return Dataset(
        "few", {name: first(sample.splits[name], count) for name, count in (("query", 60), ("gallery", 120))}
    )


def first(split, count):
    return dataclasses.replace(split, images=split.images[:count], labels=split.labels[:count], ids=split.ids[:count])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    gallery = save_run(folder / "large", 1)
    save_run(folder / "small", 2, arch="global:plain:16:s3c3s3", width=1.0, role="query", searches=(gallery.space,))
    return folder


@pytest.fixture(scope="module")
def evaluation(few, runs):
    return evaluate(few, runs / "small", runs / "large")


def ranked(queries, gallery, dataset, **settings):
    labels = [dataset.splits[name].labels for name in ("query", "gallery")]
    return score_queries(queries.vectors, labels[0], gallery.vectors, labels[1], **settings)


def test_embeddings_of_a_split_are_those_of_its_decoded_images(few, runs):
    for name, split in few.splits.items():
        images = np.asarray(split.images)
        pixels = np.repeat(images[..., None], 3, axis=3) if images.ndim == 3 else images
        for run in (runs / "small", runs / "large"):
            checkpoint = Checkpoint.load(run)
            expected = embed_images(checkpoint.build(), pixels, checkpoint.preprocessing)
            (found,) = embed_split([open_model(run)], split)
            np.testing.assert_allclose(found.vectors, expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("memory_mib", [0.1, 1, 256])
def test_the_three_accuracies_are_those_of_the_pairs_of_embeddings(memory_mib, few, runs):
    found = evaluate(few, runs / "small", runs / "large", memory_mib=memory_mib)
    models = [open_model(runs / "small"), open_model(runs / "large")]
    small, large = zip(
        *(embed_split(models, few.splits[name], memory_mib=memory_mib) for name in ("query", "gallery")), strict=True
    )
    for pair, (queries, _), (_, gallery) in (
        ("query_query", small, small),
        ("query_gallery", small, large),
        ("gallery_gallery", large, large),
    ):
        expected = ranked(queries, gallery, few, memory_mib=memory_mib)
        assert getattr(found, pair) == summarise(expected)
        np.testing.assert_array_equal(found.per_query[pair].average_precision, expected.average_precision)


@pytest.mark.parametrize("across", [0.4, 0.5, 0.6])
def test_the_rule_is_that_the_heterogeneous_system_finds_more_than_the_query_model_alone(across, evaluation):
    assert evaluation.rule[0] == pytest.approx(evaluation.query_gallery.cmc[1] - evaluation.query_query.cmc[1])
    assert evaluation.rule[1] <= evaluation.rule[0] <= evaluation.rule[2]
    own, pair = (
        dataclasses.replace(scores, accuracy=top)
        for scores, top in ((evaluation.query_query, 0.5), (evaluation.query_gallery, across))
    )
    found = dataclasses.replace(evaluation, query_query=own, query_gallery=pair)
    assert found.compatible == found.to_json()["compatible"] == (across > 0.5)
    assert ("holds" if across > 0.5 else "does not hold") in found.table().splitlines()[4]


def test_the_json_has_what_checks_read(evaluation, runs):
    found = evaluation.to_json()
    for pair in ("query_query", "query_gallery", "gallery_gallery"):
        assert set(found[pair]) == {"cmc", "map", "ci95", "accuracy"}
        assert set(found[pair]["cmc"]) == {"1", "5", "10"}
        assert 0 <= found[pair]["ci95"]["1"][0] <= found[pair]["cmc"]["1"] <= found[pair]["ci95"]["1"][1] <= 1
    assert set(found["rule"]) == {"difference", "lo", "hi"}
    assert (found["compatible"], found["declared"]) == (evaluation.compatible, True)
    assert (found["queries"], found["gallery_size"], found["skipped"]) == (60, 120, 0)
    costs = [count_cost(Checkpoint.load(runs / name).build(), SIZE).mmacs for name in ("small", "large")]
    assert [found["query_mmacs"], found["gallery_mmacs"]] == pytest.approx(costs)
    assert costs[0] != costs[1]
    curve, ratio = found["amortised_mmacs"], found["amortised_mmacs"]["ratios"][0]
    assert curve["heterogeneous"][0] == pytest.approx((costs[1] + ratio * costs[0]) / (1 + ratio))


def test_the_table_reads_in_percent(evaluation):
    lines = evaluation.table().splitlines()
    assert [line[:6] for line in lines[1:4]] == ["M(q,q)", "M(q,g)", "M(g,g)"]
    assert "60 queries (0 more" in lines[5]
    assert len(lines) == 7


@pytest.mark.parametrize("name", ["top-5", "map@3", "tpir@fpir=0.1"])
def test_the_rule_compares_the_accuracy_that_was_asked_for(few, runs, evaluation, name):
    metric = Metric.parse(name)
    found = evaluate(few, runs / "small", runs / "large", metric=metric)
    of_small, of_large = (
        [embed_split([open_model(runs / run)], few.splits[split])[0] for split in ("query", "gallery")]
        for run in ("small", "large")
    )
    labels = [few.splits[split].labels for split in ("query", "gallery")]
    own, across = (
        metric.values(of_small[0].vectors, labels[0], gallery.vectors, labels[1])
        for gallery in (of_small[1], of_large[1])
    )
    assert found.query_query.accuracy == pytest.approx(own.mean())
    assert found.rule[0] == pytest.approx(across.mean() - own.mean())
    assert found.compatible == (across.mean() > own.mean())
    assert found.query_query.cmc == evaluation.query_query.cmc
    told = found.to_json()
    assert told["metric"] == told["query_gallery"]["accuracy"]["metric"] == name
    assert name in found.rule_text and f"points of {name}" in found.table()
    assert (f"{name} [95 %]" in found.table().splitlines()[0]) == (name != "top-5")


def test_per_query_results_pair_up_across_systems(evaluation):
    rows = [found.rows.tolist() for found in evaluation.per_query.values()]
    assert rows == [list(range(60))] * 3


def test_a_model_against_itself_has_three_equal_accuracies(few, runs):
    found = evaluate(few, runs / "large", runs / "large")
    assert found.query_query == found.query_gallery == found.gallery_gallery
    assert (found.compatible, found.declared, found.rule) == (False, True, (0.0, 0.0, 0.0))


def test_an_undeclared_pair_is_measured_but_marked(few, runs):
    found = evaluate(few, runs / "large", runs / "small")
    assert not found.to_json()["declared"]
    assert "a search would be refused" in found.table()


@pytest.mark.parametrize("memory_mib", [0.1, 1])
def test_the_budget_changes_rounding_at_most(memory_mib, few, runs):
    model = open_model(runs / "small")
    (whole,), (parts,) = (
        embed_split([model], few.splits["gallery"], memory_mib=budget) for budget in (256, memory_mib)
    )
    np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-5)


def test_models_of_different_preprocessing_each_get_their_own_pixels(few, runs, tmp_path):
    save_run(tmp_path / "stretched", 3, preprocessing=Preprocessing(32, mean=(0.2, 0.3, 0.4)))
    models = [open_model(runs / "large"), open_model(tmp_path / "stretched")]
    both = embed_split(models, few.splits["query"], memory_mib=0.05)
    for model, found in zip(models, both, strict=True):
        alone = embed_split([model], few.splits["query"])[0]
        np.testing.assert_allclose(found.vectors, alone.vectors, atol=1e-5)
        assert (found.space, len(found), found.dim) == (model.space, 60, 16)


def test_queries_whose_class_the_gallery_lacks_are_counted(few, runs):
    lacking = few.splits["query"].labels[0]
    keep = [row for row, label in enumerate(few.splits["gallery"].labels) if label != lacking]
    gallery = few.splits["gallery"]
    fewer = Split("gallery", gallery.images[keep], pick(gallery.labels, keep), pick(gallery.ids, keep))
    found = evaluate(Dataset("d", {**few.splits, "gallery": fewer}), runs / "small", runs / "large")
    assert found.skipped == few.splits["query"].labels.count(lacking) > 0
    assert found.queries == 60 - found.skipped
    assert f"({found.skipped} more" in found.table()


def pick(values, rows):
    return tuple(values[row] for row in rows)


def test_classes_without_overlap_are_an_error(few, runs):
    other = dataclasses.replace(few.splits["gallery"], labels=("elsewhere",) * 120)
    with pytest.raises(DataError, match="must share labels"):
        evaluate(Dataset("d", {**few.splits, "gallery": other}), runs / "small", runs / "large")


def test_a_missing_or_empty_split_is_named(few, runs):
    empty = first(few.splits["gallery"], 0)
    for splits in ({"query": few.splits["query"]}, {"query": few.splits["query"], "gallery": empty}):
        with pytest.raises(DataError, match="split 'gallery'"):
            evaluate(Dataset("d", splits), runs / "small", runs / "large")


def test_models_of_different_dimension_are_refused(few, runs, tmp_path):
    save_run(tmp_path / "wide", 4, dim=24)
    with pytest.raises(ConfigError, match="24 dimensions"):
        evaluate(few, tmp_path / "wide", runs / "large")


def test_progress_ends_at_its_total(few, runs):
    seen = []
    evaluate(few, runs / "large", runs / "large", progress=lambda *step: seen.append(step[:3]))
    assert [stage for stage, done, total in seen if done == total] == ["embed query", "embed gallery", "rank"]


def test_a_path_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected a RUN"):
        open_model(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="neither a bundle"):
        open_model(tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    save_run(tmp_path / "run", 5)
    weights = next((tmp_path / "run").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CorruptFileError):
        open_model(tmp_path / "run")


def test_an_exported_bundle_scores_like_its_run(few, runs, evaluation, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from compat_export import export

    export(runs / "small", tmp_path / "bundle")
    found = evaluate(few, tmp_path / "bundle", runs / "large", threads=1)
    assert found.declared
    assert found.query_mmacs == pytest.approx(evaluation.query_mmacs)
    both = [open_model(tmp_path / "bundle", threads=1), open_model(runs / "small")]
    queries, gallery = (embed_split(both, few.splits[name], threads=1) for name in ("query", "gallery"))
    for of_bundle, of_run in (queries, gallery):
        np.testing.assert_allclose(of_bundle.vectors, of_run.vectors, atol=1e-5)
    assert found.query_query == summarise(ranked(queries[0], gallery[0], few))


class Mean(nn.Module):
    """Gives each channel's mean: an embedding that can be done by hand."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.9)

    def forward(self, images):
        return self.drop(images).mean(dim=(2, 3))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_the_network_sees_exactly_the_numbers_that_the_runtime_makes(pixels, channels):
    preprocessing = Preprocessing(8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), channels=channels)
    found = input_tensor(torch.from_numpy(pixels), preprocessing).contiguous().numpy()
    assert found.tobytes() == to_input(pixels, preprocessing).tobytes()


@pytest.mark.parametrize("channels_last", [False, True])
def test_embeddings_have_unit_norm_and_do_not_depend_on_the_batch(pixels, channels_last):
    preprocessing = Preprocessing(8)
    model = Mean().train()
    found = embed_images(model, pixels, preprocessing, batch=3, channels_last=channels_last)
    expected = to_input(pixels, preprocessing).mean(axis=(2, 3))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert model.training
    assert model.drop.training


def test_read_only_pixels_and_no_pixels_are_embedded(pixels):
    pixels.flags.writeable = False
    assert embed_images(Mean(), pixels, Preprocessing(8)).shape == (7, 3)
    assert embed_images(Mean(), pixels[:0], Preprocessing(8)).shape == (0, 3)


def test_an_embedding_without_direction_names_its_images():
    grey = np.full((3, 8, 8, 3), 51, np.uint8)  # equals the mean exactly: the embedding is zero
    grey[1] = 200
    with pytest.raises(VectorError, match="2 of 3 images") as caught:
        embed_images(Mean(), grey, Preprocessing(8, mean=(0.2, 0.2, 0.2)))
    assert caught.value.rows == (0, 2)


def test_pixels_of_another_shape_are_refused(pixels):
    with pytest.raises(ImageError, match="expected uint8"):
        embed_images(Mean(), pixels, Preprocessing(9))
    with pytest.raises(ConfigError, match="batch"):
        embed_images(Mean(), pixels, Preprocessing(8), batch=0)


def test_a_query_does_not_find_itself_and_the_table_says_so(few, runs):
    same = dataclasses.replace(few.splits["gallery"], name="query", ids=tuple(f"q{row}" for row in range(120)))
    found = evaluate(Dataset("loo", {"query": same, "gallery": few.splits["gallery"]}), runs / "small", runs / "large")
    assert found.own == 120
    assert found.query_query.cmc[1] < 1
    assert "120 queries are the same image as one of the gallery, which was left out" in found.table()
    assert found.to_json()["own_images_left_out"] == 120


def test_an_image_under_two_labels_is_not_scored(few, runs):
    gallery = few.splits["gallery"]
    twice = dataclasses.replace(gallery, ids=(gallery.ids[1], *gallery.ids[1:]))
    with pytest.raises(DataError, match="stand more than once"):
        evaluate(Dataset("twice", {**few.splits, "gallery": twice}), runs / "small", runs / "large")


def test_a_new_gallery_model_is_held_to_the_old_model_and_a_query_model_to_itself(few, runs, tmp_path):
    old = Checkpoint.load(runs / "large")
    save_run(tmp_path / "new", 3, searches=(old.space,))
    found = evaluate(few, tmp_path / "new", runs / "large")
    assert found.rule_applied == found.to_json()["rule_applied"] == "M(new,old) > M(old,old)"
    assert found.rule[0] == pytest.approx(found.query_gallery.cmc[1] - found.gallery_gallery.cmc[1])

    def with_top1(own, across, paragon):
        scores = zip(("query_query", "query_gallery", "gallery_gallery"), (own, across, paragon), strict=True)
        return dataclasses.replace(
            found,
            **{pair: dataclasses.replace(getattr(found, pair), accuracy=top) for pair, top in scores},
        )

    # The row of DMU, table 1, that M(q,g) > M(q,q) would fail: 22.56 < 25.00, though > 18.93.
    shown = with_top1(0.25, 0.2256, 0.1893)
    assert shown.compatible
    assert shown.rule_text == "M(new,old) > M(old,old) (of a new gallery model): 22.6 % against 18.9 % at top-1"
    assert "rule M(new,old) > M(old,old) holds" in shown.table()
    assert not with_top1(0.1, 0.18, 0.1893).compatible
    as_query = dataclasses.replace(shown, rule_applied="M(q,g) > M(q,q)")
    assert not as_query.compatible and "(of a query model): 22.6 % against 25.0 %" in as_query.rule_text


def test_a_gallery_model_that_does_not_search_the_other_is_no_new_version_of_it(few, runs, tmp_path):
    save_run(tmp_path / "other", 4)
    assert evaluate(few, tmp_path / "other", runs / "large").rule_applied == "M(q,g) > M(q,q)"
    assert evaluate(few, runs / "small", runs / "large").rule_applied == "M(q,g) > M(q,q)"
