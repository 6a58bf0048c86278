from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compat_sdk.errors import BundleError, CompatError, ConfigError
from compat_sdk.profile import (
    ColdStart,
    Latency,
    Profile,
    cold_start,
    format_table,
    measure_cold_start,
    measure_latency,
    profile,
    profile_bundle,
)
from tests.sdk.bundles import make_bundle, onnx_graph

PLANTED = Profile(
    name="mobilenet_v2",
    size=112,
    mmacs=300.8,
    mmacs_paper=314.1,
    params_m=2.39,
    engine="onnxruntime",
    precision="fp32",
    threads=1,
    warm=Latency(p50_ms=5.5, p95_ms=7.25, runs=100),
    cold=ColdStart(load_ms=80.0, first_ms=10.0, peak_mib=120.5, baseline_mib=40.0, note="planted"),
    bundle_mib=9.5,
    graph_mib=9.25,
)


class Clock:
    """Every second reading is one of the planted durations later."""

    def __init__(self, durations_ms: list[float]) -> None:
        self.readings: list[int] = []
        now = 0
        for duration in durations_ms:
            self.readings += [now, now + int(duration * 1e6)]
            now += int(duration * 1e6) + 1000

    def __call__(self) -> int:
        return self.readings.pop(0)


def test_percentiles_are_those_of_the_single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    durations = [float(i) for i in range(1, 101)]
    monkeypatch.setattr(profile.time, "perf_counter_ns", Clock(durations))
    found = measure_latency(lambda: None, runs=100)
    assert found.p50_ms == pytest.approx(np.percentile(durations, 50))
    assert found.p95_ms == pytest.approx(np.percentile(durations, 95))
    assert found.runs == 100


def test_warm_up_calls_run_and_are_not_measured() -> None:
    calls: list[int] = []
    assert measure_latency(lambda: calls.append(1), warmup=3, runs=4).runs == 4
    assert len(calls) == 7


def test_a_slow_call_is_measured_twenty_times_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile.time, "perf_counter_ns", Clock([2000.0] * 20))
    assert measure_latency(lambda: None, runs=100, budget_s=10).runs == 20


@pytest.mark.parametrize(("warmup", "runs"), [(-1, 5), (0, 0)])
def test_counts_out_of_range_are_refused(warmup: int, runs: int) -> None:
    with pytest.raises(ConfigError, match="at least"):
        measure_latency(lambda: None, warmup=warmup, runs=runs)


def test_the_json_has_the_fields_that_checks_read() -> None:
    found = json.loads(json.dumps(PLANTED.to_json()))
    expected = {
        "name": "mobilenet_v2",
        "size": 112,
        "mmacs": 300.8,
        "mmacs_paper": 314.1,
        "params_m": 2.39,
        "engine": "onnxruntime",
        "peak_mib": 120.5,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["latency_ms"] == {"p50": 5.5, "p95": 7.25, "cold": 90.0}
    assert found["cold_ms"] == {"load": 80.0, "first": 10.0}


def test_the_table_has_one_aligned_row_per_model() -> None:
    unknown = replace(PLANTED, name="x", cold=replace(PLANTED.cold, peak_mib=None))
    heading, first, second = format_table([PLANTED, unknown]).splitlines()
    assert heading.split()[:2] == ["model", "size"]
    assert first.split() == [
        "mobilenet_v2",
        "112",
        "300.8",
        "314.1",
        "2.39",
        "9.25",
        "onnxruntime",
        "fp32",
        "5.50",
        "7.25",
        "90",
        "120",
    ]
    assert second.split()[-1] == "-"
    assert len(first) == len(second) == len(heading)


class Children:
    """Stands for ``subprocess.run``: each start returns the next planted answer."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        return subprocess.CompletedProcess(command, *self.answers.pop(0))


def answer(load_ms: float, peak_mib: float | None) -> tuple[int, str, str]:
    row = {"load_ms": load_ms, "first_ms": 1.0, "baseline_mib": peak_mib and 10.0, "peak_mib": peak_mib}
    return 0, "an engine says hello\n" + json.dumps(row) + "\n", ""


def test_a_cold_start_is_the_median_over_fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children(answer(30, 99), answer(10, 100), answer(20, 101))
    monkeypatch.setattr(cold_start.subprocess, "run", children)
    found = measure_cold_start(Path("b"), engine="onnxruntime", threads=2, starts=3)
    assert (found.load_ms, found.first_ms, found.total_ms, found.peak_mib) == (20, 1, 21, 100)
    assert found.note == cold_start.PEAK_MEANING
    assert len(children.commands) == 3
    assert children.commands[0][0] == sys.executable
    assert children.commands[0][4:7] == ["b", "onnxruntime", "2"]


def test_a_system_without_peak_memory_reports_none_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start.subprocess, "run", Children(answer(1, None)))
    found = measure_cold_start("b", starts=1)
    assert found.peak_mib is None
    assert found.baseline_mib is None
    assert "does not report" in found.note


def test_a_process_that_dies_is_an_error_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start.subprocess, "run", Children((1, "", "Traceback\nBundleError: damaged\n")))
    with pytest.raises(CompatError, match=r"code 1: BundleError: damaged"):
        measure_cold_start("b", starts=1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_large_parent_does_not_count_in_its_childs_peak() -> None:
    large = np.ones(40_000_000)  # 305 MiB, touched
    code = cold_start._CHILD.split("baseline = ")[0] + "print(peak_mib())"
    child = subprocess.run(
        [sys.executable, "-c", code, "", "", "", str(Path(cold_start.__file__).parent.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert large.nbytes / 2**20 > 300
    assert 5 < float(child.stdout) < 200


def test_a_bundle_is_profiled_here_and_in_fresh_processes(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny", onnx_graph())
    found = profile_bundle(bundle.path, runs=5, cold_starts=1)
    assert (found.name, found.size, found.engine, found.mmacs) == ("tiny query model", 16, "onnxruntime", 0.5)
    assert 0 < found.warm.p50_ms <= found.warm.p95_ms
    assert found.cold.load_ms > 0
    assert found.cold.first_ms > 0
    if found.cold.peak_mib is not None and found.cold.baseline_mib is not None:
        assert 5 < found.cold.baseline_mib < found.cold.peak_mib < 2000
    assert profile_bundle(bundle.path, runs=1, cold_starts=1, name="mine").name == "mine"


def test_a_damaged_bundle_is_refused_before_any_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "tiny")
    (bundle.path / "model.onnx").write_bytes(b"another")
    monkeypatch.setattr(cold_start.subprocess, "run", Children())
    with pytest.raises(BundleError, match=r"model\.onnx"):
        profile_bundle(bundle.path)


@pytest.mark.parametrize("setting", ["threads", "cold_starts"])
def test_profile_settings_below_one_are_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting}=0"):
        profile_bundle(tmp_path, **{setting: 0})  # type: ignore[arg-type]
