"""The command in an environment that has the runtime alone."""

from __future__ import annotations

import subprocess
import sys

from compat_sdk.install import install_command

WITHOUT_TYPER = (
    "import sys\n"
    "class Absent:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.partition('.')[0] == 'typer':\n"
    "            raise ModuleNotFoundError(name)\n"
    "sys.meta_path.insert(0, Absent())\n"
    "import importlib.util as util\n"
    "real = util.find_spec\n"
    "util.find_spec = lambda name, package=None: None if name == 'typer' else real(name, package)\n"
    "from compat_cli import main\n"
    "main(['doctor'])\n"
)


def test_the_command_names_the_extra_that_it_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TYPER], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: typer is not installed; run: {install_command('cli')}\n"


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "compat_cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("compat-sdk ")
