"""The pages of benchmarks/ say what their committed rows say."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

FOLDER = Path(__file__).parents[2] / "benchmarks"
# Page: the script that writes it.
PAGES = {
    "accuracy/export_targets": "accuracy.export_targets",
    "accuracy/foreign_teacher": "accuracy.foreign_teacher",
    "accuracy/half_way": "accuracy.half_way",
    "accuracy/kanji_compatibility": "accuracy.kanji_compatibility",
    "accuracy/kanji_hard": "accuracy.kanji_hard",
    "accuracy/paragon_gap": "accuracy.paragon_gap",
    "accuracy/quantised_accuracy": "accuracy.quantised_accuracy",
    "accuracy/timm_networks": "accuracy.timm_networks",
    "speed/block_latency": "speed.block_latency",
    "speed/engine_latency": "speed.engine_latency",
    "speed/web_runtime": "speed.web_runtime",
    "studies/cmp_nas/cmp_nas": "studies.cmp_nas.run",
    "studies/cmp_nas/ranking": "studies.cmp_nas.ranking",
    "studies/cmp_nas/without_classifier": "studies.cmp_nas.without_classifier",
    "studies/combined/combined": "studies.combined.run",
    "studies/global_nas/global_nas": "studies.global_nas.run",
    "studies/upgrades/upgrades": "studies.upgrades.run",
}
# Constants that say how many resamples an interval is made of.
DRAWS = ("pages", "studies.cmp_nas.report", "studies.global_nas.ranking_report")
INTERVAL = re.compile(r"\[[+-]?[\d.]+, [+-]?[\d.]+\]")


def written(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``--report`` makes of the committed rows, above the mark what is committed."""
    if page in ("studies/cmp_nas/cmp_nas", "speed/block_latency"):
        pytest.importorskip("matplotlib")
    if page == "speed/engine_latency":
        pytest.importorskip("onnxruntime")
    shutil.copy(FOLDER / f"{page}.md", folder)
    if (rows := FOLDER / f"{page}.json").is_file():  # a study that nobody has run yet has none
        shutil.copy(rows, folder)
    # Scripts set these as they are imported, for a process of their own.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    module = importlib.import_module(f"benchmarks.{PAGES[page]}")
    out = folder / Path(page).with_suffix(".json").name
    monkeypatch.setattr(sys, "argv", [PAGES[page], "--report", "--out", str(out)])
    module.main()
    return out.with_suffix(".md").read_text()


def test_every_page_with_a_mark_is_checked() -> None:
    marked = {page for page in FOLDER.rglob("*.md") if "<!-- below this line: written by" in page.read_text()}
    assert marked == {FOLDER / f"{page}.md" for page in PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_its_rows_give_but_for_the_intervals(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in DRAWS:  # intervals of 1,000 resamples take a minute; the slow test has them
        monkeypatch.setattr(f"benchmarks.{name}.DRAWS", 2)
    committed = (FOLDER / f"{page}.md").read_text()
    assert INTERVAL.sub("", written(page, tmp_path, monkeypatch)) == INTERVAL.sub("", committed)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_its_rows_give_to_the_byte(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(page, tmp_path, monkeypatch) == (FOLDER / f"{page}.md").read_text()


def test_a_page_of_other_rows_is_another_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "accuracy/export_targets"
    before = written(page, tmp_path, monkeypatch)
    rows = (tmp_path / "export_targets.json").read_text()
    changed = rows.replace('"cpu_seconds": ', '"cpu_seconds": 99', 1)
    (tmp_path / "export_targets.json").write_text(changed)
    importlib.import_module(f"benchmarks.{PAGES[page]}").main()
    assert (tmp_path / "export_targets.md").read_text() != before
