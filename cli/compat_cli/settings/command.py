"""What a command says of its settings beyond what their configuration says: which its help shows, and other names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_cli.settings.told import Told
    from compat_train.config.fields import Setting


@dataclass(frozen=True, kw_only=True)
class Named:
    """An option with a name of its own for one setting, or one option for several.

    Attributes:
        name: With its dashes; of a true or false, both names, such as ``--micro/--no-micro``.
        keys: Settings that it sets.
    """

    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Shorthand:
    """An option that stands for values of several settings.

    Attributes:
        name: With its dashes.
        text: Makes its help.
        expand: From its value to values by setting; of a list, from all of them.
        metavar: What its help calls the value; empty for an option without one.
        several: Whether it may be repeated.
        yields: Whether it stands behind an option that sets one of its settings, rather than contradict it.
    """

    name: str
    text: Callable[[], str]
    expand: Callable[[Any], Mapping[str, Any]]
    metavar: str = ""
    several: bool = False
    yields: bool = False


@dataclass(frozen=True, kw_only=True)
class SettingsCommand:
    """A command that runs one configuration.

    Attributes:
        words: The command as it is typed after ``compat-sdk``.
        config: Loads the configuration's class.
        run: Does the work; its docstring is the command's help.
        inputs: Settings that name data and RUN folders, which the help shows first.
        shown: Settings that people set, which the help shows; the others are left to ``--set`` and ``--config``.
        named: Options whose name is not that of their setting.
        shorthands: Options that stand for several values.
        out: Help of ``--out``.
    """

    words: tuple[str, ...]
    config: Callable[[], type[Any]]
    run: Callable[[Told, Path, bool], None]
    inputs: tuple[str, ...]
    shown: tuple[str, ...]
    named: tuple[Named, ...] = ()
    shorthands: tuple[Shorthand, ...] = ()
    out: str = "RUN folder to write; an interrupted run in it is continued."

    def settings(self) -> tuple[Setting, ...]:
        """Every setting of the configuration, those that the help shows first."""
        from compat_train.config.fields import settings_of

        first = {key: place for place, key in enumerate((*self.inputs, *self.shown))}
        return tuple(sorted(settings_of(self.config()), key=lambda each: first.get(each.key, len(first))))

    def flags(self) -> dict[str, str]:
        """The option of each setting that has one, by key.

        It is called as the setting is. Of two settings with one name, that of the outer table has the option.
        """
        named = {key: each.name for each in self.named for key in each.keys}
        taken = {*named.values(), *(each.name for each in self.shorthands)}
        found = dict(named)
        left = [each for each in self.settings() if each.key not in named and each.single is not None]
        for each in left:
            name, depth = _last(each.key), each.key.count(".")
            same = Counter(other.key.count(".") for other in left if _last(other.key) == name)
            flag = f"--{name.replace('_', '-')}"
            if depth == min(same) and same[depth] == 1 and flag not in taken:
                found[each.key] = f"{flag}/--no-{flag[2:]}" if each.kind is bool else flag
        return found


def _last(key: str) -> str:
    return key.rpartition(".")[2]
