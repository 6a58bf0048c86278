"""Pages of the studies on kanji-hard, from made rows: order, differences, and what a row is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.accuracy import gap_report, half_way
from benchmarks.accuracy.hard_galleries import Scores
from benchmarks.rows import Row
from benchmarks.speed import block_latency
from benchmarks.studies.cmp_nas import without_classifier
from benchmarks.studies.combined import run as combined

KIND = "hard 1"


def scores(top1: float) -> Row:
    """Eight identities, all with one figure."""
    return Scores({"top-1": [top1]}, {"top-1": np.full(8, top1)}).to_json()


def row(method: str, own: float, across: float, **more: object) -> Row:
    sides = {"own": {KIND: scores(own)}, "across": {KIND: scores(across)}}
    return {"method": method, "seed": 0, "mmacs": 1.0, "train_hours": 0.25, **sides, **more}


def lines_of(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_changes_are_ordered_by_what_they_win_and_compared_with_the_gallery_model(tmp_path: Path) -> None:
    known = [row("gallery model", 0.875, 0.0, mmacs=8.0), row("regression", 0.5, 0.625)]
    rows = [row("worse", 0.5, 0.5, meaning="m"), row("better", 0.5, 0.75, meaning="m", mmacs=0.5)]
    gap_report.write_report(rows, known, tmp_path / "gap.md")
    better, first, worse = lines_of(tmp_path / "gap.md")
    assert [line[0].partition(":")[0] for line in (better, first, worse)] == ["better", "regression", "worse"]
    assert better[1] == "0.500 (16x fewer)" and better[3].startswith("-12.5") and better[4].startswith("+12.5")
    assert first[4] == "" and worse[4].startswith("-12.5") and worse[5].startswith("+0.0")


def test_a_way_is_compared_with_the_fixed_gallery_and_shows_the_gallerys_own_accuracy(tmp_path: Path) -> None:
    def way(name: str, across: float, paragon: float) -> Row:
        sides = {"own": scores(0.5), "across": scores(across), "paragon": scores(paragon)}
        return {"way": name, "seed": 0, "train_hours": 0.1, **sides}

    rows = [way("fixed", 0.625, 0.875), way("half-way 0.5", 0.75, 0.5)]
    half_way.write_report(rows, tmp_path / "half.md")
    found = {line[0].partition(":")[0]: line for line in lines_of(tmp_path / "half.md")}
    assert found["half-way 0.5"][1].startswith("50.0")
    assert found["half-way 0.5"][5].startswith("+12.5") and found["fixed"][5] == ""


def test_a_search_is_compared_with_random_members_and_the_combination_with_both(tmp_path: Path) -> None:
    extra = {"search_hours": 0.1, "arch": "a"}
    rows = [row("csd", 0.5, across, chosen=name, **extra) for name, across in (("r2", 0.75), ("random 1", 0.5))]
    without_classifier.write_report(rows, tmp_path / "without.md")
    by_reward, random = lines_of(tmp_path / "without.md")
    assert by_reward[0] == "csd, r2" and by_reward[5].startswith("+25.0") and random[5] == ""
    found = [row(name, 0.5, across, **extra) for name, across in (("combined", 0.75), ("cmp", 0.5), ("global", 0.875))]
    combined.write_report(found, tmp_path / "combined.md")
    gains = {line[0].partition(":")[0]: line[4] for line in lines_of(tmp_path / "combined.md") if len(line) > 4}
    assert gains["cmp"].startswith("+25.0") and gains["global"].startswith("-12.5") and gains["combined"] == ""


def test_the_error_of_a_line_is_of_networks_it_has_not_seen(tmp_path: Path) -> None:
    """Sums that are half of what networks take are 50 % off, and a line through the others mends that."""
    networks = [{"measured_ms": 2.0 * n, "sum_ms": 1.0 * n, "mmacs": [3, 1, 2, 5, 4][n - 1]} for n in range(1, 6)]
    alike = {"at": 1.0, "others": [1.0, 2.0, 3.0]}
    found = {"engine": "e", "settings": {"size": 32}, "blocks": 9, "networks": networks}
    block_latency.write_report([found | {"alike": {"mmacs": alike, "ms": alike}}], tmp_path / "b.md")
    first = lines_of(tmp_path / "b.md")[0]
    assert first[2:4] == ["50.0", "0.0"] and float(first[4]) > 10 and first[5] == "1.00"
    assert (tmp_path / "b.png").is_file()
    outlier = np.array([2.0, 4.0, 6.0, 8.0, 100.0])
    assert block_latency._left_out(np.arange(1.0, 6.0), outlier)[4] == pytest.approx(0.9), (
        "not drawn to what it is asked"
    )
