"""What the user told a command: each setting once, options over a file, and errors in the user's words."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from compat_sdk.errors import ConfigError, StateError
from compat_sdk.files.documents import check_plain
from compat_sdk.nearest import nearest_names
from compat_sdk.shown import shortened, shown_value

if TYPE_CHECKING:
    from compat_cli.settings.command import SettingsCommand
    from compat_train.config.fields import Setting

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class Told:
    """Settings that were given.

    Attributes:
        values: Nested as the configuration is.
        written: How the user wrote each setting, by key: an option, or its key and the file.
        inputs: Settings that name data and RUN folders.
    """

    values: Mapping[str, Any]
    written: Mapping[str, str]
    inputs: tuple[str, ...] = ()

    def config(self, kind: type[ConfigT], *, like: str = "", defaults: Mapping[str, Any] | None = None) -> ConfigT:
        """The configuration.

        Args:
            kind: Its class.
            like: Setting that names the RUN whose loss, and whose preprocessing, a part of such a table lies over.
            defaults: Values by field that stand in place of the configuration's own defaults.

        Raises:
            ConfigError: A value is of the wrong type or out of its range, or two clash.
            TrainingError: A part of such a table was given, and the RUN is no finished one.
        """
        from compat_train.config.settings import config_from_mapping

        loss, preprocessing = self.values.get("classification"), self.values.get("preprocessing")
        run, laid = self.values.get(like), dict[str, Any](defaults or {})
        if isinstance(run, str) and (isinstance(loss, Mapping) or isinstance(preprocessing, Mapping)):
            from compat_train.adoption.opening import open_gallery_model
            from compat_train.config.gallery import published_preprocessing

            gallery = open_gallery_model(run)
            if isinstance(preprocessing, Mapping) and not published_preprocessing(self.values):
                laid["preprocessing"] = gallery.preprocessing
            if isinstance(loss, Mapping):
                laid["classification"] = gallery.classification.under(loss)
        with self.named():
            return config_from_mapping(kind, self.values, defaults=laid)

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Inside, a ConfigError names settings as the user wrote them."""
        try:
            yield
        except StateError:
            raise
        except ConfigError as error:
            raise ConfigError(self._in_the_users_words(error)) from None

    def _in_the_users_words(self, error: ConfigError) -> str:
        text, written = str(error), self.written.get(error.setting)
        if written is not None:
            value = text.removeprefix(error.setting)
            return f"{written}: {text}" if value.startswith((" is false", " is true")) else f"{written}{value}"
        words = set(re.findall(r"[a-z0-9_]+", text))
        chosen = {key: told for key, told in self.written.items() if key not in self.inputs}
        named = dict.fromkeys(told for key, told in chosen.items() if key.rpartition(".")[2] in words)
        left = [told for told in named if told not in text]
        return f"{text} (given: {', '.join(left)})" if left else text


def gather(command: SettingsCommand, options: Mapping[str, Any], sets: Sequence[str], file: Path | None) -> Told:
    """Everything that was told, checked to be there and to be told once.

    Options and ``--set`` stand over the file.

    Args:
        command: Whose settings they are.
        options: Values by setting's key, or by a shorthand's name; None where one was not given.
        sets: Texts ``KEY=VALUE``.
        file: A TOML file with the configuration's tables.

    Raises:
        ConfigError: A setting is unknown, told twice, or missing; or a text or the file is malformed.
    """
    settings = {each.key: each for each in command.settings()}
    flags = command.flags()
    given: dict[str, Any] = {}
    written: dict[str, str] = {}

    def tell(key: str, value: Any, told: str) -> None:
        if key in given and given[key] != value:
            raise ConfigError(f"{written[key]} and {told} contradict each other about {key}; leave one out")
        given[key], written[key] = value, told

    for key, flag in flags.items():
        if (value := options.get(key)) is not None:
            tell(key, value, _written(flag, value))
    for text in sets:
        key, value = _set(text, settings)
        tell(key, value, f"--set {key}")
    for shorthand in command.shorthands:
        value = options.get(shorthand.name)
        if not value:
            continue
        for key, meant in shorthand.expand(value).items():
            told = f"{shorthand.name} {key.rpartition('.')[2]}" if shorthand.several else shorthand.name
            if key not in settings:
                raise _unknown_setting(told, key, settings)
            if not shorthand.yields:
                tell(key, meant, told)
            elif key not in given:
                tell(key, meant, f"{key} of {shorthand.name}")
    if file is not None:
        for key, value in _from_file(file, settings, command).items():
            if key not in given:
                given[key], written[key] = value, f"{key} in {file}"
    for key, setting in settings.items():
        if setting.required and key not in given:
            raise ConfigError(
                f"{flags.get(key, f'--set {key}')} is missing: {setting.text}; give it, or {key} in a --config file"
            )
    return Told(_nested(given, settings), written, command.inputs)


def _written(flag: str, value: Any) -> str:
    on, slash, off = flag.partition("/")
    return off if slash and value is False else on


def _set(text: str, settings: Mapping[str, Setting]) -> tuple[str, Any]:
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set {shown_value(text)}: expected KEY=VALUE, such as optimisation.lr=0.1")
    setting = _setting(key, settings)
    if setting is None:
        raise _unknown_setting(f"--set {key}", key, settings)
    return key, parsed(raw, setting)


def parsed(raw: str, setting: Setting) -> Any:
    """A value as TOML has it, or else a text; always a text where the setting is one."""
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
        check_plain(value)
    except (ValueError, RecursionError):
        return raw
    return raw if setting.single is str and not setting.several and not isinstance(value, str) else value


def _unknown_setting(written: str, key: str, settings: Iterable[str]) -> ConfigError:
    """The error of a setting that is not there, with those that may be meant."""
    names = list(settings)
    last = key.rpartition(".")[2]
    below = [name for name in names if name.startswith(f"{key}.")]
    if below:
        return ConfigError(f"{written}: {key} is a table; set one of {', '.join(below)}")
    if key in names:
        return ConfigError(f"{written}: {key} is a table; set its entries one by one, such as {key}.NAME")
    near = [name for name in names if name.rpartition(".")[2] == last]
    lasts = nearest_names(last, [name.rpartition(".")[2] for name in names])
    near += [name for name in names if name.rpartition(".")[2] in lasts and name not in near]
    near += [name for name in nearest_names(key, names) if name not in near]
    told = ", ".join((near or names)[:8])
    return ConfigError(f"{written}: there is no such setting; nearest: {told}. `compat-sdk settings` lists all")


def _setting(key: str, settings: Mapping[str, Setting]) -> Setting | None:
    """The setting of a key, or the table that has an entry of that key."""
    if key in settings:
        return settings[key] if settings[key].single is not None else None
    return next((each for name, each in settings.items() if each.single is None and key.startswith(f"{name}.")), None)


def _from_file(file: Path, settings: Mapping[str, Setting], command: SettingsCommand) -> dict[str, Any]:
    from compat_train.config.fields import tables_of
    from compat_train.config.toml import read_toml

    found = read_toml(file, f"--config {file}")
    tables = set(tables_of(command.config()))
    tables |= {key for key, each in settings.items() if each.single is None}
    values: dict[str, Any] = {}

    def take(entries: Mapping[str, Any], where: str) -> None:
        for name, value in entries.items():
            key = where + name
            if key in tables and isinstance(value, Mapping):
                take(value, f"{key}.")
            elif key in tables or _setting(key, settings) is not None:
                values[key] = value
            else:
                raise _unknown_setting(f"{shortened(key)} in {file}", key, settings)

    take(found, "")
    return values


def _nested(flat: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in flat.items():
        table = next(
            (name for name, each in settings.items() if each.single is None and key.startswith(f"{name}.")), ""
        )
        path = [*table.split("."), key.removeprefix(f"{table}.")] if table else key.split(".")
        inner = found
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return found
