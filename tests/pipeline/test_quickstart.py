"""The quickstart with models small enough for a test, and what its report may say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from compat_cli.pages import story
from compat_cli.pages.sections.accuracy import verdict
from compat_cli.pages.sections.outcome import headline
from tests.pipeline.conftest import Run

TINY = {"arch": "global:plain:16:s3c3s3", "width": 1.0, "epochs": 1, "batch": 64, "lr": 0.1}


@pytest.mark.usefixtures("small_sample")
def test_the_quickstart_runs_to_its_report_and_a_second_run_repeats_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(story, "GALLERY", TINY)
    monkeypatch.setattr(story, "QUERY", {**TINY, "batch": 256})
    out = tmp_path / "story"
    code, printed, err = run("quickstart", "--out", out, "--threads", 1, "--json")
    assert code == 0, err
    results = json.loads(printed)
    assert json.loads((out / "results.json").read_text()) == results
    assert results["evaluation"]["query"]["declared"] and not results["evaluation"]["vanilla"]["declared"]
    assert results["refused"].startswith("IncompatibleSpaceError: ")
    measured = results["evaluation"]["query"]["query_gallery"]["cmc"]["1"]
    assert results["search_top1"] == pytest.approx(measured, abs=0.01)  # neighbours that all but tie may change
    page = (out / "report.html").read_text(encoding="utf-8")
    assert headline(results) in re.sub(r"</?b>", "", page)
    assert page.count("<svg") == 5 and "The classes are easy" in page and "The harder question" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)|url\((?!#)|@import|<script|<link""", page)
    assert len(page) < 2_000_000

    monkeypatch.setattr(story.Story, "_train_gallery", None)
    code, printed, err = run("quickstart", "--out", out, "--threads", 1, "--json")
    assert code == 0, err
    assert json.loads(printed)["seconds"] == results["seconds"]
    code, _, err = run("quickstart", "--out", out, "--threads", 1, "--seed", 1)
    assert code == 1
    assert "other settings" in err


@pytest.mark.parametrize(
    ("difference", "low", "high", "says"),
    [
        (0.03, 0.01, 0.05, "It holds: the large gallery is worth having"),
        (0.01, -0.01, 0.03, "It holds in this run, but the interval includes zero"),
        (-0.01, -0.03, 0.01, "It does not hold in this run, though the interval includes zero"),
        (-0.03, -0.05, -0.01, "It does not hold: on this small set"),
    ],
)
def test_the_verdict_claims_no_more_than_the_interval_allows(
    difference: float, low: float, high: float, says: str
) -> None:
    rule: dict[str, Any] = {"rule": {"difference": difference, "lo": low, "hi": high}}
    assert verdict(rule).startswith(says)
    assert f"{100 * difference:+.1f} points" in verdict(rule)
