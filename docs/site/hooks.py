"""What MkDocs is told besides mkdocs.yml: pages from outside docs/, their links, and what a page must be.

README.md is the site's first page, and CONTRIBUTING.md, CHANGELOG.md and the pages of benchmarks/ lie in it as in the
repository. So a link is written once, as the repository has it, and leads to the same place here. What a link names
that is no page, such as a script, is shown as its text alone. No page loads anything from another host, and a page of
the API reference has every name of its package.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_PAGES = {".md", ".png", ".svg"}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_CODE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)\s*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_LOADED = re.compile(
    r"<(?:script|img|source|iframe)\b[^>]*\bsrc=[\"']?(?:https?:)?//|<link\b[^>]*\bhref=[\"']?(?:https?:)?//"
)


def _outside() -> Iterator[tuple[str, str]]:
    """Place in the site, and in the repository, of what is not in docs/."""
    yield "index.md", "README.md"
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "sdk/conformance/README.md"):
        yield name, name
    for path in sorted((ROOT / "benchmarks").rglob("*")):
        if path.suffix in _PAGES:
            name = path.relative_to(ROOT).as_posix()
            yield name, name


_SOURCES = dict(_outside())
_PLACES = {source: place for place, source in _SOURCES.items()}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages and pictures from outside docs/."""
    for place, source in _SOURCES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns the links of the repository into those of the site; what stands in code is left alone."""
    here = page.file.src_uri
    source = _SOURCES.get(here, f"docs/{here}")
    parts = _CODE.split(markdown)
    return "".join(
        part if number % 2 else _LINK.sub(lambda m: _link(m, source, here), part) for number, part in enumerate(parts)
    )


def _link(found: re.Match[str], source: str, here: str) -> str:
    mark, text, link = found.groups()
    target, sharp, anchor = link.partition("#")
    if not target or re.match(r"[a-z]+:", link):
        return found[0]
    named = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    place = _PLACES.get(named) or (named.removeprefix("docs/") if named.startswith("docs/") else None)
    if place is None:
        if not (ROOT / named).exists():
            raise PluginError(f"{source}: there is no {named}, to which a link leads")
        return text
    return f"{mark}[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{sharp}{anchor})"


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuses a page that loads anything from another host, and one of a package that lacks a public name."""
    if found := _LOADED.search(output):
        raise PluginError(
            f"{page.file.src_uri} loads something from elsewhere: {output[found.start() : found.end() + 60]}"
        )
    module = page.file.src_uri.removeprefix("reference/").removesuffix(".md")
    if module.startswith("compat_") and page.file.src_uri.startswith("reference/"):
        # A function in a module of its own name stands there by its full path.
        lacking = [name for name in _public(module) if not re.search(rf'id="{module}\.{name}(\.{name})?"', output)]
        if lacking:
            raise PluginError(f"{page.file.src_uri} lacks {', '.join(lacking)}, which {module} has in __all__")
    return output


def _public(module: str) -> list[str]:
    """Names in the ``__all__`` of a package, read and not imported."""
    file = next(ROOT.glob(f"*/{module.replace('.', '/')}/__init__.py"))
    told = [node for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.Assign)]
    names = next(node.value for node in told if ast.unparse(node.targets[0]) == "__all__")
    return [name for name in ast.literal_eval(names) if not name.startswith("_")]
