"""Commands that are started several times at once."""

from __future__ import annotations

import pytest

from compat_cli import console
from compat_cli.app import main
from compat_cli.several import check_launch
from compat_sdk.errors import ConfigError


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(console, "_quiet", False)


@pytest.mark.parametrize("command", [["doctor"], ["index", "info", "g"], ["evaluate", "d", "--query", "q"]])
def test_what_each_process_would_do_again_is_refused(
    command: list[str], second_of_two: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(command)
    assert leaving.value.code == 2
    err = capfd.readouterr().err
    assert f"error: compat-sdk {command[0]} runs in one process, and 2 were started; start it without torchrun" in err


@pytest.mark.parametrize("command", ["train", "nas", "run"])
def test_a_process_that_does_not_lead_prints_no_answer_and_no_progress(
    command: str, second_of_two: None, capfd: pytest.CaptureFixture[str]
) -> None:
    check_launch(command)
    with console.working() as progress:
        progress("train", 1, 1, {})
    console.report({"done": 1}, "done", as_json=False)
    console.report({"done": 1}, "done", as_json=True)
    assert capfd.readouterr() == ("", "")
    console.note("error: told")  # what goes wrong is told by each
    assert capfd.readouterr().err == "error: told\n"


def test_the_leader_speaks(
    second_of_two: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    check_launch("train")
    console.report({}, "done", as_json=False)
    assert capfd.readouterr().out == "done\n"


def test_a_spoilt_launch_is_refused_before_any_work(second_of_two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "x")
    with pytest.raises(ConfigError, match="RANK is 'x'"):
        check_launch("train")
