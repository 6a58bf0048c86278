"""The command line on the bare runtime: no torch, no engine."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import compat_sdk
from compat_cli import console, extras, pictures
from compat_cli.app import app, main
from compat_cli.commands import doctor
from compat_sdk.bundle import Bundle
from compat_sdk.errors import CheckFailedError, ConfigError, DataError, ImageError
from compat_sdk.gallery import Gallery
from compat_sdk.images import Preprocessing, decode_many
from compat_sdk.install import install_command
from compat_sdk.space import Embeddings
from tests.sdk.bundles import make_bundle


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    code = leaving.value.code
    assert isinstance(code, int) or code is None
    return code or 0, out, err


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    path = tmp_path / "gallery"
    vectors = np.eye(4, 8, dtype=np.float32)
    Gallery.create(path, space="toy-8", dim=8).add(
        Embeddings(vectors, space="toy-8"), ["a", "b", "c", "d"], ["x", "x", "y", "y"]
    )
    return path


def loaded_by(*arguments: str) -> set[str]:
    """Top-level modules that a fresh process holds after running the command line."""
    code = (
        "import sys\nfrom compat_cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write('\\n'.join({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_version_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"compat-sdk {compat_sdk.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "query", "--help"],
        ["nas", "cmp", "--help"],
        ["nas", "global", "--help"],
        ["settings", "train", "upgrade"],
        ["settings", "nas", "cmp", "--toml"],
        ["quickstart", "--help"],
        ["upgrade", "run", "--help"],
    ],
)
def test_help_loads_neither_torch_nor_an_engine_nor_numpy(arguments: list[str]) -> None:
    loaded = loaded_by(*arguments)
    assert "typer" in loaded
    assert not loaded & {"torch", "onnxruntime", "onnx", "usearch", "matplotlib", "rich", "numpy"}


def test_the_check_of_loaded_modules_can_fail() -> None:
    assert "numpy" in loaded_by("data", "info", "sample", "--no-decode")


def test_every_command_of_the_interface_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    named = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert named == {
        "quickstart", "doctor", "data", "adopt", "train", "evaluate", "export", "bundle", "index", "search", "profile",
        "nas", "run", "settings", "upgrade", "archs", "app", "serve", "gallery",
    }  # fmt: skip
    for group, words in {"data": ["info", "split", "build"], "train": ["gallery", "query", "side-info", "upgrade"],
                         "index": ["build", "add", "approximate", "remove", "info", "verify", "repair"],
                         "upgrade": ["plan", "run", "status", "verify", "canary", "cutover", "follow", "backfill",
                                     "rollback", "discard"],
                         "bundle": ["info", "verify"], "nas": ["cmp", "global"]}.items():  # fmt: skip
        code, out, _ = run(capsys, group, "--help")
        assert code == 0
        assert all(word in out for word in words)


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "data", "info", "sample", "--nonsense")
    assert (code, out) == (2, "")
    assert "nonsense" in err


def test_an_error_of_ours_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "data", "info", "no-such-data", "--json")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "no-such-data" in err


def test_an_error_of_the_system_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", *where)

    where: list[str] = []
    monkeypatch.setattr(doctor, "examine", full)
    assert run(capsys, "doctor") == (1, "", "error: [Errno 28] No space left on device\n")
    where.append("a.gallery")
    assert run(capsys, "doctor") == (1, "", "error: cannot use a.gallery: No space left on device\n")


def test_a_check_that_fails_is_exit_code_3(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise CheckFailedError("found 1, expected 2")

    monkeypatch.setattr(doctor, "examine", fail)
    assert run(capsys, "doctor") == (3, "", "error: found 1, expected 2\n")


def test_an_interrupt_is_exit_code_130_and_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupt)
    code, out, err = run(capsys, "doctor")
    assert (code, out) == (130, "")
    assert "same command" in err


def test_doctor_names_every_extra_and_package(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["packages"]["numpy"]["installed"] == np.__version__
    assert set(facts["extras"]) == set(extras.EXTRAS)
    assert all(found["works"] == (found["problem"] is None) for found in facts["extras"].values())
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert all(package in out for package in doctor.TESTED)


def test_doctor_says_why_an_extra_does_not_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"train": ("train models", ("no_such_engine",))})
    _, out, _ = run(capsys, "doctor")
    assert "missing  train (train models): no_such_engine is not installed; " + install_command("train") in out


def test_doctors_tested_versions_are_those_of_the_constraints() -> None:
    constraints = Path(__file__).parents[2] / "constraints.txt"
    if not constraints.is_file():
        pytest.skip("not a checkout")
    pinned = dict(line.split("==") for line in constraints.read_text().splitlines() if "==" in line)
    assert {name: pinned[name] for name in doctor.TESTED} == doctor.TESTED


def test_data_info_counts_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "data", "info", "sample", "--no-decode", "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert {name: split["images"] for name, split in facts["splits"].items()} == {
        "train": 6000, "query": 1000, "gallery": 3000,
    }  # fmt: skip
    code, out, _ = run(capsys, "data", "info", "sample", "--no-decode")
    assert "6000" in out


def test_data_that_cannot_be_used_is_exit_code_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for split in ("train", "query", "gallery"):
        for label in ("cat", "dog"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("L", (8, 8), 40 * number).save(folder / f"{number}.png")
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"not an image")
    code, out, err = run(capsys, "data", "info", tmp_path)
    assert code == 3
    assert "1.png" in out
    assert err.startswith("error: ")


def test_a_galleries_rows_can_be_listed_and_removed(capsys: pytest.CaptureFixture[str], gallery: Path) -> None:
    code, out, _ = run(capsys, "index", "info", gallery, "--json")
    assert code == 0
    assert json.loads(out)["space"] == "toy-8"
    code, out, _ = run(capsys, "index", "remove", gallery, "a", "d", "--compact", "--json")
    assert code == 0
    assert json.loads(out) == {"removed": 2, "rows": 2}
    assert sorted(Gallery.open(gallery).ids) == ["b", "c"]


def test_a_sound_gallery_is_verified_and_a_damaged_one_is_exit_code_3(
    capsys: pytest.CaptureFixture[str], gallery: Path
) -> None:
    code, out, _ = run(capsys, "index", "verify", gallery, "--json")
    assert (code, json.loads(out)["problems"]) == (0, [])
    vectors = next(gallery.rglob("*.npy"))
    data = bytearray(vectors.read_bytes())
    data[-1] ^= 1
    vectors.write_bytes(bytes(data))
    code, out, err = run(capsys, "index", "verify", gallery, "--json")
    assert code == 3
    assert json.loads(out)["problems"]
    assert err.startswith("error: ")


def test_an_unknown_target_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "export", "run", "--target", "tensorrt", "--out", "bundle")
    assert code == 2
    assert "found target 'tensorrt'; expected some of onnx, tflite, coreml, executorch, or all" in err


def test_a_gallery_to_compare_with_needs_data(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "export", "run", "--gallery", "g", "--out", "bundle")
    assert code == 2 and "--gallery needs --data" in err


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("train", "gallery", "--data", "sample", "--out", "run"), "train"),
        (("train", "query", "--data", "sample", "--gallery", "g", "--out", "run"), "train"),
        (("evaluate", "--data", "sample", "--query", "q", "--gallery", "g"), "train"),
        (("export", "run", "--target", "onnx", "--out", "bundle"), "export-onnx"),
        (("profile", "resnet18"), "export-onnx"),
        (("quickstart", "--out", "story"), "quickstart"),
    ],
)
def test_a_command_without_its_packages_names_the_extra(
    command: tuple[str, ...],
    extra: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    code, _, err = run(capsys, *command)
    assert code == 1
    assert install_command(extra) in err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_model_is_refused(capsys: pytest.CaptureFixture[str], gallery: Path) -> None:
    code, _, err = run(capsys, "search", gallery, gallery, "--model", gallery)
    assert code == 1
    code, _, err = run(capsys, "search", gallery, __file__, "--model", gallery)
    assert code == 2
    assert "is a gallery" in err
    code, _, err = run(capsys, "search", gallery, __file__, "--model", Path(__file__).parent)
    assert code == 2
    assert "neither a bundle" in err


def test_a_bundle_that_is_a_zip_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(tmp_path / "model.zip")
    monkeypatch.setattr("compat_sdk.embedder.open_graph", lambda *_: None)
    monkeypatch.setattr("compat_sdk.embedder.choose_graph", lambda *_: None)
    assert pictures.open_model(tmp_path / "model.zip").space == Bundle.open(tmp_path / "model.zip").manifest.space


def test_a_folder_of_photos_gives_relative_ids_and_parent_labels(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a/x/1.jpg", "top.webp", "notes.txt", ".hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = pictures.from_folder(tmp_path)
    assert found.ids == ("a/x/1.jpg", "b/2.PNG", "top.webp")
    assert found.labels == ("x", "b", "")


def test_images_and_data_are_not_given_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        pictures.chosen("sample", tmp_path, None, "gallery")
    with pytest.raises(ConfigError, match="exactly one"):
        pictures.chosen(None, None, None, "gallery")
    with pytest.raises(DataError, match="holds no images"):
        pictures.chosen(None, tmp_path, None, "gallery")


class Fake:
    """A model that reads its images and gives each the same vector."""

    name, space, dim, preprocessing = "fake", "toy-8", 8, Preprocessing(size=8)
    stored = None

    def embed(self, images: Sequence[object]) -> Embeddings:
        count = len(decode_many(images, self.preprocessing))  # type: ignore[arg-type]
        return Embeddings(np.tile(np.eye(1, 8, dtype=np.float32), (count, 1)), "toy-8")


def test_unreadable_photos_are_named_and_left_out_only_when_asked_for(tmp_path: Path) -> None:
    for number in range(5):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    found = pictures.from_folder(tmp_path)
    with pytest.raises(ImageError, match=r"3\.png"):
        list(pictures.embed_in_chunks(Fake(), found, chunk=2))
    parts = list(pictures.embed_in_chunks(Fake(), found, chunk=2, skip_unreadable=True))
    assert [part.ids for part, _, _ in parts] == [("0.png", "1.png"), ("2.png",), ("4.png",)]
    assert next(str(error) for _, _, errors in parts for error in errors).startswith("cannot read image")


def test_tables_are_aligned_and_never_wrapped() -> None:
    text = console.table(["model", "ms"], [["a" * 200, "1"], ["b", "12.5"]])
    assert text.splitlines() == [f"{'model':200}    ms", f"{'a' * 200}     1", f"{'b':200}  12.5"]


def test_what_a_library_prints_while_working_does_not_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with console.working():
        print("noise")  # noqa: T201
    console.print_json({"a": [1]})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": [1]}
    assert err == "noise\n"


def test_progress_off_a_terminal_is_one_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with console.working() as progress:
        for done in range(1, 101):
            progress("train", done, 100, {"loss": 1 / done})
        for done in range(3):  # the same stage once more, for another model
            progress("train", done, 2, {})
    assert capsys.readouterr().err == "train: 100/100 loss 0.01\ntrain: 2/2\n"


def test_progress_on_a_terminal_is_a_bar_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.working() as progress:
        for done in (0, 1, 2, 0, 2):
            progress("train [bct]", done, 2, {"loss": 0.5})
    out, err = capsys.readouterr()
    assert out == ""
    assert "train [bct]" in err and "2/2" in err and "loss 0.5" in err


def test_a_warning_of_ours_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        console.show_warnings()
        warnings.warn_explicit("2 images were left out", UserWarning, "compat_train/data/pixels.py", 1)
    assert capsys.readouterr().err == "warning: 2 images were left out\n"


def test_figures_that_json_cannot_hold_are_an_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        console.print_json({"a": float("nan")})
