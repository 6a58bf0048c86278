"""What a training says of its time, from a clock that the test holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import pytest

from compat_train.pace import Pace, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(steps: int, seconds: float, *, begun: int = 0, on_cpu: bool = True) -> tuple[list[str], Pace]:
    clock, said = Clock(), list[str]()

    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        said.append(stage)

    pace = Pace(steps, 32, clock)
    for step in range(begun + 1, steps + 1):
        clock.now += 50.0 if step == begun + 1 else seconds  # the first step loads and allocates
        pace.step(step)
        pace.announce("train", step, progress, on_cpu=on_cpu)
    return said, pace


def test_the_estimate_comes_once_after_the_first_steps_and_without_the_very_first() -> None:
    said, pace = told(1000, 0.5)
    assert said == ["train: about 8 minutes for 991 more steps of 32 images, 64 images a second."]
    assert pace.values == {"images/s": pytest.approx(64.0), "seconds left": 0.0}


def test_a_resumed_training_counts_its_own_steps() -> None:
    said, pace = told(1000, 1.0, begun=900)
    assert said == ["train: about 1 minutes for 91 more steps of 32 images, 32 images a second."] or said == [
        "train: about 2 minutes for 91 more steps of 32 images, 32 images a second."
    ]
    assert pace.values["images/s"] == pytest.approx(32.0)


def test_hours_on_a_cpu_are_warned_of_with_what_to_set_and_not_elsewhere() -> None:
    with pytest.warns(UserWarning, match=r"about 16\.7 hours on this CPU; --preset laptop .* lower --size"):
        said, _ = told(2400, 25.0)
    assert "2,399 more" not in said[0] and said[0].startswith("train: about 16.7 hours")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told(2400, 25.0, on_cpu=False)
        told(1000, 1.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (40, "40 seconds"), (720, "12 minutes"), (12600, "3.5 hours"), (2e6, "23.1 days")],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
