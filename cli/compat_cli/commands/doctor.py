"""`compat-sdk doctor`: what is installed, which extras work, which versions were tried together."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from importlib import metadata
from typing import Any

from compat_cli import console, options
from compat_cli.extras import EXTRAS
from compat_sdk.install import install_command

# The versions that were tried together (constraints.txt is not in the wheel); a test keeps the two equal.
TESTED = {
    "numpy": "2.3.5",
    "pillow": "13.0.0",
    "typer": "0.29.2",
    "onnxruntime": "1.31.1",
    "usearch": "2.26.6",
    "torch": "2.13.0",
    "safetensors": "0.8.0",
    "onnx": "1.23.2",
    "onnxscript": "0.7.2",
    "matplotlib": "3.11.2",
    "ai-edge-litert": "2.3.0",
    "coremltools": "9.0",
    "scikit-learn": "1.9.1",
    "litert-torch": "0.10.0",
    "ai-edge-quantizer": "0.10.0",
    "executorch": "1.5.1",
    "model-signing": "1.1.1",
}


def doctor(as_json: options.Json = False) -> None:
    """What is installed and which extras work, each really imported."""
    with console.working():
        facts = examine()
    console.report(facts, _text(facts), as_json=as_json)


def examine() -> dict[str, Any]:
    """Facts about this installation: Python, platform, packages, extras, accelerator."""
    packages = {name: {"installed": _version(name), "tested": tested} for name, tested in TESTED.items()}
    extras = {}
    for extra, (purpose, modules) in EXTRAS.items():
        problem = next((found for module in modules if (found := _import_problem(module))), None)
        extras[extra] = {"works": problem is None, "for": purpose, "problem": problem}
    return {
        "compat_sdk": _version("compat-sdk"),
        "python": {"version": platform.python_version(), "tested": "3.11 to 3.13", "executable": sys.executable},
        "platform": {"system": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count()},
        "cuda": _cuda(),
        "packages": packages,
        "extras": extras,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _import_problem(module: str) -> str | None:
    """Why a module does not import, or None. Native packages fail in many ways, so any error is an answer."""
    from compat_export.quiet import silent

    try:
        with silent():
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except Exception as error:
        return f"{module} is installed but does not import: {type(error).__name__}: {error}"
    return None


def _cuda() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name(0))


def _text(facts: dict[str, Any]) -> str:
    python, system = facts["python"], facts["platform"]
    lines = [
        f"compat-sdk {facts['compat_sdk']} on Python {python['version']} (tested {python['tested']}), "
        f"{system['system']}, {system['cpus']} CPUs, {facts['cuda'] or 'no CUDA device'}",
        "",
        console.table(
            ["package", "installed", "tested", ""],
            [
                [name, found["installed"] or "-", found["tested"], _compare(found["installed"], found["tested"])]
                for name, found in facts["packages"].items()
            ],
        ),
        "",
    ]
    for extra, found in facts["extras"].items():
        state = "works  " if found["works"] else "missing"
        problem = "" if found["works"] else f": {found['problem']}; {install_command(extra)}"
        lines.append(f"{state}  {extra} ({found['for']}){problem}")
    return "\n".join(lines)


def _compare(installed: str | None, tested: str) -> str:
    if installed is None:
        return "missing"
    return "" if installed.split("+")[0] == tested else "untested"
