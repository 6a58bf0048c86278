"""The one opener of gallery models: a RUN, trained or adopted here, a bundle, or a source to adopt in passing."""

from __future__ import annotations

from pathlib import Path

from compat_sdk.errors import ConfigError
from compat_sdk.kinds import instead_of, is_bundle
from compat_train.adoption.adopt import find
from compat_train.adoption.found import Wanted
from compat_train.adoption.source import is_source, parse_source
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.run_files import RECORD

_OF_RUNS = (RECORD, "state", "network")
"""What a RUN folder has, finished or not, or the folder of a search with a RUN in it."""


def open_gallery_model(model: str | Path) -> Checkpoint:
    """A gallery model, wherever it is from: it embeds pixels and names its space.

    Args:
        model: A RUN folder; a bundle; or a source such as ``onnx:teacher.onnx``, which is adopted in memory where it
            says all of itself.

    Raises:
        ConfigError: It is none of them, or the source leaves something open, which `compat-sdk adopt` is told.
        TrainingError: The RUN has not finished, or is a transform.
        CorruptFileError: A file is damaged.
    """
    path = Path(model)
    if path.is_dir() and not is_bundle(path):
        if not any((path / name).exists() for name in _OF_RUNS):
            raise ConfigError(
                instead_of("RUN", path)
                or f"{path} is neither a bundle (manifest.json) nor a RUN (model.json); expected what "
                f"`compat-sdk train`, `adopt` or `export` wrote"
            )
        return Checkpoint.load(path)
    if path.exists() or is_source(str(model)):
        return find(parse_source(str(model)), path, Wanted()).checkpoint
    raise ConfigError(f"{model} does not exist; expected a RUN, a bundle, or a source that `compat-sdk adopt` takes")
