"""Scores are measured once, whatever happens to the processes that measure them."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_sdk.errors import ConfigError, CorruptFileError, ImageError, TrainingError
from compat_sdk.files.seal import sealed, unsealed
from compat_train.models.search_space import Member
from compat_train.nas.cmp.evaluations import Evaluations, Measure, Need, Score
from tests.train.nas.toy import (
    MEMBERS,
    SETTINGS,
    Toy,
    across_of,
    die_on_start,
    own_of,
    raise_on_start,
    toy_costs,
    toy_search,
)

SCRIPT = """
import pickle, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.train.nas.toy import toy_search
costs = pickle.loads(Path({costs!r}).read_bytes())
toy_search(Path({path!r}), {workers}, 0.01, lambda *report: print("round", flush=True), costs)
sys.stdin.read()  # until it is killed, however late that is
"""


def returning(*scores: Any) -> Callable[[], Measure]:
    return lambda: lambda member, need: Score(*scores)


def open_toy(tmp_path: Path, workers: int = 0, **behaviour: Any) -> tuple[Evaluations, Toy]:
    toy = Toy(tmp_path / "calls.txt", **behaviour)
    return Evaluations(tmp_path / "run" / "scores.jsonl", SETTINGS, toy, workers=workers), toy


def rows(path: Path) -> list[dict[str, Any]]:
    return [unsealed(json.loads(line), str(path)) for line in path.read_text(encoding="utf-8").splitlines()]


def test_scores_come_in_the_order_of_the_members_and_are_measured_once(tmp_path: Path) -> None:
    evaluations, toy = open_toy(tmp_path)
    with evaluations:
        assert evaluations.scores([], "both") == []
        assert toy.asked() == {}, "nothing is prepared before something is to be measured"
        found = evaluations.scores([MEMBERS[2], MEMBERS[1], MEMBERS[2]], "both")
        assert found == [Score(own_of(asked), across_of(asked), None) for asked in (MEMBERS[2], MEMBERS[1], MEMBERS[2])]
        evaluations.scores(MEMBERS[:3], "both")
    assert toy.asked() == {"make": 1} | {f"both {known.name}": 1 for known in MEMBERS[:3]}


def test_another_process_finds_what_was_measured(tmp_path: Path) -> None:
    evaluations, toy = open_toy(tmp_path)
    with evaluations:
        before = evaluations.scores(MEMBERS, "both")
    asked = toy.asked()
    evaluations, toy = open_toy(tmp_path)
    with evaluations:
        assert evaluations.scores(MEMBERS, "both") == before
        assert evaluations.scores(MEMBERS, "own") == before
    assert toy.asked() == asked


@pytest.mark.parametrize(("first", "second"), [("own", "across"), ("across", "own")])
def test_only_the_missing_number_is_measured_again(first: Need, second: Need, tmp_path: Path) -> None:
    evaluations, toy = open_toy(tmp_path)
    with evaluations:
        (found,) = evaluations.scores(MEMBERS[:1], first)
        assert (found.own is None, found.across is None) == (second == "own", second == "across")
        whole = evaluations.scores(MEMBERS[:1], "both")
        assert whole == [Score(own_of(MEMBERS[0]), across_of(MEMBERS[0]), None)]
    assert toy.asked() == {"make": 1, f"{first} {MEMBERS[0].name}": 1, f"{second} {MEMBERS[0].name}": 1}
    evaluations, _ = open_toy(tmp_path)
    with evaluations:
        assert evaluations.scores(MEMBERS[:1], "both") == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_a_candidate_that_raises_is_recorded_and_the_others_go_on(workers: int, tmp_path: Path) -> None:
    for _ in range(2):
        evaluations, toy = open_toy(tmp_path, workers, raising=(3,))
        with evaluations:
            found = evaluations.scores(MEMBERS[:5], "own")
        assert [score.error for score in found] == [None, None, None, "RuntimeError: no scale 3", None]
        assert found[3].own is None and found[4].own == own_of(MEMBERS[4])
    assert toy.asked()[f"own {MEMBERS[3].name}"] == 1, "a failure is not tried again"


def test_a_later_failure_does_not_change_what_was_answered_before(tmp_path: Path) -> None:
    evaluations, _ = open_toy(tmp_path)
    with evaluations:
        before = evaluations.scores(MEMBERS[:1], "own")
    evaluations, _ = open_toy(tmp_path, raising=(0,))
    with evaluations:
        assert evaluations.scores(MEMBERS[:1], "both") == [Score(own_of(MEMBERS[0]), None, "RuntimeError: no scale 0")]
        assert evaluations.scores(MEMBERS[:1], "own") == before


@pytest.mark.parametrize("score", [(float("nan"), 0.5), (1.5, 0.5), (0.5, -0.1), (None, 0.5), (0.5, None)])
def test_a_number_that_is_no_share_or_is_not_there_is_a_failure(score: tuple[Any, Any], tmp_path: Path) -> None:
    with Evaluations(tmp_path / "scores.jsonl", {}, returning(*score)) as evaluations:
        (found,) = evaluations.scores(MEMBERS[:1], "both")
    assert found.own is None and found.across is None
    assert found.error is not None and "expected both, in [0, 1]" in found.error


def test_numpy_numbers_are_recorded_as_plain_ones(tmp_path: Path) -> None:
    with Evaluations(tmp_path / "scores.jsonl", {}, returning(np.float32(0.25), np.float64(0.1))) as evaluations:
        assert evaluations.scores(MEMBERS[:1], "both") == [Score(0.25, 0.1, None)]
    assert rows(tmp_path / "scores.jsonl")[1:] == [{"arch": MEMBERS[0].name, "own": 0.25, "across": 0.1, "error": None}]


def test_an_interrupt_is_not_swallowed_and_what_was_measured_is_kept(tmp_path: Path) -> None:
    def make() -> Measure:
        def measure(asked: Member, need: Need) -> Score:
            if asked == MEMBERS[2]:
                raise KeyboardInterrupt
            return Score(0.5, 0.5, None)

        return measure

    with Evaluations(tmp_path / "scores.jsonl", {}, make) as evaluations, pytest.raises(KeyboardInterrupt):
        evaluations.scores(MEMBERS, "both")
    assert [row["arch"] for row in rows(tmp_path / "scores.jsonl")[1:]] == [known.name for known in MEMBERS[:2]]


def test_workers_find_the_same_scores_as_one_process(tmp_path: Path) -> None:
    for folder in ("serial", "parallel"):
        (tmp_path / folder).mkdir()
    serial, _ = open_toy(tmp_path / "serial")
    parallel, toy = open_toy(tmp_path / "parallel", workers=2, seconds=0.05)
    with serial, parallel:
        assert parallel.scores(MEMBERS[:6], "own") == serial.scores(MEMBERS[:6], "own")
        assert parallel.scores(MEMBERS, "both") == serial.scores(MEMBERS, "both")
    asked = toy.asked()
    assert 1 <= asked.pop("make") <= 2, "once per worker"
    assert set(asked.values()) == {1}
    in_order = [sorted(rows(path)[1:], key=str) for path in sorted(tmp_path.glob("*/run/scores.jsonl"))]
    assert in_order[0] == in_order[1]


def test_a_member_that_kills_its_worker_is_recorded_and_the_others_are_measured(tmp_path: Path) -> None:
    evaluations, toy = open_toy(tmp_path, workers=2, deadly=(1, 4), seconds=0.02)
    with evaluations:
        found = evaluations.scores(MEMBERS[:6], "own")
        died = "worker process died"
        assert [score.error for score in found] == [None, died, None, None, died, None]
        assert [score.own for score in found if score.error is None] == [own_of(MEMBERS[at]) for at in (0, 2, 3, 5)]
        assert evaluations.scores(MEMBERS[6:7], "own")[0].own == own_of(MEMBERS[6]), "the pool is whole again"
    assert max(count for text, count in toy.asked().items() if text != "make") == 2
    recorded = Counter(row["arch"] for row in rows(tmp_path / "run" / "scores.jsonl")[1:])
    assert recorded == Counter(known.name for known in MEMBERS[:7])


def test_an_error_while_starting_is_an_error_of_the_run(tmp_path: Path) -> None:
    with Evaluations(tmp_path / "serial.jsonl", {}, raise_on_start) as serial, pytest.raises(ImageError):
        serial.scores(MEMBERS, "own")
    # As text: this exception does not survive pickling.
    with Evaluations(tmp_path / "parallel.jsonl", {}, raise_on_start, workers=2) as parallel:
        with pytest.raises(TrainingError, match=r"cannot prepare.*ImageError: cannot read image a\.png: cut off"):
            parallel.scores(MEMBERS, "own")
    assert len(rows(tmp_path / "serial.jsonl")) == len(rows(tmp_path / "parallel.jsonl")) == 1, "no member is blamed"


def test_workers_that_die_on_starting_are_an_error_of_the_run(tmp_path: Path) -> None:
    with Evaluations(tmp_path / "scores.jsonl", {}, die_on_start, workers=2) as evaluations:
        with pytest.raises(TrainingError, match="die before they measure anything"):
            evaluations.scores(MEMBERS, "own")
    assert len(rows(tmp_path / "scores.jsonl")) == 1, "no member is blamed"


def test_a_last_line_that_was_cut_off_is_dropped_and_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "scores.jsonl"
    evaluations, toy = open_toy(tmp_path)
    with evaluations:
        before = evaluations.scores(MEMBERS[:3], "both")
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for cut in (1, len(last) // 2, len(last) - 1):
        path.write_bytes(whole[:-cut])
        evaluations, _ = open_toy(tmp_path)
        with evaluations:
            assert evaluations.scores(MEMBERS[:3], "both") == before
        assert path.read_bytes() == whole
    assert toy.asked()[f"both {MEMBERS[2].name}"] == 4


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[1, 2]",
        b'{"arch": "a", "own": 0.5, "across": nu',
        b'{"arch": "a", "own": 0.5, "across": null, "error": null}',  # without its digest
        *(
            json.dumps(sealed({"arch": "a", "own": 0.5, "across": None, "error": None} | change)).encode()
            for change in ({"own": 1.5}, {"own": True}, {"arch": 7}, {"error": 3}, {"more": 1})
        ),
    ],
)
def test_a_damaged_line_is_refused_with_its_number_and_the_file_is_left_alone(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run" / "scores.jsonl"
    evaluations, _ = open_toy(tmp_path)
    with evaluations:
        evaluations.scores(MEMBERS[:2], "both")
    first, second, third = path.read_bytes().splitlines(keepends=True)
    damaged = first + second + line + b"\n" + third + b'{"arch'
    path.write_bytes(damaged)
    with pytest.raises(CorruptFileError, match=r"line 3 of .*scores\.jsonl"):
        open_toy(tmp_path)
    assert path.read_bytes() == damaged


def test_an_edited_score_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "scores.jsonl"
    evaluations, _ = open_toy(tmp_path)
    with evaluations:
        before = evaluations.scores(MEMBERS[:2], "both")
    lines = path.read_text().splitlines()
    row = json.loads(lines[2])
    for edited in (
        lines[0].replace("ab12", "ef56"),
        json.dumps(row | {"own": 1.0}),
        json.dumps(row | {"arch": "other"}),
    ):
        changed = [edited, *lines[1:]] if "format" in edited else [*lines[:2], edited]
        path.write_text("\n".join(changed) + "\n")
        with pytest.raises(CorruptFileError, match="was changed after it was written"):
            open_toy(tmp_path)
    # Release 0.7 sealed nothing: version 1.
    old = [unsealed(json.loads(line), "") for line in lines]
    old[0]["version"] = 1
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    evaluations, _ = open_toy(tmp_path)
    with evaluations:
        assert evaluations.scores(MEMBERS[:2], "both") == before


@pytest.mark.parametrize(
    "header", [b"not ours", b"not ours\n", b'{"format": "compat-sdk-evaluations", "version": 2}\n']
)
def test_a_file_of_another_kind_is_refused_and_left_alone(header: bytes, tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_bytes(header)
    with pytest.raises(CorruptFileError, match=r"scores\.jsonl"):
        Evaluations(tmp_path / "scores.jsonl", {}, returning())
    assert (tmp_path / "scores.jsonl").read_bytes() == header


def test_other_settings_are_refused_with_what_differs(tmp_path: Path) -> None:
    open_toy(tmp_path)[0].close()
    with pytest.raises(
        TrainingError, match=r"scores\.jsonl holds .* supernet was 'ab12' and is now 'ef56'; use"
    ) as found:
        Evaluations(tmp_path / "run" / "scores.jsonl", SETTINGS | {"supernet": "ef56"}, returning())
    assert "validation" not in str(found.value)


def test_a_negative_number_of_workers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers is -1"):
        Evaluations(tmp_path / "scores.jsonl", {}, returning(), workers=-1)
    assert not (tmp_path / "scores.jsonl").exists()


@pytest.mark.parametrize(("workers", "moments"), [(0, (1, 2, 4)), (2, (1, 3))])
def test_a_search_killed_at_random_moments_ends_with_the_same_ranking(
    workers: int, moments: tuple[int, ...], tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    undisturbed = toy_search(tmp_path / "whole" / "scores.jsonl")
    path, costs = tmp_path / "scores.jsonl", tmp_path / "costs.pickle"
    costs.write_bytes(pickle.dumps(toy_costs()))
    root = str(Path(__file__).parents[3])
    script = SCRIPT.format(root=root, path=str(path), costs=str(costs), workers=workers)
    chance = random.Random(workers)
    for rounds in moments:
        process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(rounds):
            process.stdout.readline()
        time.sleep(chance.random() * 0.05)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        # Workers hold the other end of the pipe: this returns once they are gone too.
        process.communicate(timeout=60)
    assert toy_search(path) == undisturbed
    recorded = Counter(row["arch"] for row in rows(path)[1:])
    assert len(recorded) == 40 and set(recorded.values()) == {1}
    asked = Toy(path.with_name("calls.txt")).asked()
    asked.pop("make")
    assert set(asked) == {f"both {name}" for name in recorded}
    assert sum(asked.values()) <= 40 + len(moments) * max(workers, 1), "only what was in flight is measured again"


def test_what_workers_are_handed_loads_no_torch() -> None:
    code = "import sys, tests.train.nas.toy; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
