"""Options that the training commands share; what is not given is left to the configuration.

They come in groups: a command that is decorated with `grouped` takes a group as one parameter, and the command line
has each of its options.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from compat_cli import options
from compat_sdk.errors import ConfigError


def number(name: str, text: str) -> Any:
    """A number or word that may be left out; the help says what stands for it then."""
    return typer.Option(name, help=text, show_default=False)


Out = Annotated[Path, typer.Option("--out", help="RUN folder to write; an interrupted run in it is continued.")]
Arch = Annotated[str | None, typer.Option("--arch", help="Architecture name.", show_default=False)]
Int = int | None
Float = float | None
Text = str | None
Size = Annotated[Int, number("--size", "Input side in pixels; 112.")]
Width = Annotated[Float, number("--width", "Factor on the channel counts; 1.")]
Stem = Annotated[Int, number("--stem-stride", "Stride of the first convolution, 1 or 2; 1.")]
License = Annotated[Text, number("--license", "Licence of the trained weights, for the bundle.")]


def given(**values: Any) -> dict[str, Any]:
    """The settings that were given; the configuration's defaults stand for the others."""
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Options that make up one section of a configuration."""

    def settings(self) -> dict[str, Any]:
        """Those that were given, as the configuration has them."""
        return given(**vars(self))


@dataclass(frozen=True, kw_only=True)
class SourceOptions(Group):
    """What is learnt from."""

    data: options.Data
    root: options.Root = None
    unreadable: Annotated[Int, number("--unreadable", "Corrupt images that are left out with a warning; 0.")] = None
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario",
            metavar="NAME=VALUE",
            help="Part of the training split to learn from; repeatable: classes=0-499, class_fraction=0.3, "
            "class_order=random, fraction=0.3 (of each class's images), complement=true, seed=1.",
            show_default=False,
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        """Those that were given, as the configuration has them."""
        return given(
            data=self.data,
            root=text_of(self.root),
            unreadable=self.unreadable,
            scenario=scenario_of(self.scenario),
        )


@dataclass(frozen=True, kw_only=True)
class LossOptions(Group):
    """A classification loss."""

    loss: Annotated[Text, number("--loss", "cosface, arcface or norm-softmax; cosface, or that of the other run.")] = (
        None
    )
    margin: Annotated[Float, number("--margin", "Margin of cosface (cosine) or arcface (radians); 0.4.")] = None
    scale: Annotated[Float, number("--scale", "Factor on the cosines; 64.")] = None

    def settings(self) -> dict[str, Any]:
        """Those that were given, as the configuration has them."""
        return self._checked(given(**vars(self)))

    def like(self, run: Path) -> dict[str, Any] | None:
        """The loss of another run with the settings that were given in place of its own; None without any.

        Raises:
            TrainingError: The folder holds no finished run.
        """
        from compat_train.config.training import config_to_json
        from compat_train.runs.checkpoint import Checkpoint

        chosen = self.settings()
        if not chosen:
            return None
        loss = self._checked({**config_to_json(Checkpoint.load(run).classification), **chosen})
        return loss | {"margin": 0.0} if loss["loss"] == "norm-softmax" else loss  # which has none

    def _checked(self, loss: dict[str, Any]) -> dict[str, Any]:
        if self.margin is not None and loss.get("loss") == "norm-softmax":
            raise ConfigError(f"--margin is {self.margin:g}, but the loss norm-softmax has none; leave it out")
        return loss


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(Group):
    """How long and how fast."""

    epochs: Annotated[Int, number("--epochs", "Passes over the training split; 16 for gallery, 32 for query.")] = None
    batch: Annotated[Int, number("--batch", "Images per step; 320.")] = None
    lr: Annotated[Float, number("--lr", "Highest learning rate; 0.1 for gallery, 1.3 for query.")] = None
    weight_decay: Annotated[Float, number("--weight-decay", "Weight decay; 0.0005.")] = None
    warmup_epochs: Annotated[Float, number("--warmup-epochs", "Epochs of linear warm-up; 1.")] = None


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Group):
    """Random changes of the training images."""

    shift: Annotated[Float, number("--shift", "Augmentation: largest move, fraction of the side; 0.")] = None
    zoom: Annotated[Float, number("--zoom", "Augmentation: largest relative change of scale; 0.")] = None
    rotate: Annotated[Float, number("--rotate", "Augmentation: largest turn, in degrees; 0.")] = None
    colour: Annotated[Float, number("--colour", "Augmentation: largest change of brightness and the like; 0.")] = None
    cutout: Annotated[Float, number("--cutout", "Augmentation: side of a blanked square, fraction of the side; 0.")] = (
        None
    )
    flip: Annotated[bool, typer.Option("--flip", help="Augmentation: mirror half of the images.")] = False

    def settings(self) -> dict[str, Any]:
        """Those that were given, as the configuration has them."""
        return given(**{**vars(self), "flip": self.flip or None})


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions(Group):
    """Where it runs, and the seed."""

    seed: options.Seed = 0
    device: options.Device = "auto"
    threads: options.Threads = None
    precision: Annotated[Text, number("--precision", "auto, fp32 or bf16.")] = None


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every parameter whose type is a dataclass replaced by the fields of that dataclass."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: each.annotation for name, each in signature.parameters.items() if is_dataclass(each.annotation)
    }
    flat: dict[str, inspect.Parameter] = {}
    for name, each in signature.parameters.items():
        for option in _options_of(groups[name]) if name in groups else (each,):
            assert option.name not in flat, f"two options are called {option.name}"
            flat[option.name] = option.replace(kind=inspect.Parameter.KEYWORD_ONLY)

    @functools.wraps(command)
    def called(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    called.__signature__ = signature.replace(parameters=list(flat.values()))  # type: ignore[attr-defined]
    called.__annotations__ = {name: option.annotation for name, option in flat.items()}
    return called


def _options_of(group: Any) -> list[inspect.Parameter]:
    kinds = get_type_hints(group, include_extras=True)
    return [each.replace(annotation=kinds[name]) for name, each in inspect.signature(group).parameters.items()]


def scenario_of(texts: Sequence[str] | None) -> dict[str, Any] | None:
    """The settings of a scenario from ``NAME=VALUE`` texts; None without any.

    Raises:
        ConfigError: A text is not of that form, or names a setting twice.
    """
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or name in found:
            raise ConfigError(f"--scenario {text!r}: expected NAME=VALUE, each name once, such as fraction=0.3")
        found[name] = _value(value) if name not in ("classes", "class_order") else value
    return found or None


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def text_of(root: Path | None) -> str | None:
    """A path as recipes and records have it."""
    return None if root is None else str(root)
