"""What the documents tell a reader to type is typed: every command is parsed as written, and all that can be is run.

The commands of `STORY` run in its order in one folder, on small real data under the names that they use: one page
trains what the next one exports. Other pages have a folder of their own.
`SMALLER` says what a test changes so that it ends in minutes; nothing else is, and no default that a reader relies on.
`NOT_RUN` says what no test can run, and why. A command that is new in a document is run as it stands.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image

from compat_cli.app import app
from compat_cli.extras import EXTRAS, require
from compat_cli.pages import story
from compat_sdk import errors
from compat_sdk.datasets import open_dataset
from tests.golden.files import copy_of
from tests.pipeline.commands import subcommands
from tests.pipeline.conftest import Run
from tests.pipeline.documents import DOCUMENTS, ROOT, Block, Command, inline_of, steps_of
from tests.pipeline.sites import onnxruntime_web

STORY = (
    "your-photos",
    "metrics",
    "settings",
    "cmp-nas",
    "global-nas",
    "export",
    "profile",
    "on-a-device",
    "train-an-upgrade",
)
"""Pages of docs/ that go on from each other; README.md, which needs what all of them made, comes last."""
STORY_PAGES = (*(ROOT / "docs" / f"{name}.md" for name in STORY), ROOT / "README.md")
FEW_LAYERS = ("--arch", "global:plain:16:s3c3s3", "--width", "1")
SHORT = ("--epochs", "2", "--batch", "8", "--lr", "0.05")
SMALLER: Mapping[str, tuple[str, ...]] = {
    "train gallery": (*SHORT, *FEW_LAYERS, "--size", "32"),
    "train query": (*SHORT, *FEW_LAYERS),
    "train side-info": (*SHORT, "--width", "0.0625", "--size", "32"),
    "train upgrade": SHORT,
    "upgrade verify": ("--at-least", "worse"),  # a transform that learned for a second is no better than none
    "nas cmp": (
        *(*SHORT, "--supernet-epochs", "1", "--supernet-lr", "0.05", "--no-static", "--keep", "1", "--rounds", "1"),
        *("--population", "2", "--parents", "2", "--crossovers", "0", "--mutations", "0"),
        *("--space", "shuffle,stem=4,channels=8-12-16-24,repeats=1-1-1-1,last=16"),
    ),
    # Eight bits are no match for a network of a dozen steps; what they cost one that is trained, benchmarks/ says.
    "export runs/query --target onnx --precision int8-static": ("--min-cosine", "0.5"),
    "nas global": (
        *("--stages", "2", "--min-depth", "2", "--max-depth", "2", "--max-width", "16", "--macro-epochs", "1"),
        *("--micro-epochs", "1", "--final-epochs", "1", "--random", "1", "--batch", "8"),
    ),
}
"""Words added to every command that begins so; a later word of an option stands for an earlier one."""
SLOW = ("--target coreml", "--target tflite", 'engine="litert"')
"""Parts of commands and statements that the default run leaves out: two converters take a minute to load and run."""
NOT_RUN: Mapping[str, str] = {
    "compat-sdk data build kanji": "it draws with fonts that few machines have",
    "compat-sdk data build clipart": "it reads drawings that few machines have",
    "compat-sdk nas blocks": "minutes of conversion; tests/export/test_block_graphs.py writes and measures fewer",
    "compat-sdk profile blocks --blocks": "its folder is made by a command that is not run; the same test measures one",
    "compat-sdk nas cmp --data D --gallery runs/gallery --milliseconds": "its table is of larger networks; "
    "tests/train/nas/test_latency.py searches with one of its own",
    "compat-sdk run recipes/": "hours, on data that have to be downloaded or drawn; the recipe is read instead",
    "compat-sdk export runs/cmp/networks/r3-0.95-1-0": "the network is the result of a benchmark of hours",
    "compat-sdk quickstart": "minutes; tests/pipeline/test_quickstart.py runs it on less",
    "python -m http.server": "it serves until it is stopped; `make test-web` opens such a site in a browser",
    "python3 -m venv": "it writes into /opt",
    "make": "demo, test, check and bare are what runs this test, or hours; that the Makefile has them is checked",
    "pip install": "a test downloads nothing; that the extra exists is checked",
    "python -m tests.crash": "hours, or minutes; tests/crash runs less of it",
    "python -m tests.fuzz": "hours, or minutes; tests/fuzz/test_fuzz.py runs it on less",
    "python -m tests.hazards": "half an hour; tests/hazards/test_defences.py checks what it is told",
    "python -m benchmarks": "hours; that the script is there and knows the options is checked",
}
"""Beginnings of commands that are not run, and why."""
BEFORE: Mapping[str, tuple[str, ...]] = {
    "compat-sdk upgrade discard GALLERY --old": ("upgrade", "cutover", "GALLERY"),
}
"""What must come first where a document shows an alternative."""
NEEDS_EXTRA: Mapping[str, str] = {
    **dict.fromkeys(("compat-sdk bundle sign", "compat-sdk index sign", "compat-sdk index verify"), "sign"),
    "compat-sdk bundle verify query.bundle --files-only": "sign",
    "Bundle.open(": "sign",
}
"""Beginnings of steps that name an extra which cannot always be installed beside the others."""


def not_run(text: str) -> str | None:
    return next((why for beginning, why in NOT_RUN.items() if text.startswith(beginning)), None)


def commands(*documents: Path) -> list[Command]:
    return [step for document in documents for step in steps_of(document) if isinstance(step, Command)]


def ids(documents: Sequence[Path]) -> list[str]:
    return [str(document.relative_to(ROOT)) for document in documents]


def command_of(words: Sequence[str]) -> tuple[Any, str, list[str]]:
    """The command that words name, its name, and the words that are its own."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    name: list[str] = []
    while known := subcommands(command):
        assert rest and rest[0] in known, f"{' '.join(words)}: there is no command {' '.join(words[:2])}"
        name.append(rest.pop(0))
        command = known[name[-1]]
    return command, " ".join(name), rest


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_every_command_is_valid_as_it_is_written(document: Path) -> None:
    for step in commands(document):
        if step.words[0] == "compat-sdk":
            assert_valid(step.words[1:], f"{document.name}:{step.line}")


def test_every_command_in_recipes_and_in_the_report_is_valid() -> None:
    told = [("the report", line) for line in story.commands(0).splitlines()]
    for recipe in sorted((ROOT / "recipes").glob("*.toml")):
        joined = re.sub(r"\\\n#\s*", "", recipe.read_text("utf-8"))
        told += [(recipe.name, line) for line in re.findall(r"^#\s+(compat-sdk .*)$", joined, re.MULTILINE)]
    assert len({where for where, _ in told}) > 8
    for where, line in told:
        assert_valid(shlex.split(line, comments=True)[1:], where)


def assert_valid(words: Sequence[str], where: str) -> None:
    command, name, rest = command_of(words)
    try:
        command.make_context(name, rest)
    except Exception as error:  # Typer brings a copy of click, so that its errors have no type of ours
        pytest.fail(f"{where}: {shlex.join(words)}: {getattr(error, 'message', error)}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_commands_and_options_in_the_text_exist(document: Path) -> None:
    for step in inline_of(document):
        options = [word.partition("=")[0] for word in step.words if word.startswith("-")]
        if step.words[0] == "compat-sdk":
            known = known_options(step.words[1:])
            assert known is None or set(options) <= known, f"{document.name}:{step.line}: {step.text}"
        else:
            assert_script(step.words[0], options, f"{document.name}:{step.line}")


def known_options(words: Sequence[str]) -> set[str] | None:
    """Options of the command that words name; None where they name a group of commands."""
    command: Any = typer.main.get_command(app)
    for word in words:
        known = subcommands(command)
        if not known:
            break
        assert word in known, f"there is no command {word!r} of {' '.join(words)!r}"
        command = known[word]
    if subcommands(command):
        return None
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def assert_script(name: str, options: Sequence[str], where: str) -> None:
    """The script is there, where a path names it or else in benchmarks/, and its text has the options."""
    name = name.partition("::")[0]
    name = name.replace(".", "/") + ".py" if name.startswith("benchmarks.") else name
    name = name.replace(".", "/") + "/__main__.py" if name.startswith("tests.") else name.partition("::")[0]
    found = [ROOT / name] if "/" in name else sorted((ROOT / "benchmarks").rglob(name))
    assert found and found[0].is_file(), f"{where}: there is no script {name}"
    text = found[0].read_text("utf-8") + "".join(
        path.read_text("utf-8")
        for path in (ROOT / "benchmarks").rglob("*.py")
        if path.stem in found[0].read_text("utf-8")
    )
    for option in options:
        assert f'"{option}"' in text, f"{where}: {name} has no option {option}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_what_is_not_run_names_things_that_exist(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for step in commands(document):
        where = f"{document.name}:{step.line}: {step.text}"
        program, *words = step.words
        if words[:2] in (["-m", "http.server"], ["-m", "venv"]):  # of Python itself
            continue
        if program == "make":
            assert words and set(words) <= set(targets), where
        elif program == "pip":
            asked = re.fullmatch(r"compat-sdk\[([a-z,-]+)\]", words[-1])
            assert asked and set(asked[1].split(",")) <= set(project["optional-dependencies"]), where
        elif program.startswith("python"):
            words = words[1:] if words[0] == "-m" else words
            assert_script(words[0], [word for word in words if word.startswith("-")], where)
        elif words[0] == "run":
            read_the_recipe(words)


def read_the_recipe(words: Sequence[str]) -> None:
    """The recipe is read as the command reads it, which checks every setting."""
    pytest.importorskip("torch")
    from compat_train.recipe import read_recipe

    assert read_recipe(ROOT / words[1], "runs").description


def test_every_reason_not_to_run_is_still_needed() -> None:
    texts = [step.text for step in commands(*DOCUMENTS)]
    for beginning in (*NOT_RUN, *BEFORE, *(f"compat-sdk {beginning}" for beginning in SMALLER)):
        assert any(text.startswith(beginning) for text in texts), f"no document has {beginning!r} any more"


@pytest.fixture
def photos_of_a_reader(tmp_path: Path) -> Path:
    """`photos/`, the same with identities to validate as `D`, `pictures/`, `holiday.jpg`, `teacher.onnx`, vectors."""
    root = tmp_path
    dataset = open_dataset("sample")
    names = sorted(dataset.splits["train"].classes)
    plan = {"train": (names[:3], 8), "query": (names[:3], 3), "gallery": (names[:3], 4), "val": (names[4:7], 4)}
    for split_name, (classes, count) in plan.items():
        split = dataset.splits["train" if split_name == "val" else split_name]
        for label in classes:
            for row in [row for row, found in enumerate(split.labels) if found == label][:count]:
                path = root / "D" / split_name / label.replace("/", "-") / f"{row}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(split.images[row]).save(path)  # type: ignore[arg-type]
    shutil.copytree(root / "D", root / "photos", ignore=shutil.ignore_patterns("val"))
    for split_name in ("train", "val"):  # six identities, not divided yet
        shutil.copytree(root / "D" / split_name, root / "pictures", dirs_exist_ok=True)
    Image.fromarray(dataset.splits["query"].images[0]).resize((64, 48)).convert("RGB").save(root / "holiday.jpg")  # type: ignore[arg-type]
    shutil.copytree(ROOT / "recipes", root / "recipes")
    stored = np.random.default_rng(0).standard_normal((80, 6)).astype(np.float32)
    for name, space in (("old", "old-6-aaaaaaaaaaaa"), ("new", "new-6-bbbbbbbbbbbb")):
        np.savez(root / f"{name}.npz", ids=np.array([str(row) for row in range(80)]), vectors=stored, space=space)
    if find_spec("onnx"):
        from tests.train.adoption.graphs import network

        network(root / "teacher.onnx")
    if missing_extra("compat-sdk bundle sign") is None:
        from tests.sdk.signing import key_pair

        private, public = key_pair(root, "key")
        private.replace(root / "private.pem")
        public.replace(root / "maker.pem")
    return root


def type_all(document: Path, run: Run, *, without: Sequence[str] = ()) -> None:
    """Runs every step of a document in the current folder, in order, without these parts."""
    for step in steps_of(document):
        where = f"{document.name}:{step.line}"
        if isinstance(step, Block):
            execute(step, where, without)
            continue
        if not_run(step.text) is not None:
            continue
        if before := BEFORE.get(step.text):
            assert run(*before)[0] == 0
        text = step.text
        added = [words for beginning, words in SMALLER.items() if text.startswith(f"compat-sdk {beginning}")]
        for part in without:
            text = text.replace(f" {part}", "")
        code, out, err = run(*shlex.split(text)[1:], *(word for words in added for word in words))
        if missing := missing_extra(step.text):
            assert code == 1 and missing.partition(" ")[2] in err, f"{where}: {step.text}\n{err}"
            continue
        assert code == 0, f"{where}: {step.text}\n{err[-3000:]}"
        assert "Traceback" not in err and out


def missing_extra(text: str) -> str | None:
    """How the refusal names an extra that a step needs and that is not installed here."""
    for beginning, extra in NEEDS_EXTRA.items():
        if text.startswith(beginning):
            try:
                require(extra)
            except errors.MissingExtraError as error:
                return str(error)
    return None


def execute(block: Block, where: str, without: Sequence[str]) -> None:
    """Runs a block, statement by statement; one whose comment begins with the name of an error must raise it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    lines = block.text.splitlines()
    for statement in ast.parse(block.text).body:
        text = ast.get_source_segment(block.text, statement) or ""
        assert statement.end_lineno is not None
        if any(part in text for part in without):
            continue
        comment = re.search(r"#\s*(\w+Error)\b", lines[statement.end_lineno - 1])
        wanted: Any = getattr(errors, comment[1]) if comment else None
        if missing_extra(text):  # nothing was signed either
            wanted = (errors.MissingExtraError, errors.BundleError)
        code = compile(ast.Module([statement], []), f"{where}+{statement.lineno - 1}", "exec")
        if wanted is None:
            exec(code, names)  # our own document
        else:
            with pytest.raises(wanted):
                exec(code, names)


@pytest.mark.parametrize("without", [SLOW, pytest.param((), marks=pytest.mark.slow)], ids=["default", "every target"])
def test_the_pages_of_one_story_do_what_they_say_in_their_order(
    photos_of_a_reader: Path, run: Run, without: Sequence[str]
) -> None:
    for extra in ("train", "export-onnx", "report", *(() if without else ("export-litert", "export-coreml"))):
        for module in EXTRAS[extra][1]:
            pytest.importorskip(module.partition(".")[0])
    with chdir(photos_of_a_reader):
        for document in STORY_PAGES:
            type_all(document, run, without=without)


@pytest.fixture
def upgrading(tmp_path: Path) -> Iterator[Path]:
    """Galleries and a transform of release 0.7, under the names of docs/upgrading.md."""
    released = copy_of("0.7", tmp_path / "released")
    names = {
        "galleries/plain": ("GALLERY", "photos.gallery"),
        "galleries/side": ("SIDE", "photos.side"),
        "bundles/h.bundle": ("H", "h.bundle"),
    }
    for source, targets in names.items():
        for target in targets:
            shutil.copytree(released / source, tmp_path / target)
    with chdir(tmp_path):
        yield tmp_path


@pytest.mark.parametrize("name", ["upgrading.md"])
def test_the_pages_do_what_they_say_in_their_order(upgrading: Path, run: Run, name: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("usearch")
    code, _, err = run("index", "build", "--model", "released/runs/new", "--images", "released/photos", "--out",
                       "NEW_VECTORS", "--device", "cpu")  # fmt: skip
    assert code == 0, err
    shutil.copytree("NEW_VECTORS", "photos.new")
    type_all(ROOT / "docs" / name, run)


def test_the_page_of_gallery_models_does_what_it_says_in_its_order(photos_of_a_reader: Path, run: Run) -> None:
    for module in (*EXTRAS["adopt-onnx"][1], "onnxscript"):
        pytest.importorskip(module)
    from tests.train.adoption.graphs import network

    with chdir(photos_of_a_reader):
        network(Path("several.onnx"), outputs=("pooled", "scores"))
        pictures = sorted(Path("photos/train").rglob("*.png"))
        Path("drawings").mkdir()
        for number, picture in enumerate(pictures):
            shutil.copy(picture, f"drawings/{number}.png")
        vectors = np.random.default_rng(0).standard_normal((len(pictures), 8)).astype(np.float32)
        np.savez("vectors.npz", ids=np.array([str(number) for number in range(len(pictures))]), vectors=vectors)
        type_all(ROOT / "docs" / "any-gallery-model.md", run)


def test_the_page_of_vectors_does_what_it_says_in_its_order(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    qdrant = pytest.importorskip("qdrant_client")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    vectors = np.eye(8, dtype=np.float32)
    table = {"id": list(range(8)), "vector": list(vectors), "label": ["shoe"] * 8, "colour": ["red", "green"] * 4}
    parquet.write_table(pyarrow.table(table), "catalogue.parquet")
    released = copy_of("0.7", tmp_path / "released")
    for source, target in (("galleries/plain", "old.gallery"), ("galleries/side", "photos.side")):
        shutil.copytree(released / source, target)
    shutil.copytree(released / "bundles" / "h.bundle", "h.bundle")
    client = qdrant.QdrantClient(path="store")
    params = qdrant.models.VectorParams(size=8, distance=qdrant.models.Distance.COSINE)
    client.create_collection("bare", vectors_config=params)
    client.close()
    type_all(ROOT / "docs" / "vectors.md", run)


def test_the_page_of_trust_does_what_it_says_in_its_order(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = copy_of("0.7", tmp_path / "released")
    shutil.copytree(released / "bundles" / "gallery.bundle", tmp_path / "query.bundle")
    shutil.copytree(released / "galleries" / "plain", tmp_path / "photos.gallery")
    monkeypatch.chdir(tmp_path)
    if missing_extra("compat-sdk bundle sign") is None:
        from tests.sdk.signing import key_pair

        private, public = key_pair(tmp_path, "key")
        private.replace("private.pem")
        public.replace("maker.pem")
        Path("trust.toml").write_text('[[makers]]\nname = "Example AG"\npublic_key = "maker.pem"\n')
    type_all(ROOT / "docs" / "trust.md", run)


def test_the_page_of_browsers_does_what_it_says_in_its_order(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = copy_of("0.7", tmp_path / "released")
    shutil.copy(released / "bundles" / "query.bundle.zip", tmp_path / "query.bundle")
    shutil.copytree(released / "galleries" / "plain", tmp_path / "photos.gallery")
    shutil.copytree(released / "photos", tmp_path / "photos")
    onnxruntime_web(tmp_path / "node_modules")  # what the page's `npm install` brings
    monkeypatch.chdir(tmp_path)
    type_all(ROOT / "docs" / "browser.md", run)


@pytest.mark.parametrize("page", ["android", "ios"])
def test_the_page_of_phones_does_what_it_says_in_its_order(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    released = copy_of("0.7", tmp_path / "released")
    shutil.copy(released / "bundles" / "query.bundle.zip", tmp_path / "query.bundle")
    shutil.copytree(released / "galleries" / "plain", tmp_path / "photos.gallery")
    monkeypatch.chdir(tmp_path)
    type_all(ROOT / "docs" / f"{page}.md", run)


def test_the_page_of_indexes_does_what_it_says(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usearch")
    from compat_sdk.gallery import Gallery
    from compat_sdk.space import Embeddings

    monkeypatch.chdir(tmp_path)
    rows = np.eye(120, dtype=np.float32)
    Gallery.create("photos.gallery", space="s", dim=120).add(Embeddings(rows, "s"), [str(row) for row in range(120)])
    type_all(ROOT / "docs" / "indexes.md", run)


def test_the_page_of_edge_boxes_does_what_it_says_in_its_order(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("fastapi", "uvicorn", "httpx2", "onnxruntime"):
        pytest.importorskip(module)
    from starlette.testclient import TestClient

    from compat_cli.serving.listen import bind

    released = copy_of("0.7", tmp_path / "released")
    shutil.copy(released / "bundles" / "query.bundle.zip", tmp_path / "query.bundle")
    shutil.copytree(released / "galleries" / "plain", tmp_path / "photos.gallery")
    shutil.copy(released / "photos" / "Coat" / "4.png", tmp_path / "holiday.jpg")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "edge-box.md").read_text("utf-8")
    asked = re.findall(r'^curl (?:--data-binary @(\S+) )?"(http://127.0.0.1:8080\S+)"$', page, re.MULTILINE)
    assert len(asked) == 5

    def answer(service: Any, *_: object) -> None:
        """In place of a socket: what the page tells to type while it runs."""
        with TestClient(service, "http://127.0.0.1:8080") as client:
            for picture, url in asked:
                found = client.post(url, content=Path(picture).read_bytes()) if picture else client.get(url)
                assert found.status_code == 200, found.text

    monkeypatch.setattr("compat_cli.serving.listen.listen", answer)
    monkeypatch.setattr("compat_cli.serving.listen.bind", lambda host, port: bind(host, 0))
    type_all(ROOT / "docs" / "edge-box.md", run)


def test_the_example_of_a_trust_file_can_be_read(tmp_path: Path) -> None:
    from compat_sdk.bundle import Trust

    page = (ROOT / "docs" / "trust.md").read_text("utf-8")
    (tmp_path / "trust.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    (tmp_path / "maker.pem").write_text("a key")
    assert Trust.read(tmp_path / "trust.toml").least_release == {"phone model": 3}


def test_every_document_with_something_to_run_is_run() -> None:
    run_here = {
        *STORY_PAGES,
        *(
            ROOT / "docs" / f"{name}.md"
            for name in (
                "upgrading",
                "trust",
                "indexes",
                "any-gallery-model",
                "vectors",
                "browser",
                "android",
                "edge-box",
                "ios",
            )
        ),
    }
    for document in DOCUMENTS:
        left = [s for s in steps_of(document) if isinstance(s, Block) or not_run(s.text) is None]
        assert not left or document in run_here, f"{document.name} line {left[0].line} is run by no test"
