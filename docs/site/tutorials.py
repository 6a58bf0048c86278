"""Tutorials: the examples as executed notebooks, and each notebook as a page of the site.

    python docs/site/tutorials.py            # runs examples/*.py as notebooks; needs the extra docs beside quickstart
    python docs/site/tutorials.py --check    # runs nothing; fails where a notebook is not of its example

A notebook has an example's code and nothing else: the docstring becomes its text, each definition a cell, and ``main``
the last one, with its prints below it. The page is written from the notebook, so that the site needs no notebooks.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
_OUT = ROOT / "docs" / "tutorials"
_CALL = 'import sys\n\nsys.argv = ["{name}"]\nmain()'


def cells_of(example: Path) -> list[dict[str, Any]]:
    """The cells of an example, not executed: its docstring as text, then its code, definition by definition."""
    text = example.read_text("utf-8")
    lines = text.splitlines()
    body = ast.parse(text).body
    title = example.stem[3:].replace("_", " ").capitalize()
    described = ast.get_docstring(ast.parse(text)) or ""
    found = [_cell("markdown", f"# {title}\n\n{described}\n\nThis is `examples/{example.name}`, run as it stands.")]
    code = [statement for statement in body[1:] if not isinstance(statement, ast.If)]
    first = next(place for place, statement in enumerate(code) if isinstance(statement, ast.FunctionDef))
    groups = [code[:first], *([statement] for statement in code[first:])]
    for group in groups:
        found.append(_cell("code", "\n".join(lines[group[0].lineno - 1 : group[-1].end_lineno])))
    return [*found, _cell("code", _CALL.format(name=example.name))]


def notebook_of(example: Path) -> dict[str, Any]:
    """The notebook of an example, not executed, in nbformat 4.5."""
    cells = [cell | {"id": f"{example.stem[:2]}-{number}"} for number, cell in enumerate(cells_of(example))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def page_of(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: text as it is, code and what it printed in blocks."""
    blocks = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        blocks.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            if printed := "".join(output.get("text", ())).rstrip():
                blocks.append(f"```text\n{printed}\n```")
    return "\n\n".join(blocks) + "\n"


def execute(notebook: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same notebook with what its cells print when they run in ``folder``.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    made = nbformat.reads(json.dumps(notebook), as_version=4)
    NotebookClient(made, timeout=1200, resources={"metadata": {"path": str(folder)}}).execute()
    done: dict[str, Any] = json.loads(nbformat.writes(made))
    for cell in done["cells"]:
        cell["metadata"] = {}  # which holds the times of its execution
        if cell["cell_type"] == "code":
            cell["outputs"] = _printed(cell)
    done["metadata"] = notebook["metadata"]
    return done


def _printed(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """What a cell printed on stdout, as one output: warnings and progress bars are of the machine."""
    texts = ["".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout"]
    return (
        [{"name": "stdout", "output_type": "stream", "text": "".join(texts).splitlines(keepends=True)}] if texts else []
    )


def _cell(kind: str, text: str) -> dict[str, Any]:
    made: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True)}
    return made if kind == "markdown" else made | {"execution_count": None, "outputs": []}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two notebooks have the same cells, whatever they printed."""
    return [(c["cell_type"], c["source"]) for c in one["cells"]] == [
        (c["cell_type"], c["source"]) for c in other["cells"]
    ]


def problems() -> list[str]:
    """What is not as this script writes it: notebooks of other code, and pages of other notebooks."""
    found = []
    for example in _EXAMPLES:
        notebook, page = (_OUT / f"{example.stem}.{kind}" for kind in ("ipynb", "md"))
        if not notebook.is_file() or not _same(json.loads(notebook.read_text("utf-8")), notebook_of(example)):
            found.append(f"{notebook.name} is not of {example.name}; run docs/site/tutorials.py")
        elif page.read_text("utf-8") != page_of(json.loads(notebook.read_text("utf-8"))):
            found.append(f"{page.name} is not of {notebook.name}; run docs/site/tutorials.py")
    others = {path.stem for path in _OUT.glob("*.ipynb")} - {example.stem for example in _EXAMPLES}
    return [*found, *(f"{name}.ipynb is of no example; delete it" for name in sorted(others))]


def write() -> None:
    """Runs all examples in one folder, in their order, and writes notebooks and pages."""
    with tempfile.TemporaryDirectory() as scratch:
        for example in _EXAMPLES:
            done = execute(notebook_of(example), Path(scratch))
            text = json.dumps(done, indent=1, ensure_ascii=False) + "\n"
            text = re.sub(re.escape(scratch) + r"/?", "", text)  # no place of this machine
            (_OUT / f"{example.stem}.ipynb").write_text(text, "utf-8")
            (_OUT / f"{example.stem}.md").write_text(page_of(json.loads(text)), "utf-8")


def main() -> None:
    """Write the tutorials, or say what is not as it would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="run nothing; fail where something is out of date")
    if not parser.parse_args().check:
        write()
    elif found := problems():
        raise SystemExit("\n".join(found))


if __name__ == "__main__":
    main()
