"""A transform that learns from stored vectors alone, and what is said of it at the end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compat_sdk.errors import ConfigError, CorruptFileError, DataError, TrainingError, VectorError
from compat_sdk.gallery import Gallery
from compat_sdk.space import Embeddings
from compat_train.config.parts import Execution, Optimisation
from compat_train.config.upgrade import UpgradeConfig
from compat_train.data.pairs import read_pairs
from compat_train.evaluation.verdict import judge, read_verdict
from compat_train.methods.ridge import ridge_regression
from compat_train.methods.ridge_transform import least_width, start_as
from compat_train.methods.upgrade import train_upgrade
from compat_train.models.transform import ForwardAdaptation, ForwardTransform
from compat_train.runs.transform_run import TransformRun

OLD, NEW, SIDE = "old-6-aaaaaaaaaaaa", "new-8-bbbbbbbbbbbb", "side-4-cccccccccccc"
FEW = Optimisation(epochs=3, batch=64, lr=1e-3, optimiser="adam", warmup_epochs=0.5)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def tables(count: int = 400, labels: int = 40) -> dict[str, tuple[np.ndarray, str]]:
    """What three models make of the same things: the old one sees less of them than the new one."""
    rng = np.random.default_rng(0)
    things = rng.normal(size=(labels, 8))[np.arange(count) % labels] + 0.2 * rng.normal(size=(count, 8))
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    return {
        "old": (unit(things[:, :6] + 0.5 * rng.normal(size=(count, 6))), OLD),
        "new": (unit(things @ turn), NEW),
        "side": (unit(things[:, 4:] + 0.1 * rng.normal(size=(count, 4))), SIDE),
    }


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Two files of vectors and a gallery, in three orders, with ids that not all of them have."""
    rng = np.random.default_rng(1)
    for name, (vectors, space) in tables().items():
        order = rng.permutation(len(vectors))
        ids = [f"p{row}" for row in order] + [f"only in {name}"]
        rows = np.concatenate([vectors[order], vectors[:1]])
        if name == "new":
            gallery = Gallery.create(tmp_path / name, space=space, dim=rows.shape[1])
            gallery.add(Embeddings(rows, space), ids, [f"thing {row % 40}" for row in order] + [""])
        else:
            np.savez(tmp_path / f"{name}.npz", ids=np.array(ids), vectors=rows, space=np.array(space))
    return tmp_path


def config(stored: Path, **values: object) -> UpgradeConfig:
    told: dict[str, object] = {"old": str(stored / "old.npz"), "new": str(stored / "new"), "optimisation": FEW}
    return UpgradeConfig(**(told | {"execution": Execution(device="cpu")} | values))  # type: ignore[arg-type]


# ---- reading


def test_vectors_of_the_same_id_stand_in_one_row(stored: Path) -> None:
    pairs = read_pairs(str(stored / "old.npz"), str(stored / "new"), str(stored / "side.npz"))
    assert len(pairs) == 400 and pairs.unmatched == 3 and pairs.inputs.shape == (400, 10)
    wanted = tables()
    rows = [int(id[1:]) for id in pairs.ids]
    for found, name in ((pairs.old, "old"), (pairs.new, "new"), (pairs.side, "side")):
        np.testing.assert_allclose(found, wanted[name][0][rows], atol=1e-6)
    assert pairs.labels == tuple(f"thing {row % 40}" for row in rows)
    spaces = pairs.spaces
    assert (spaces.old_space, spaces.side_space, spaces.space) == (OLD, SIDE, NEW)


def test_the_parts_share_no_row_and_no_label(stored: Path) -> None:
    pairs = read_pairs(str(stored / "old.npz"), str(stored / "new"))
    parts = pairs.parts(0.2, seed=3)
    every = [set(part.tolist()) for part in (parts.learn, parts.stop, parts.judge)]
    assert len(set.union(*every)) == sum(map(len, every)) == 400 and all(len(part) >= 30 for part in every)
    seen = [{pairs.labels[row] for row in part} for part in every]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
    for one, other in zip(every, (again := pairs.parts(0.2, seed=3)).__dict__.values(), strict=True):
        assert one == set(other.tolist())
    assert set(again.judge.tolist()) != set(pairs.parts(0.2, seed=4).judge.tolist())


def test_few_labels_are_divided_by_rows(stored: Path) -> None:
    pairs = replace(read_pairs(str(stored / "old.npz"), str(stored / "new")), labels=("a", "b") * 200)
    parts = pairs.parts(0.1, seed=0)
    assert (len(parts.learn), len(parts.stop), len(parts.judge)) == (360, 20, 20)


def test_what_cannot_be_matched_is_refused(stored: Path) -> None:
    old, new = str(stored / "old.npz"), str(stored / "new")
    with pytest.raises(ConfigError, match="of one space"):
        read_pairs(old, old)
    with pytest.raises(ConfigError, match=r"old_space is other-6-dddddddddddd, but .* names old-6"):
        read_pairs(old, new, spaces=("other-6-dddddddddddd", None, None))
    nameless = stored / "nameless.npz"
    np.savez(nameless, ids=np.array([f"q{row}" for row in range(60)]), vectors=tables()["old"][0][:60])
    with pytest.raises(ConfigError, match="names no space; give the name of the model that wrote it as old_space"):
        read_pairs(str(nameless), new)
    with pytest.raises(DataError, match=r"0 ids stand in all of old, new, expected at least 50; the first ids: old"):
        read_pairs(str(nameless), new, spaces=(OLD, None, None))
    bad = tables()["old"][0].copy()
    bad[7] = 0
    np.savez(nameless, ids=np.array([f"p{row}" for row in range(400)]), vectors=bad, space=np.array(OLD))
    with pytest.raises(VectorError, match="vectors of old have no direction"):
        read_pairs(str(nameless), new)
    (stored / "model").mkdir()
    (stored / "model" / "model.json").write_text("{}")
    with pytest.raises(ConfigError, match="no images are given that it could embed; pass --data"):
        read_pairs(str(stored / "model"), new)


# ---- the start


@pytest.mark.parametrize("case", ["fct", "fct with side", "dmu"])
@pytest.mark.parametrize("spare", [0, 7])
def test_a_transform_begins_as_ridge_regression(case: str, spare: int) -> None:
    torch.manual_seed(0)
    found = {name: torch.from_numpy(vectors) for name, (vectors, _) in tables(200).items()}
    old, side, new = found["old"], found["side"] if "side" in case else None, found["new"]
    inputs = old if side is None else torch.cat([old, side], 1)
    ridge = ridge_regression(inputs, new)
    width = least_width(case[:3], 6, 8) + spare
    if case == "dmu":
        transform: torch.nn.Module = ForwardAdaptation(old=6, new=8, hidden=width)
    else:
        transform = ForwardTransform(old=6, side=None if side is None else 4, new=8, hidden=width)
    start_as(ridge, transform, old, side)
    expected = inputs.double() @ ridge.weight.T + ridge.bias
    for mode in (False, True):  # the statistics of all rows are those of the batch
        transform.train(mode)
        with torch.no_grad():
            given = transform(old) if side is None else transform(old, side)
        torch.testing.assert_close(given, expected.float(), atol=2e-4, rtol=1e-3)
    transform.train()
    (transform(old) if side is None else transform(old, side)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in transform.parameters())


# ---- training


@pytest.mark.parametrize("method", ["fct", "dmu"])
def test_a_transform_of_stored_vectors_is_a_run_with_a_verdict(stored: Path, method: str) -> None:
    side = {"side": str(stored / "side.npz")} if method == "fct" else {}
    told = config(stored, method=method, **side)
    done = train_upgrade(told, stored / "h")
    again = TransformRun.load(stored / "h")
    assert (again.spaces.old_space, again.spaces.space, again.hidden) == (OLD, NEW, 40)
    verdict = read_verdict(stored / "h")
    assert verdict is not None and verdict.by == "labels" and verdict.word in ("better", "equal", "worse")
    assert verdict.cosine > 0.5 and verdict.new_new >= verdict.old_old
    assert not (stored / "h" / "state").exists() or not list((stored / "h" / "state").glob("step-*"))
    assert train_upgrade(told, stored / "h").state.keys() == done.state.keys()
    with pytest.raises(TrainingError, match="other settings"):
        train_upgrade(replace(told, l2=0.5), stored / "h")


def test_what_is_kept_is_never_farther_from_held_out_vectors_than_ridge(stored: Path) -> None:
    """A rate that ruins every weight: what is left is the start."""
    wild = replace(FEW, lr=30.0, warmup_epochs=0.0)
    done = train_upgrade(config(stored, optimisation=wild), stored / "h")
    pairs = read_pairs(str(stored / "old.npz"), str(stored / "new"))
    parts = pairs.parts(0.2, seed=0)
    learn, judged = (torch.from_numpy(pairs.old[rows]) for rows in (parts.learn, parts.judge))
    ridge = ridge_regression(learn, torch.from_numpy(pairs.new[parts.learn]))
    with torch.no_grad():
        given = done.build()(judged)
    torch.testing.assert_close(given, (judged.double() @ ridge.weight.T + ridge.bias).float(), atol=1e-3, rtol=1e-2)
    verdict = read_verdict(stored / "h")
    assert verdict is not None and verdict.over_ridge[1] <= 0 <= verdict.over_ridge[2]


def test_a_training_that_comes_no_closer_ends_early(stored: Path) -> None:
    steps: list[int] = []
    still = Optimisation(epochs=400, batch=300, lr=1e-9, optimiser="adam")
    train_upgrade(config(stored, optimisation=still), stored / "h", lambda _, done, total, __: steps.append(done))
    assert max(steps) < 200


def test_a_resumed_training_gives_the_same_weights(stored: Path) -> None:
    once = replace(Execution(device="cpu"), checkpoint_steps=3)
    whole = train_upgrade(config(stored, execution=once), stored / "whole")

    def stop(_: str, done: int, __: int, ___: object) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_upgrade(config(stored, execution=once), stored / "again", stop)
    again = train_upgrade(config(stored, execution=once), stored / "again")
    assert all(torch.equal(value, again.state[name]) for name, value in whole.state.items())
    assert read_verdict(stored / "whole") == read_verdict(stored / "again")


def test_other_vectors_do_not_continue_a_run(stored: Path) -> None:
    train_upgrade(config(stored), stored / "h")
    vectors, space = tables()["old"]
    ids = np.array([f"p{row}" for row in range(len(vectors))])
    np.savez(stored / "old.npz", ids=ids, vectors=vectors[::-1], space=np.array(space))
    with pytest.raises(TrainingError):
        train_upgrade(config(stored), stored / "h")


def test_width_and_decay_follow_the_number_of_pairs(stored: Path) -> None:
    done = train_upgrade(config(stored, optimisation=None, execution=Execution(device="cpu")), stored / "h")
    schedule = done.config["optimisation"]
    assert done.hidden == 40 and schedule["batch"] < 64
    assert schedule["weight_decay"] == pytest.approx(32 * 2**-15)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"side_info": "runs/side"}, "side_info means nothing where the transform learns from stored vectors"),
        ({"arc": 1.0}, "arc means nothing"),
        ({"through": ("runs/h",)}, "through means nothing"),
        ({"method": "dmu", "side": "side.npz", "regression": 1.0}, "method 'dmu' adapts the old embedding alone"),
        ({"side_space": SIDE}, "side_space is set, but side is not"),
        ({"held_out": 0.9}, "held_out"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        UpgradeConfig(old="old.npz", new="new.npz", **values)  # type: ignore[arg-type]


def test_settings_of_vectors_are_refused_beside_images() -> None:
    from compat_train.config.parts import Source

    with pytest.raises(ConfigError, match="side means nothing where the transform learns from images"):
        UpgradeConfig(source=Source(data="x"), old="a", new="b", side="side.npz")


# ---- the verdict


def test_the_verdict_names_better_equal_and_worse() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, 16))
    labels = [str(row % 30) for row in range(300)]
    good = unit(centres[np.arange(300) % 30] + 0.05 * rng.normal(size=(300, 16)))
    bad = unit(rng.normal(size=(300, 16)))
    assert judge(bad, good, good, bad, labels).word == "better"
    assert judge(good, good, bad, good, labels).word == "worse"
    equal = judge(good, good, good, good, labels)
    assert equal.word == "equal" and (equal.low, equal.difference, equal.high) == (0, 0, 0)
    assert "h finds as much as ridge regression" in equal.lines()[1]
    assert judge(bad, good, good, bad, labels).over_ridge[1] > 0


def test_a_hit_by_hand() -> None:
    """Four rows of two labels: the old model mixes them up, the new one does not, h gets half of them right."""
    eye = np.eye(4, dtype=np.float32)
    old = unit(np.array([eye[0], eye[1], eye[0] + 0.1 * eye[1], eye[1] + 0.1 * eye[0]]))
    new = unit(np.array([eye[0], eye[0] + 0.1 * eye[1], eye[2], eye[2] + 0.1 * eye[3]]))
    halfway = np.array([new[0], new[1], -new[2], new[3]])
    found = judge(old, new, halfway, new, ["a", "a", "b", "b"])
    assert (found.old_old, found.new_new, found.new_ridge, found.new_h) == (0, 1, 1, 0.75)
    assert found.difference == 0.75 and found.queries == found.rows == 4


def test_without_labels_the_new_models_neighbours_are_right() -> None:
    rng = np.random.default_rng(1)
    new, old = unit(rng.normal(size=(80, 8))), unit(rng.normal(size=(80, 8)))
    found = judge(old, new, new, new, [""] * 80)
    assert found.by == "neighbours" and found.new_new == found.new_h == 1 and found.word == "better"


def test_no_second_row_of_a_label_gives_no_verdict() -> None:
    rows = unit(np.random.default_rng(2).normal(size=(9, 4)))
    found = judge(rows, rows, rows, rows, [str(row) for row in range(9)])
    assert found.word == "unknown" and "unknown" in found.lines()[0]


def test_a_damaged_verdict_is_named(tmp_path: Path) -> None:
    assert read_verdict(tmp_path) is None
    for content in ("{", "{}", '{"over_ridge": 3}'):
        (tmp_path / "verdict.json").write_text(content)
        with pytest.raises(CorruptFileError, match="verdict"):
            read_verdict(tmp_path)


def test_the_command_ends_with_the_verdict(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.cli.test_cli import run

    words = ("train", "upgrade", "--old", stored / "old.npz", "--new", stored / "new", "--side", stored / "side.npz")
    few = ("--epochs", "2", "--batch", "64", "--device", "cpu")
    code, out, err = run(capsys, *words, *few, "--out", stored / "h")
    assert code == 0, err
    assert out.strip().splitlines()[-1].startswith("verdict: ")
    code, out, _ = run(capsys, *words, *few, "--out", stored / "h", "--json")
    assert code == 0 and json.loads(out)["verdict"]["by"] == "labels"
    code, _, err = run(capsys, "train", "upgrade", "--old", stored / "old.npz", "--new", stored / "new", "--out",
                       stored / "other", "--set", "side_info=runs/side")  # fmt: skip
    assert code == 2 and "side_info" in err
