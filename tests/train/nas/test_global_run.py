"""A global search from end to end, interrupted and repeated, and what it refuses before any training."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compat_sdk.errors import CompatError, ConfigError, CorruptFileError, TrainingError
from compat_sdk.files.seal import sealed
from compat_sdk.images import Preprocessing
from compat_train.config.parts import Execution, Source
from compat_train.config.settings import config_from_mapping
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.models.global_space import Bounds
from compat_train.nas.global_nas.config import GlobalConfig
from compat_train.nas.global_nas.log import CandidateLog
from compat_train.nas.global_nas.prepare import prepare
from compat_train.nas.global_nas.result import relative_improvement
from compat_train.nas.global_nas.run import search_candidates, search_network
from compat_train.nas.global_nas.schedule import Schedule
from compat_train.readings import DivergedError
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.run_files import alone

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.train.nas.test_global_run import tiny
from compat_train.nas.global_nas.run import search_network
search_network(tiny({data!r}, random=1), {out!r}, lambda *a: print(a[0], flush=True))
"""


def tiny(data: str | Path, **changes: Any) -> GlobalConfig:
    """A search of seconds: depth 3 to 4, width 4 to 6."""
    settings: dict[str, Any] = {
        "source": Source(data=str(data)),
        "bounds": Bounds(min_depth=3, max_depth=4, min_width=4, max_width=6),
        "dim": 8,
        "preprocessing": Preprocessing(size=28),
        "macro_epochs": 1,
        "micro_epochs": 1,
        "final_epochs": 2,
        "optimisation": Schedule(batch=16, lr=0.1),
        "execution": Execution(device="cpu", threads=1, checkpoint_steps=2),
    }
    return GlobalConfig(**(settings | changes))


class Stop(BaseException):
    """Stands for whatever ends a process."""


def rows(folder: Path) -> list[dict[str, Any]]:
    """The log without what depends on the machine or on interruptions."""
    return [same_everywhere(json.loads(line)) for line in (folder / "candidates.jsonl").read_text().splitlines()[1:]]


def same_everywhere(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in found.items()
        if not name.endswith("_seconds") and name not in ("resumed", "digest")
    }


def result_of(folder: Path) -> dict[str, Any]:
    """The report without what depends on the machine or the folder."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    for network in (found["network"], *found["random"]):
        del network["run"]
    return same_everywhere(found)


def resumed(folder: Path) -> int:
    """How many candidates the report says were resumed."""
    count: int = json.loads((folder / "results.json").read_text())["resumed"]
    return count


@pytest.fixture(scope="module")
def finished(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one finished search by classification accuracy."""
    folder = tmp_path_factory.mktemp("global") / "run"
    search_network(tiny(clothes, random=1), folder)
    return folder


def test_a_search_ends_in_a_network_that_is_like_any_other(clothes: Path, finished: Path) -> None:
    result = search_network(tiny(clothes, random=1), finished)
    checkpoint = Checkpoint.load(finished / "network")
    assert checkpoint.arch == result.network.arch == result.found.member.name and checkpoint.role == "gallery"
    assert len(checkpoint.classes) == 4 and checkpoint.classification.loss == "norm-softmax"
    cost = count_cost(build_model(checkpoint.arch, dim=8), 28)
    assert result.network.mmacs == pytest.approx(cost.mmacs)
    assert result.network.parameters == round(1e6 * cost.params_m)
    assert 0 <= result.network.score <= 1 and len(result.random) == 1
    found = json.loads((finished / "results.json").read_text())
    assert (found["D"], found["W"]) == (result.found.member.depth, result.found.member.width)
    assert len(found["O"]) == len(found["K"]) == found["D"]
    evaluated = 2 * found["D"] + found["depth_evaluated"] + found["width_evaluated"]
    assert found["evaluated"] == evaluated == len(rows(finished)) - 1
    # Depths 3 and 4, widths 4 and 6, four kinds of layer.
    assert found["space_members"] == 4 ** found["D"] * 2 * 2
    assert found["settings"]["final_epochs"] == 2 and found["search_cpu_seconds"] > 0
    assert "judged on 4 training images that were held out" in result.table()
    assert "random 1" in result.table() and "relative improvement" in result.table()


def test_every_candidate_is_in_the_log_and_no_folder_of_one_is_left(finished: Path) -> None:
    log = rows(finished)
    assert [row["stage"] for row in log][:2] == ["depth", "depth"] and not list((finished / "candidates").iterdir())
    for row in log:
        cost = count_cost(build_model(row["arch"], dim=8), 28)
        assert row["parameters"] == round(1e6 * cost.params_m) and row["mmacs"] == pytest.approx(cost.mmacs)
        assert 0 <= row["score"] <= 1 and row["epochs"] >= 1 and row["decision"]


def test_candidates_that_diverge_score_0_and_the_log_says_why(clothes: Path, tmp_path: Path) -> None:
    settings = tiny(clothes, micro=False, optimisation=Schedule(batch=16, lr=1e30))
    log = CandidateLog(tmp_path / "candidates.jsonl", {})
    with pytest.raises(TrainingError, match="score above 0, up to 4 layers; the log says if their training failed"):
        search_candidates(settings, prepare(settings, tmp_path), log, tmp_path)
    assert [row["score"] for row in log.rows] == [0.0, 0.0]
    assert all("the loss is not finite" in row["failure"] for row in log.rows)


def test_a_random_member_that_diverges_is_left_out_and_named(
    clothes: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_train.nas.global_nas import run as run_module

    shutil.copytree(finished, tmp_path / "run")
    train = run_module.train_network

    def diverges(config: GlobalConfig, arch: str, epochs: int, run: Path, *rest: Any) -> Checkpoint:
        if run.name == "2":
            raise DivergedError("the loss is not finite at step 1")
        return train(config, arch, epochs, run, *rest)

    monkeypatch.setattr(run_module, "train_network", diverges)
    result = search_network(tiny(clothes, random=2), tmp_path / "run")
    assert len(result.random) == 1 and result.diverged == ("the loss is not finite at step 1",)
    assert "a random member is left out: the loss is not finite at step 1" in result.table()
    assert json.loads((tmp_path / "run" / "results.json").read_text())["random_diverged"] == list(result.diverged)


def test_a_warm_up_longer_than_an_epoch_is_searched_with(clothes: Path, tmp_path: Path) -> None:
    settings = tiny(
        clothes, micro=False, macro_epochs=3, final_epochs=3, optimisation=Schedule(batch=16, lr=0.1, warmup_epochs=2)
    )
    assert prepare(settings, tmp_path).dim == 8


def test_the_same_command_again_trains_nothing_and_more_random_members_keep_the_first(
    clothes: Path, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    stages: set[str] = set()

    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        stages.add(stage)

    again = search_network(tiny(clothes, random=1), tmp_path / "run", progress)
    assert not [stage for stage in stages if stage.startswith("train")]
    assert result_of(tmp_path / "run") == result_of(finished)
    more = search_network(tiny(clothes, random=2), tmp_path / "run", progress)
    assert "train random" in stages and "train candidate" not in stages and "train network" not in stages
    assert [network.arch for network in more.random[:1]] == [network.arch for network in again.random]


@pytest.mark.parametrize(("where", "calls"), [("train candidate", 17), ("train network", 2)])
def test_a_run_that_was_stopped_ends_like_an_undisturbed_one(
    clothes: Path, finished: Path, tmp_path: Path, where: str, calls: int
) -> None:
    seen = 0

    def stop(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal seen
        seen += stage == where
        if seen == calls:
            raise Stop

    with pytest.raises(Stop):
        search_network(tiny(clothes, random=1), tmp_path, stop)
    search_network(tiny(clothes, random=1, license="MIT"), tmp_path)  # which no candidate depends on
    found, expected = result_of(tmp_path), result_of(finished)
    assert found["settings"].pop("license") == "MIT" and expected["settings"].pop("license") == "unspecified"
    assert rows(tmp_path) == rows(finished) and found == expected
    assert resumed(tmp_path) == (where == "train candidate") and resumed(finished) == 0
    for run in ("network", "random/1"):
        weights = f"{run}/model.safetensors"
        assert (tmp_path / weights).read_bytes() == (finished / weights).read_bytes()


def test_a_search_that_another_process_is_at_is_left_to_it(clothes: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "out")
    before = {path: path.stat() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert tmp_path / "out/pixels/search.pixels" in before  # which the other process may have mapped
    with alone(tmp_path / "out" / "search.lock", "searching"):
        with pytest.raises(TrainingError, match=r"another process is searching in .*out; wait"):
            search_network(tiny(clothes, random=1), tmp_path / "out")
    for path, was in before.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (was.st_ino, was.st_mtime_ns), path
    search_network(tiny(clothes, random=1), tmp_path / "out")
    assert result_of(tmp_path / "out") == result_of(finished)


def test_a_run_that_is_stopped_between_a_training_and_its_line_trains_nothing_twice(
    clothes: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compat_train.nas.global_nas import log as log_module

    with monkeypatch.context() as patch:
        patch.setattr(log_module, "write_atomic", lambda *_: (_ for _ in ()).throw(Stop()))
        with pytest.raises(Stop):
            search_network(tiny(clothes, random=1), tmp_path)
    assert len(list((tmp_path / "candidates").iterdir())) == 1
    depths: list[float] = []

    def progress(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        if stage == "train candidate":
            depths.append(values["layers"])

    search_network(tiny(clothes, random=1), tmp_path, progress)
    assert 3.0 not in depths[:1] and rows(tmp_path) == rows(finished) and resumed(tmp_path) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_that_was_killed_ends_with_the_same_log_and_network(
    clothes: Path, finished: Path, tmp_path: Path
) -> None:
    root = str(Path(__file__).parents[3])
    script = SCRIPT.format(root=root, data=str(clothes), out=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        steps = 0
        while steps < 12:
            steps += process.stdout.readline().startswith("train candidate")
        os.kill(process.pid, signal.SIGKILL)
    assert rows(tmp_path) and not (tmp_path / "network").exists()
    search_network(tiny(clothes, random=1), tmp_path)
    assert rows(tmp_path) == rows(finished) and result_of(tmp_path) == result_of(finished)
    assert (tmp_path / "network/model.safetensors").read_bytes() == (
        finished / "network/model.safetensors"
    ).read_bytes()


def test_retrieval_on_a_validation_split_trains_on_all_images(identities: Path, tmp_path: Path) -> None:
    settings = tiny(identities, objective="retrieval", micro=False)
    prepared = prepare(settings, tmp_path)
    assert len(prepared.images.data.labels) == len(prepared.data.labels) == 48
    # 3 identities of 8 images: every second image is a query.
    assert len(prepared.images.queries) == len(prepared.images.gallery) == 12
    assert not set(prepared.images.query_labels) & set(prepared.data.classes)
    result = search_network(settings, tmp_path)
    assert result.network.evaluation is not None
    assert result.network.score == result.network.evaluation.query_query.cmc[1]


def test_r3_ends_in_a_query_model_within_the_limit(identities: Path, gallery_run: Path, tmp_path: Path) -> None:
    settings = tiny(
        identities, objective="r3", gallery=str(gallery_run), dim=None, preprocessing=None, mmacs=0.4, micro=False,
        random=1,
    )  # fmt: skip
    result = search_network(settings, tmp_path)
    gallery = Checkpoint.load(gallery_run)
    checkpoint = Checkpoint.load(tmp_path / "network")
    assert checkpoint.role == "query" and checkpoint.searches == (gallery.space,)
    assert checkpoint.dim == gallery.dim and checkpoint.preprocessing == gallery.preprocessing
    evaluation = result.network.evaluation
    assert evaluation is not None
    assert result.network.score == evaluation.query_query.cmc[1] * evaluation.query_gallery.cmc[1]
    assert all(row["mmacs"] <= 0.4 for row in rows(tmp_path) if row["score"] is not None)
    assert all(network.mmacs <= 0.4 for network in (result.network, *result.random))
    line = next(line for line in result.table().splitlines() if line.startswith("found"))
    assert f"{100 * evaluation.query_gallery.cmc[1]:.2f}" in line
    assert line.endswith("holds" if evaluation.compatible else "does not hold")
    with pytest.raises(TrainingError, match=rf"the network that was found is in {re.escape(str(tmp_path))}.network"):
        Checkpoint.load(tmp_path)


def test_r3_takes_another_loss_than_the_gallerys_without_its_margin(gallery_run: Path) -> None:
    told = {"loss": "norm-softmax"}
    values = {"source": {"data": "sample"}, "objective": "r3", "gallery": str(gallery_run), "classification": told}
    laid = {"classification": Checkpoint.load(gallery_run).classification.under(told)}
    found = config_from_mapping(GlobalConfig, values, defaults=laid).classification
    assert found is not None and (found.loss, found.margin) == ("norm-softmax", 0.0)


def test_residual_networks_are_searched_likewise(clothes: Path, tmp_path: Path) -> None:
    # Width 16, of which holding the parameters leaves more than 8: see RESIDUAL in test_global_networks.
    bounds = Bounds(kind="residual", stages=2, min_depth=4, max_depth=4, min_width=16, max_width=16)
    result = search_network(tiny(clothes, bounds=bounds, final_epochs=1), tmp_path)
    assert result.network.arch.startswith("global:residual,stages=2:")
    assert [row["stage"] for row in rows(tmp_path)] == ["depth", "baseline", *["operation"] * 4, *["kernel"] * 4]
    assert min(step.member.width for step in result.found.steps) >= 8
    cost = count_cost(Checkpoint.load(tmp_path / "network").build(), 28)
    assert result.network.parameters == round(1e6 * cost.params_m)


def test_relative_improvement_is_the_papers() -> None:
    assert relative_improvement(0.96, [0.95, 0.93]) == pytest.approx(100 * 0.02 / 0.94)
    assert relative_improvement(0.5, [0.0]) is None


def refusal(config: GlobalConfig, out: Path) -> str:
    def no_training(stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        assert not stage.startswith("train")

    with pytest.raises(CompatError) as caught:
        search_network(config, out, no_training)
    assert not (out / "candidates").exists() and not (out / "candidates.jsonl").exists()
    return str(caught.value)


def test_data_that_cannot_serve_are_refused_before_any_training(
    clothes: Path, identities: Path, gallery_run: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    for split in ("train", "query", "gallery"):
        shutil.copytree(sorted((clothes / split).iterdir())[0], one / split / "only")
    assert "has 1 class" in refusal(tiny(one), tmp_path / "out")
    bad = tmp_path / "bad"
    shutil.copytree(clothes, bad)
    for split in ("train", "query"):
        broken = next((bad / split).rglob("*.png"))
        broken.write_bytes(broken.read_bytes()[:40])
        said = refusal(tiny(bad), tmp_path / "out")
        assert f"1 of {48 if split == 'train' else 16} images of {split} cannot be read" in said
        shutil.copy(clothes / broken.relative_to(bad), broken)
    few = tmp_path / "few"
    shutil.copytree(clothes, few)
    for image in sorted(next((few / "train").iterdir()).iterdir())[1:]:
        image.unlink()
    assert "has 1 training images, and 1 of them would be held out" in refusal(tiny(few), tmp_path / "out")
    shutil.rmtree(few / "query")
    assert "no images in its split 'query'" in refusal(tiny(few), tmp_path / "out")
    assert "choose objective 'retrieval'" in refusal(tiny(identities), tmp_path / "out")
    for objective in ("retrieval", "r3"):
        damaged = tmp_path / f"damaged-{objective}"
        shutil.copytree(identities, damaged)
        broken = next((damaged / "gallery").rglob("*.png"))
        broken.write_bytes(broken.read_bytes()[:40])
        changes: dict[str, Any] = {"objective": objective}
        if objective == "r3":
            changes |= {"gallery": str(gallery_run), "dim": None, "preprocessing": None}
        assert "images of gallery cannot be read" in refusal(tiny(damaged, **changes), tmp_path / "out")
        shutil.copy(identities / broken.relative_to(damaged), broken)
        for folder in (damaged / "query").iterdir():
            folder.rename(folder.with_name(f"other-{folder.name}"))
        said = refusal(tiny(damaged, **changes), tmp_path / "out")
        assert "has an image of its label in the split 'gallery'" in said
    against = tiny(clothes, objective="r3", gallery=str(gallery_run), dim=None, preprocessing=None)
    assert "move some identities from train/ to val/" in refusal(against, tmp_path / "out")
    said = refusal(tiny(identities, objective="retrieval", held_out=0.2), tmp_path / "out")
    assert "has a split 'val', which judges the candidates" in said
    assert "expected a RUN" in refusal(replace(against, gallery=str(tmp_path / "few")), tmp_path / "out")


def test_a_batch_of_more_images_than_teach_is_refused(clothes: Path, tmp_path: Path) -> None:
    said = refusal(tiny(clothes, optimisation=Schedule(batch=45)), tmp_path / "out")
    assert "batch is 45, but candidates have 44 training images (48 less those held out to judge them)" in said


def test_an_impossible_limit_is_refused_with_what_is_possible(clothes: Path, tmp_path: Path) -> None:
    said = refusal(tiny(clothes, mmacs=0.01), tmp_path / "out")
    assert "0.01 MMACs is out of reach: 3 layers of width 4 take" in said and "at 28 pixels" in said


def test_a_limit_that_no_random_member_meets_is_refused(clothes: Path, tmp_path: Path) -> None:
    bounds = Bounds(min_depth=3, max_depth=40, min_width=4, max_width=128, width_step=1)
    said = refusal(tiny(clothes, bounds=bounds, mmacs=0.28, random=1), tmp_path / "out")
    assert "0 of 1000 random members keep within the limits (0.28 MMACs)" in said


def test_a_folder_of_another_search_or_a_changed_log_is_refused(clothes: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(TrainingError, match="other settings: macro_epochs was 1 and is now 2"):
        search_network(tiny(clothes, random=1, macro_epochs=2), tmp_path / "run")
    # What is trained after the search is another model, and the search is still the same.
    with pytest.raises(TrainingError, match=r"network already holds .* optimisation.epochs was 2 and is now 3"):
        search_network(tiny(clothes, random=1, final_epochs=3), tmp_path / "run")
    for same in ({"final_width": "micro"}, {"license": "MIT"}):
        shutil.rmtree(tmp_path / "run" / "network")
        shutil.rmtree(tmp_path / "run" / "random")
        search_network(tiny(clothes, random=1, **same), tmp_path / "run")
        assert rows(tmp_path / "run") == rows(finished)
    with pytest.raises(ConfigError, match=r"holds data\.json, which this search does not write \(a RUN folder"):
        search_network(tiny(clothes), tmp_path / "run" / "network")
    log = tmp_path / "run" / "candidates.jsonl"
    log.rename(tmp_path / "log")
    says = r"has network, random, results.json of another run or search, and no candidates\.jsonl"
    with pytest.raises(ConfigError, match=says):
        search_network(tiny(clothes, random=1), tmp_path / "run")
    (tmp_path / "log").rename(log)
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines[:2], *lines[3:]]))
    with pytest.raises(CorruptFileError, match=r"line 3 of .* where the search comes to"):
        search_network(tiny(clothes, random=1), tmp_path / "run")
    log.write_text("".join(lines).replace('"epochs": ', '"epochs": 1', 1))
    with pytest.raises(CorruptFileError, match="was changed after it was written"):
        search_network(tiny(clothes, random=1), tmp_path / "run")
    for text, says in (
        ("".join(lines[1:]), "has no header"),
        ("", "has no header"),
        ("".join(lines)[:-20], "is not valid JSON"),
        (lines[0] + "{}\n", "was changed after it was written"),
        (lines[0] + json.dumps(sealed({})) + "\n", "is no step of a search"),
    ):
        log.write_text(text)
        with pytest.raises(CorruptFileError, match=says):
            search_network(tiny(clothes, random=1), tmp_path / "run")
