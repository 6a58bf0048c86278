"""Command lines of version 0.7 give the configurations that they gave then, so that its runs are continued."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compat_cli.app import main
from compat_train.config.parts import Classification
from compat_train.config.settings import config_to_json

GOLDEN = (Path(__file__).parents[1] / "golden" / "settings_0_7.jsonl").read_text().splitlines()
WORK = (
    "methods.gallery.train_gallery",
    "methods.query.train_query",
    "methods.side_info.train_side_info",
    "methods.upgrade.train_upgrade",
    "nas.cmp.run.search_query_models",
    "nas.global_nas.run.search_network",
)
LOSS = Classification(loss="arcface", margin=0.25, scale=30.0)  # of every RUN in the command lines


class Begun(BaseException):
    """A command has come to its work."""


@pytest.mark.parametrize("line", GOLDEN, ids=lambda line: json.loads(line)["command"])
def test_a_command_of_version_0_7_gives_the_configuration_that_it_gave(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def begin(config: Any, *_: object) -> None:
        found.append(config)
        raise Begun

    for name in WORK:
        monkeypatch.setattr(f"compat_train.{name}", begin)
    run = SimpleNamespace(classifier=(), classification=LOSS)
    monkeypatch.setattr("compat_train.adoption.opening.open_gallery_model", lambda _: run)
    golden = json.loads(line)
    with pytest.raises(Begun):
        main(shlex.split(golden["command"]))
    assert json.loads(json.dumps(config_to_json(found[0]))) == golden["config"]
