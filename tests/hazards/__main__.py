"""Removes each defence in a copy of the tree and sees its tests fail: python -m tests.hazards, or --only 14 18"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as Xml
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.hazards.defences import DEFENCES, Defence

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "benchmarks" / "hazards.md"
_PACKAGES = ("sdk", "server_training", "export", "cli")
_COPIED = (*_PACKAGES, "benchmarks", "docs", "examples", "recipes", "tests", "README.md", "pyproject.toml")
_MEMORY = 12 << 30
_PATIENCE_S = 300
# What a tree that no longer runs would raise: such a failure shows no defence.
_BROKEN = {"NameError", "UnboundLocalError", "SyntaxError", "IndentationError", "ImportError", "ModuleNotFoundError"}
_HEAD = """# Each defence removed, and what its tests say

    python -m tests.hazards

Written by that command. In a copy of the tree it removes one defence, runs the tests named beside it in
[docs/hazards.md](../docs/hazards.md), and puts the defence back. Before that, the same tests pass in the same copy. A row is
kept where every one of them fails; the last column has the kinds of failure. It takes some minutes.

| hazard | defence | removed from | failed | as |
|---|---|---|---|---|
"""


class Fault(Exception):
    """A defence that cannot be removed, or whose removal no test notices."""


def main() -> None:
    """Print a line for each defence; exit code 1 where a test passes without one."""
    told = argparse.ArgumentParser(prog="python -m tests.hazards", description=__doc__)
    told.add_argument("--only", type=int, nargs="+", metavar="N", help="hazards by their numbers; nothing is written")
    told.add_argument("--signing", type=Path, default=ROOT / ".venv-signing" / "bin" / "python", metavar="PYTHON")
    given = told.parse_args()
    chosen = [defence for defence in DEFENCES if given.only is None or defence.number in given.only]
    faults, rows = 0, list[str]()
    with tempfile.TemporaryDirectory(prefix="hazards-") as work:
        tree = Path(work) / "tree"
        for name in _COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            tree.mkdir(exist_ok=True)
            copy(source, tree / name)
        for signing in sorted({defence.signing for defence in chosen}):
            tests = {test: None for defence in chosen if defence.signing == signing for test in defence.tests}
            failed = _failures(tree, tests, _python(given.signing, signing))
            for test, kinds in failed.items():
                faults += 1
                print(f"FAULT: {test} fails before anything is removed ({', '.join(sorted(kinds))})", flush=True)
        for defence in chosen:
            try:
                kinds = _removed(tree, defence, _python(given.signing, defence.signing))
            except Fault as fault:
                faults += 1
                print(f"FAULT: {defence.number} {defence.name}: {fault}", flush=True)
                continue
            failed_all = f"{len(defence.tests)} of {len(defence.tests)}"
            print(f"{defence.number:>2} {defence.name}: {failed_all} tests fail ({', '.join(kinds)})", flush=True)
            rows.append(f"| {defence.number} | {defence.name} | `{defence.file}` | {failed_all} | {', '.join(kinds)} |")
    print(f"{len(chosen)} defences, {faults} faults", flush=True)
    if given.only is None and not faults:
        PAGE.write_text(_HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    raise SystemExit(faults > 0)


def _removed(tree: Path, defence: Defence, python: Path) -> Sequence[str]:
    """The kinds of failure of a defence's tests, which must all fail, in a tree without it."""
    file = tree / defence.file
    whole = file.read_text(encoding="utf-8")
    if whole.count(defence.text) != 1:
        raise Fault(f"{defence.file} has its text {whole.count(defence.text)} times, expected once")
    file.write_text(whole.replace(defence.text, defence.instead), encoding="utf-8")
    try:
        failed = _failures(tree, defence.tests, python)
    finally:
        file.write_text(whole, encoding="utf-8")
    if passed := [test for test in defence.tests if test not in failed]:
        raise Fault(f"without it {', '.join(passed)} still passes, or is skipped")
    kinds = set().union(*failed.values())
    if kinds & _BROKEN:
        raise Fault(f"without it the tree does not run ({', '.join(sorted(kinds & _BROKEN))})")
    return sorted(kinds)


def _failures(tree: Path, tests: Iterable[str], python: Path) -> dict[str, set[str]]:
    """Kinds of failure by test, of these tests in this tree; a test that does not end counts as failed."""
    tests, report = list(tests), tree.with_name("report.xml")
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["-m", "", "-o", "junit_family=xunit1", f"--junit-xml={report}", *tests]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(os.fspath(tree / name) for name in _PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": os.fspath(tree.parent),
    }
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY)),
    ) as process:
        try:
            said, _ = process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            said = ""
        with suppress(ProcessLookupError):  # what the tests started goes too
            os.killpg(process.pid, signal.SIGKILL)
    if not report.exists() and process.returncode < 0:
        signals = {signal.SIGKILL: "does not end"}
        return {test: {signals.get(-process.returncode, f"signal {-process.returncode}")} for test in tests}
    if process.returncode not in (0, 1):
        raise Fault(f"pytest ends with {process.returncode}: {said[-600:]}")
    failed: dict[str, set[str]] = {}
    for case in Xml.parse(report).iter("testcase"):
        for problem in (*case.iter("failure"), *case.iter("error")):
            test = f"{case.get('file')}::{case.get('name', '').partition('[')[0]}"
            failed.setdefault(test, set()).add(_kind(problem.get("message", "")))
    return failed


def _kind(message: str) -> str:
    """The class of an exception that pytest tells of, or what it did not see."""
    if "DID NOT RAISE" in message or "DID NOT WARN" in message:
        return "nothing refused"
    kind = re.split(r"[:\s]", message.rpartition('failed on setup with "')[2])[0].rpartition(".")[2]
    return {"assert": "AssertionError", "": "an error"}.get(kind, kind)


def _python(signing_python: Path, signing: bool) -> Path:
    if signing and not signing_python.exists():
        raise SystemExit(f"error: there is no {signing_python}; make it with `make test-signing`")
    return signing_python if signing else Path(sys.executable)


if __name__ == "__main__":
    main()
