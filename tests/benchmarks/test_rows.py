"""The rows of a study: what is there is not computed again, and both forms of the file are kept."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.rows import Rows


def test_a_new_file_is_a_list_and_its_rows_are_known_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.json"
    rows = Rows(path, "name", "seed")
    assert ("a", 0) not in rows
    rows.add([{"name": "a", "seed": 0, "top1": 0.5}])
    assert json.loads(path.read_text()) == [{"name": "a", "seed": 0, "top1": 0.5}]
    again = Rows(path, "name", "seed")
    assert ("a", 0) in again
    assert ("a", 1) not in again


def test_a_row_that_is_there_stays_as_it_was(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.json", "name")
    rows.add([{"name": "a", "top1": 0.5}])
    rows.add([{"name": "a", "top1": 0.9}, {"name": "b", "top1": 0.1}])
    assert rows.rows == [{"name": "a", "top1": 0.5}, {"name": "b", "top1": 0.1}]


def test_facts_beside_the_rows_are_kept_and_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"torch": "2.6", "rows": [{"name": "a"}]}))
    rows = Rows(path, "name")
    rows.facts["searches"] = [1]
    rows.add([{"name": "b"}])
    assert json.loads(path.read_text()) == {"torch": "2.6", "searches": [1], "rows": [{"name": "a"}, {"name": "b"}]}
