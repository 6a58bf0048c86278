"""What trainings note for themselves, damaged or with something else in its place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from compat_sdk.arrays import read_array, save_array
from compat_sdk.bundle.trust import Trust
from compat_sdk.errors import ConfigError, CorruptFileError, TrainingError
from compat_sdk.files.digests import file_problem
from compat_sdk.files.lock import open_locked
from compat_sdk.files.plain import open_to_append
from compat_sdk.files.seal import sealed_json
from compat_train.config.settings import changed_settings
from compat_train.data.origin import Origin
from compat_train.runs.data_record import require_same_data
from compat_train.runs.log import TrainingLog, read_log
from compat_train.runs.resume_points import ResumePoints
from compat_train.runs.run_files import alone


@pytest.mark.parametrize(
    "spoilt", [b'{"step": 3, "ep', b"\xff\xfe\n", b"7\n", b'{"step": "3", "epoch": 1}\n', b"\0" * 90]
)
def test_a_log_ends_before_its_first_spoilt_line_and_goes_on_from_there(tmp_path: Path, spoilt: bytes) -> None:
    with TrainingLog(tmp_path, 0) as log:
        for step in (1, 2):
            log.write(step, 1, 0.1, {"loss": 0.5})
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(spoilt + b'{"step": 4, "epoch": 1}\n')
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2]
    with TrainingLog(tmp_path, 2) as log:
        log.write(3, 1, 0.1, {"loss": 0.25})
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("change", [{"step": "7"}, {"facts": [1]}, {"step": True}])
def test_a_resume_point_of_another_shape_counts_as_damaged(tmp_path: Path, change: dict[str, object]) -> None:
    points = ResumePoints(tmp_path)
    for step in (3, 7):
        points.save(step, {"weight": torch.ones(2)}, {})
    place = tmp_path / "state" / "step-000000007.json"
    record = {key: value for key, value in json.loads(place.read_bytes()).items() if key != "digest"}
    place.write_bytes(sealed_json(record | change))
    found = points.newest()
    assert found is not None and found[0] == 3 and "no resume point" in found[3][0]


def test_a_record_that_lacks_a_figure_fits_no_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    assert "expected None" in str(file_problem(tmp_path / "f", {}))
    assert "expected None" in str(file_problem(tmp_path / "f", {"bytes": 4}))


def test_settings_that_differ_in_long_values_are_named_in_a_short_text() -> None:
    assert len(changed_settings({"a": "x" * 5000}, {"a": "y" * 5000})) <= 120


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_nothing_is_locked_or_appended_to_but_a_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for opens in (open_locked, open_to_append):
        with pytest.raises(CorruptFileError, match="pipe"):
            opens(tmp_path / "pipe")
        with pytest.raises(OSError, match="link"):
            opens(tmp_path / "link")
    with pytest.raises(TrainingError, match="cannot hold"), alone(tmp_path / "link", "training"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_record_of_the_data_that_cannot_be_read_is_no_missing_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.json")
    with pytest.raises(CorruptFileError, match="pipe"):
        require_same_data(tmp_path, Origin([], [], []))


def test_a_saved_array_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_array(tmp_path / "a.npy", np.arange(6).reshape(2, 3).T)
    assert read_array(tmp_path / "a.npy").tolist() == [[0, 3], [1, 4], [2, 5]]

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_array(tmp_path / "a.npy", np.zeros(9))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"] and read_array(tmp_path / "a.npy").shape == (3, 2)


@pytest.mark.parametrize("key", ["x" * 5000, "../" * 200, "a" * 300])
def test_a_trust_file_whose_key_has_an_impossible_name_is_refused_in_one_short_line(tmp_path: Path, key: str) -> None:
    place = tmp_path / "trust.json"
    place.write_text(json.dumps({"makers": [{"name": "n" * 5000, "public_key": key}]}))
    with pytest.raises(ConfigError, match="key") as refused:
        Trust.read(place)
    assert len(str(refused.value).replace(str(place), "")) <= 300
