"""A name that only its own module uses looks private: it begins with an underscore."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("sdk/compat_sdk", "server_training/compat_train", "export/compat_export", "cli/compat_cli")
USERS = ("sdk", "server_training", "export", "cli", "tests", "benchmarks", "examples")

_PATH = re.compile(r"[A-Za-z_][\w.:]*")


@cache
def names_of(path: Path) -> tuple[frozenset[str], list[str]]:
    """The names that a file uses and its public ones, sorted. No tree is kept: Python would look for garbage in all."""
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(used_in(tree)), sorted(public_names(tree))


def used_in(tree: ast.Module) -> Iterator[str]:
    """Every name a module reads or imports, and those in strings that are a path, as a door's or a patch's are."""
    left: list[ast.AST] = [tree]
    while left:  # ast.walk would also visit what a name and a constant are made of
        node = left.pop()
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and _PATH.fullmatch(node.value):
                yield from re.split("[.:]", node.value)
        elif isinstance(node, ast.Attribute):
            yield node.attr
            left.append(node.value)
        else:
            left.extend(ast.iter_child_nodes(node))


def public_names(tree: ast.Module) -> set[str]:
    """Top-level names without an underscore, but for those that others meet without naming them.

    These are functions that a decorator hands on, as a command is, and types in the annotations of public functions
    and classes.
    """
    found, annotated = set(), set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if not any(isinstance(decorator, ast.Call) and _is_command(decorator) for decorator in node.decorator_list):
                found.add(node.name)
            if not node.name.startswith("_"):
                annotated |= set(_annotated(node))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in found - annotated if not name.startswith("_")}


def _is_command(decorator: ast.Call) -> bool:
    return isinstance(decorator.func, ast.Attribute) and decorator.func.attr in ("command", "callback")


def _annotated(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        for annotation in (getattr(part, "annotation", None), getattr(part, "returns", None)):
            if annotation is not None:
                yield from (name.id for name in ast.walk(annotation) if isinstance(name, ast.Name))


def unused_elsewhere(modules: Iterable[Path], users: Iterable[Path]) -> list[str]:
    """``FILE NAME`` of each public name that no other file uses."""
    files: dict[str, set[Path]] = {}
    for path in users:
        for name in names_of(path)[0]:
            files.setdefault(name, set()).add(path)
    return [f"{path} {name}" for path in modules for name in names_of(path)[1] if not files.get(name, set()) - {path}]


def python_files(folders: Iterable[str]) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_a_name_that_only_its_module_uses_begins_with_an_underscore() -> None:
    assert unused_elsewhere(python_files(PACKAGES), python_files(USERS)) == []


def test_this_check_can_fail(tmp_path: Path) -> None:
    module, user = tmp_path / "module.py", tmp_path / "user.py"
    module.write_text(
        "LIMIT = 3\n_LIMIT = 4\nclass Result: ...\nclass Helper: ...\ndef used() -> Result: ...\ndef patched(): ...\n"
        "def alone(): return used(), LIMIT\n@app.command('x')\ndef command(): ...\n"
    )
    user.write_text("from module import used\npatch('module.patched')\n")
    assert unused_elsewhere([module], [module, user]) == [f"{module} {name}" for name in ("Helper", "LIMIT", "alone")]
