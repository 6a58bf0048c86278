"""Removes each defence in a copy of the tree and sees its tests fail: python -m tests.hazards, or --only 14 18"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as Xml
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from tests.hazards.defence import Defence
from tests.hazards.defences import DEFENCES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "benchmarks" / "hazards.md"
_PACKAGES = ("sdk", "server_training", "export", "cli")
_COPIED = (
    *_PACKAGES,
    "benchmarks",
    "docs",
    "examples",
    "recipes",
    "tests",
    "README.md",
    "CHANGELOG.md",
    "pyproject.toml",
)
# What tests import, loaded once: each run of tests is a fork, in which nothing of the tree is loaded yet.
_LOADED = ("onnxruntime", "numpy", "PIL.Image", "torch", "safetensors.torch", "typer")
_MEMORY = 12 << 30
_PATIENCE_S, _PATIENCE_A_TEST_S = 240, 30
# What a tree that no longer runs would raise: such a failure shows no defence.
_BROKEN = {"NameError", "UnboundLocalError", "SyntaxError", "IndentationError", "ImportError", "ModuleNotFoundError"}
_HEAD = """# Each defence removed, and what its tests say

**Every defence has tests that fail without it.**

| hazard | defence | removed from | failed | as |
|---|---|---|---|---|
"""
_FOOT = """
## What was done

    python -m tests.hazards

Written by that command; `--only 14 18` makes the rows of some hazards anew. In a copy of the tree it removes one
defence, runs its tests, which [docs/hazards.md](../docs/hazards.md) names too, and puts the defence back. Before that,
the same tests pass in the same copy. A row stands here where every one of them fails; the last column has how.
"""


class _NoBiteError(Exception):
    """A defence that cannot be removed, or whose removal no test notices."""


def main() -> None:
    """Print a line for each defence; exit code 1 where a test passes without one."""
    told = argparse.ArgumentParser(prog="python -m tests.hazards", description=__doc__)
    told.add_argument("--only", type=int, nargs="+", metavar="N", help="hazards by their numbers")
    told.add_argument("--missing", action="store_true", help="only defences that the page has no row of")
    told.add_argument("--signing", type=Path, default=ROOT / ".venv-signing" / "bin" / "python", metavar="PYTHON")
    given = told.parse_args()
    given.signing = given.signing.absolute()  # the tests run in another folder
    kept = _kept() if given.only or given.missing else {}
    chosen = [defence for defence in DEFENCES if given.only is None or defence.number in given.only]
    chosen = [defence for defence in chosen if not given.missing or _head(defence) not in kept]
    if any(defence.signing for defence in chosen) and not given.signing.exists():
        raise SystemExit(f"error: there is no {given.signing}; make it with `make test-signing`")
    for name in _LOADED:
        with suppress(ImportError):
            import_module(name)
    with tempfile.TemporaryDirectory(prefix="hazards-") as work:
        tree = Path(work) / "tree"
        tree.mkdir()
        for name in _COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, tree / name)
        faults = 0
        for signing in (False, True):
            tests = {test: None for defence in chosen if defence.signing is signing for test in defence.tests}
            failed = _failures(tree, tests, given.signing if signing else None) if tests else {}
            for test, kinds in failed.items():
                faults += 1
                _say(f"FAULT: {test} fails before anything is removed ({', '.join(sorted(kinds))})")
        for defence in chosen:
            try:
                kinds = ", ".join(_removed(tree, defence, given.signing if defence.signing else None))
            except _NoBiteError as fault:
                faults += 1
                _say(f"FAULT: {defence.number} {defence.name}: {fault}")
                continue
            count = f"{len(defence.tests)} of {len(defence.tests)}"
            _say(f"{defence.number:>2} {defence.name}: {count} tests fail ({kinds})")
            kept[_head(defence)] = f"{count} | {kinds} |"
            _write(kept)
    _say(f"{len(chosen)} defences, {faults} faults")
    raise SystemExit(faults > 0)


def _head(defence: Defence) -> str:
    """The beginning of its row on the page."""
    return f"| {defence.number} | {defence.name} | `{defence.file}` | "


def _kept() -> dict[str, str]:
    """The rows that the page has of defences that there are: the rest of each by its beginning."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    heads = [_head(defence) for defence in DEFENCES]
    return {head: line.removeprefix(head) for head in heads for line in lines if line.startswith(head)}


def _write(kept: Mapping[str, str]) -> None:
    rows = [head + kept[head] for head in map(_head, DEFENCES) if head in kept]
    PAGE.write_text(_HEAD + "\n".join(rows) + "\n" + _FOOT, encoding="utf-8")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _removed(tree: Path, defence: Defence, python: Path | None) -> Sequence[str]:
    """The kinds of failure of a defence's tests, which must all fail, in a tree without it."""
    file = tree / defence.file
    whole = file.read_text(encoding="utf-8")
    if whole.count(defence.text) != 1:
        raise _NoBiteError(f"{defence.file} has its text {whole.count(defence.text)} times, expected once")
    file.write_text(whole.replace(defence.text, defence.instead), encoding="utf-8")
    try:
        failed = _failures(tree, defence.tests, python)
    finally:
        file.write_text(whole, encoding="utf-8")
    if passed := [test for test in defence.tests if test not in failed]:
        raise _NoBiteError(f"without it {', '.join(passed)} still passes, or is skipped")
    kinds = set().union(*failed.values())
    if kinds & _BROKEN:
        raise _NoBiteError(f"without it the tree does not run ({', '.join(sorted(kinds & _BROKEN))})")
    return sorted(kinds)


def _failures(tree: Path, tests: Iterable[str], python: Path | None) -> dict[str, set[str]]:
    """Kinds of failure by test, of these tests in this tree; where their process dies, or does not end, of all.

    Args:
        tree: The copy.
        tests: Their names.
        python: Of another environment; None for this one.
    """
    tests, report, said = list(tests), tree.with_name("report.xml"), tree.with_name("said.txt")
    report.unlink(missing_ok=True)
    words = ["-q", "--tb=short", "-p", "no:cacheprovider", "-m", ""]
    words += ["-o", "junit_family=xunit1", f"--junit-xml={report}", *tests]
    child = os.fork()
    if child == 0:
        _in_child(tree, words, python, said)
    status, until = None, time.monotonic() + _PATIENCE_S + _PATIENCE_A_TEST_S * len(tests)
    while status is None and time.monotonic() < until:
        ended, found = os.waitpid(child, os.WNOHANG)
        status = found if ended else None
        time.sleep(0.02)
    with suppress(ProcessLookupError):  # what the tests started goes too
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
        return {test: {"does not end"} for test in tests}
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return {test: {f"signal {-code}"} for test in tests}
    if code not in (0, 1):
        raise _NoBiteError(f"pytest ends with {code}: {said.read_text(errors='replace')[-600:]}")
    failed: dict[str, set[str]] = {}
    for case in Xml.parse(report).iter("testcase"):
        for problem in (*case.iter("failure"), *case.iter("error")):
            test = f"{case.get('file')}::{case.get('name', '').partition('[')[0]}"
            failed.setdefault(test, set()).add(_kind(problem.get("message", "")))
    return failed


def _in_child(tree: Path, words: Sequence[str], python: Path | None, said: Path) -> None:
    """Run pytest in the tree, and end the process with its exit code."""
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        os.chdir(tree)
        places = [os.fspath(tree / name) for name in _PACKAGES]
        os.environ |= {"PYTHONPATH": os.pathsep.join(places), "TMPDIR": os.fspath(tree.parent)}
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        if python is not None:
            os.execv(python, [os.fspath(python), "-m", "pytest", *words])
        sys.dont_write_bytecode, tempfile.tempdir = True, None
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "benchmarks")]:
            del sys.modules[name]
        ours = {os.fspath(ROOT), "", *(os.fspath(ROOT / name) for name in _PACKAGES)}
        sys.path[:] = [os.fspath(tree), *places, *(place for place in sys.path if place not in ours)]
        code = int(pytest.main(list(words)))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _kind(message: str) -> str:
    """The class of an exception that pytest tells of, or what it did not see."""
    if "DID NOT RAISE" in message or "DID NOT WARN" in message:
        return "nothing refused"
    told = re.sub(r'^failed on (setup|teardown) with "', "", message)
    kind = re.split(r"[:\s]", told)[0].rpartition(".")[2]
    return {"assert": "AssertionError", "": "an error"}.get(kind, kind)


if __name__ == "__main__":
    main()
