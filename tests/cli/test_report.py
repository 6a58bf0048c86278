"""The page of an evaluation and the plan of a quickstart on one's own pictures, without training anything."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_cli.commands import quickstart
from compat_cli.pages import open_set
from compat_cli.pages import plan as plan_module
from compat_cli.pages.evaluation import evaluation_results, report_place, write_report
from compat_cli.pages.plan import Plan, Speed, divided, first_division, planned, with_batches_of
from compat_cli.pages.sections.accuracy import harder_question
from compat_cli.pages.sections.outcome import headline
from compat_cli.pages.story import commands, demo_plan
from compat_sdk.certificate import NEW_MODEL_RULE, QUERY_RULE
from compat_sdk.datasets import Dataset, open_dataset
from compat_sdk.errors import ConfigError, TrainingError
from compat_sdk.space import Embeddings
from compat_train.evaluation.advice import advice
from compat_train.evaluation.examples import examples_of
from compat_train.evaluation.result import Evaluation
from tests.sdk.test_partition import put

REPOSITORY = Path(__file__).parents[2]


def photos(root: Path, side: int = 40) -> Dataset:
    """A dataset of three identities with a picture in each split, and two in the gallery."""
    for number, name in enumerate(("ant", "bee", "cat <&>")):
        for split, count in (("train", 1), ("query", 1), ("gallery", 2)):
            for each in range(count):
                path = root / split / name / f"{each}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (side, side), (80 * number, 40 * each, 9)).save(path)
    return open_dataset(root)


def measured(across: float, alone: float, paragon: float, *, high: float = 0.0, **more: object) -> Evaluation:
    """An evaluation with these accuracies at top-1; ``high``: the upper end of the rule's interval."""
    from compat_sdk.metrics import Metric, RetrievalScores

    def scores(value: float) -> RetrievalScores:
        cmc = {1: value, 5: value, 10: value}
        intervals = {key: (value, value) for key in ("1", "5", "10", "map")}
        return RetrievalScores(cmc, value, intervals, 3, 3, 3, Metric(), value, (value, value))

    facts: dict[str, object] = {
        "query_query": scores(alone), "query_gallery": scores(across), "gallery_gallery": scores(paragon),
        "rule": (across - alone, across - alone - 0.1, high), "declared": True, "queries": 3, "gallery_size": 6,
        "skipped": 0, "query_mmacs": 3.0, "gallery_mmacs": 30.0, "query_space": "q-8", "gallery_space": "g-8",
        "query_name": "small", "gallery_name": "large", "own": 0, "copies": 0, "per_query": {},
        "query_ms": 1.0, "gallery_ms": 4.0,
    }  # fmt: skip
    return Evaluation(**(facts | more))  # type: ignore[arg-type]


def page(found: Evaluation, dataset: Dataset, place: Path) -> str:
    pytest.importorskip("matplotlib")
    write_report(place, found, dataset, ("compat-sdk", "evaluate", "--data", "my photos"), advice(found))
    return place.read_text(encoding="utf-8")


def with_examples(dataset: Dataset, **more: float) -> Evaluation:
    vectors = {
        name: Embeddings(np.eye(8, dtype=np.float32)[: len(dataset.split(name))], "g-8")
        for name in ("query", "gallery")
    }
    own = np.full(3, -1, np.int64)
    return measured(0.5, 0.6, 0.9, examples=examples_of(dataset, vectors["query"], vectors["gallery"], own), **more)


def test_the_page_of_an_evaluation_says_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "d")
    text = page(with_examples(dataset), dataset, tmp_path / "page.html")
    assert "A query costs <b>1/10</b> of the multiply-accumulates" in text and "4.0 times as fast" in text
    assert "is the accuracy when the query model q embeds the queries" in text
    assert "What to try:" in text and "<code>compat-sdk train query --method regression --mixed</code>" in text
    assert "cat &lt;&amp;&gt;" in text and "cat <&>" not in text
    for absent in ("What the space check prevents", "trained alone", "Where the time went", "ten kinds of clothing"):
        assert absent not in text
    assert "<button" in text and "navigator.clipboard" in text and "evaluate --data &#x27;my photos&#x27;" in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)|url\((?!#)|@import|<script|<link""", text)


def test_systems_stand_in_one_order_in_table_and_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = photos(tmp_path / "d")
    bars: list[list[float]] = []
    monkeypatch.setattr(
        "compat_cli.pages.plots.accuracy", lambda rows, chance: bars.append([r["value"] for r in rows]) or ""
    )
    text = page(with_examples(dataset), dataset, tmp_path / "page.html")
    table = re.findall(r"<tr class=\"\w*\"><td>.*?</td><td>([\d.]+)<small>", text)
    assert [f"{100 * value:.1f}" for value in bars[0]] == table == ["90.0", "50.0", "60.0"]


def test_costs_that_are_not_known_leave_their_sections_out(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "d")
    text = page(
        measured(0.5, 0.6, 0.9, query_mmacs=None, query_ms=None, declared=False), dataset, tmp_path / "page.html"
    )
    assert "Cost of one image" not in text and "MMACs per image" not in text
    assert "A query finds the right class" in text and "not trained for this gallery" in text


def test_a_page_takes_the_place_of_nothing_but_a_page(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "d")
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(ConfigError, match="is no report"):
        report_place(tmp_path / "notes.html")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="does not write"):
        report_place(tmp_path / "folder")
    place = report_place(tmp_path / "new")
    assert place == tmp_path / "new" / "report.html"
    page(with_examples(dataset), dataset, place)
    assert report_place(tmp_path / "new") == place and report_place(place) == place
    (tmp_path / "link.html").symlink_to(place)
    with pytest.raises(ConfigError, match="is no report"):
        report_place(tmp_path / "link.html")


def test_a_query_in_the_gallery_does_not_find_itself(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "d")
    vectors = np.eye(8, dtype=np.float32)
    own = np.array([0, 1, 2], np.int64)
    found = examples_of(dataset, Embeddings(vectors[:3], "g-8"), Embeddings(vectors[:6], "g-8"), own)
    assert all(place not in [hit for hit, _ in each.hits] for place, each in enumerate(found))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (measured(0.7, 0.6, 0.9), []),
        (measured(0.5, 0.6, 0.9, declared=False), ["was not drawn into this gallery's space"]),
        (measured(0.5, 0.6, 0.9, high=0.1), ["interval includes zero", "--mixed", "until it holds"]),
        (measured(0.5, 0.6, 0.55, high=-0.1), ["train a better gallery model first", "--mixed", "until it holds"]),
        (measured(0.01, 0.6, 0.9, high=-0.1), ["finds next to nothing", "--mixed", "until it holds"]),
    ],
)
def test_what_to_try_follows_from_the_figures(found: Evaluation, said: list[str]) -> None:
    tried = advice(found)
    assert len(tried) == len(said) and all(part in each for part, each in zip(said, tried, strict=True))
    assert found.rule_applied in (QUERY_RULE, NEW_MODEL_RULE)


def test_the_open_set_figures_are_those_of_their_source() -> None:
    text = (REPOSITORY / open_set.SOURCE).read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| ")]
    found = {tuple(row[2:4]) for row in rows if len(row) > 4}

    def cell(figures: tuple[float, float, float]) -> str:
        return f"{figures[0]} [{figures[1]}, {figures[2]}]"

    assert all((cell(alone), cell(across)) in found for _, alone, across in open_set.MEASURED)
    assert any(cell(open_set.PARAGON) in row for row in rows)
    assert f"{open_set.QUERIES:,} queries of {open_set.IDENTITIES} unseen" in text and f"{open_set.GALLERY:,}" in text
    assert all(across[0] < alone[0] for _, alone, across in open_set.MEASURED), "the page says that the rule fails"


def test_the_demos_page_shows_the_harder_question() -> None:
    pytest.importorskip("matplotlib")
    text = harder_question()
    assert "M(q,g) stays below M(q,q)" in text and open_set.SOURCE in text and text.count("<svg") == 1


SPEED = Speed(decode=0.01, gallery=0.05, query=0.04, embed=0.02)


@pytest.mark.parametrize("train", [10, 300, 5_000, 1_000_000])
@pytest.mark.parametrize("minutes", [1, 10, 120])
def test_a_plan_fits_into_its_time_however_many_pictures_there_are(train: int, minutes: float) -> None:
    plan = planned("d", train, SPEED, minutes)
    used = plan.fraction * train
    epochs, side = plan.gallery["epochs"], (plan.size / 64) ** 2
    work = used * 3 * SPEED.decode + used * epochs * (SPEED.gallery + 2 * SPEED.query) * side
    if plan.fraction > 0.02:  # the least that is learnt from
        assert work <= 0.7 * max(20.0, 60 * minutes)
    assert 6 <= epochs <= 40 and plan.size in (64, 48, 32) and 0.02 <= plan.fraction <= 1
    assert Plan.from_json(plan.to_json()) == plan


def test_more_time_never_gives_less() -> None:
    plans = [planned("d", 3_000, SPEED, minutes) for minutes in (1, 2, 5, 20, 100, 1000)]
    assert [plan.fraction for plan in plans] == sorted(plan.fraction for plan in plans)
    assert [plan.size for plan in plans] == sorted(plan.size for plan in plans)
    assert (plans[-1].fraction, plans[-1].size, plans[-1].gallery["epochs"]) == (1, 64, 40)


def test_a_batch_is_never_larger_than_what_is_learnt_from() -> None:
    labels = ["ant"] * 10 + ["bee"] * 3
    for fraction, batch in ((1.0, 13), (0.3, 4), (0.02, 2)):
        plan = with_batches_of(replace(planned("d", 13, SPEED, 10), fraction=fraction), labels)
        assert plan.gallery["batch"] == plan.query["batch"] == batch
    assert with_batches_of(planned("d", 500, SPEED, 100), labels * 40).gallery["batch"] == 32


def test_few_identities_are_divided_by_picture_and_very_many_pictures_tested_in_part(tmp_path: Path) -> None:
    few = put(tmp_path / "few", 3, 12)
    first = first_division(str(few), None, 0)
    data, command = divided(str(few), None, tmp_path / "a", first, SPEED, 10)
    assert "--by picture" in command and set(open_dataset(data).split("query").classes) == {"toy 0", "toy 1", "toy 2"}
    many = put(tmp_path / "many", 30, 4)
    slow = Speed(decode=1.0, gallery=1.0, query=1.0, embed=1.0)
    data, command = divided(str(many), None, tmp_path / "b", first_division(str(many), None, 0), slow, 1)
    found = open_dataset(data)
    assert "--test 0.0" in command and len(found.split("query")) + len(found.split("gallery")) <= 8


def test_few_pictures_are_learnt_from_in_small_batches() -> None:
    few = plan_module.with_batches_of(planned("d", 12, SPEED, 10), ["a"] * 12)
    assert few.gallery["batch"] == few.query["batch"] == 12
    many = plan_module.with_batches_of(planned("d", 3_000, SPEED, 10), ["a"] * 3_000)
    assert many.gallery["batch"] == 32


def test_a_quickstart_of_other_pictures_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "measured", lambda *_: SPEED)
    asked = (str(put(tmp_path / "photos", 4, 12)), None, tmp_path / "out", 10.0, 0, None)
    first = quickstart._plan(*asked)
    assert quickstart._plan(*asked) == first
    picture = next((tmp_path / "photos").rglob("*.jpg"))
    Image.new("RGB", (9, 9), "teal").save(picture)
    with pytest.raises(TrainingError, match=r"other data .*files or labels changed"):
        quickstart._plan(*asked)
    picture.unlink()
    with pytest.raises(TrainingError, match=r"other data \(48 images of 4 classes then, 47"):
        quickstart._plan(*asked)


def test_a_page_shows_names_that_act_on_text_or_are_no_unicode_by_their_numbers(tmp_path: Path) -> None:
    picture = photos(tmp_path / "d").split("query").images[0]
    (tmp_path / "d" / "query" / "cat <&>").rename(tmp_path / "d" / "query" / "\u202etac\x1b[31m")
    (tmp_path / "d" / "gallery" / "cat <&>").rename(tmp_path / "d" / "gallery" / "\u202etac\x1b[31m")
    try:
        picture.rename(picture.with_name(os.fsdecode(b"Zo\xeb.png")))
    except OSError:
        pytest.skip("this file system has names in Unicode only")
    dataset = open_dataset(tmp_path / "d")
    write_report(tmp_path / "page.html", with_examples(dataset), dataset, ("evaluate", os.fsdecode(b"\xeb")), ())
    page = (tmp_path / "page.html").read_text("utf-8")
    assert r"\udceb" in page and r"\u202etac\x1b[31m" in page
    assert not set(page) & set("\u202e\x1b")


def test_the_commands_of_a_plan_begin_with_what_made_its_data() -> None:
    plan = planned("out/data", 100, SPEED, 10, ("compat-sdk data split photos --out data",))
    lines = commands(0, plan).splitlines()
    assert lines[0] == "compat-sdk data split photos --out data" and "--data data --size 64" in lines[1]
    assert commands(0) == commands(0, demo_plan()) and "--data sample --size 28" in commands(0)


def test_results_of_an_evaluation_hold_what_a_page_needs(tmp_path: Path) -> None:
    dataset = photos(tmp_path / "d")
    found = evaluation_results(with_examples(dataset), dataset, "compat-sdk evaluate", ())
    assert [row["label"] for row in found["hits"]] == ["ant", "bee", "cat <&>"] and found["data"]["classes"] == 3


@pytest.mark.parametrize(
    ("across", "words"),
    [(0.8, "and still finds the right class 80.0 %"), (0.1, "and finds the right class 10.0 % of the time, where the")],
)
def test_the_headline_praises_nothing_that_finds_little(across: float, words: str) -> None:
    systems = {"query_gallery": {"cmc": {"1": across}}, "gallery_gallery": {"cmc": {"1": 0.9}}}
    found = headline({"evaluation": {"query": systems | {"gallery_mmacs": 30.0, "query_mmacs": 3.0}}})
    assert words in found and ("still" in found) == (across > 0.45)
