"""Commands whose options are the settings of a configuration: described, gathered, listed.

A command of this kind names its configuration and the settings that its help shows. Everything else, from the type of
an option to its default, comes from the fields of the configuration.
"""

from __future__ import annotations

from compat_cli.settings.command import Named, SettingsCommand, Shorthand
from compat_cli.settings.group import group_of
from compat_cli.settings.listing import as_json, as_text, as_toml
from compat_cli.settings.told import Told

__all__ = [
    "Named",
    "SettingsCommand",
    "Shorthand",
    "Told",
    "as_json",
    "as_text",
    "as_toml",
    "group_of",
]
