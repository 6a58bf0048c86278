"""``python -m compat_cli`` is the command ``compat-sdk``."""

from compat_cli import main

main()
