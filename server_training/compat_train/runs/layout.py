"""What trainings and searches leave in their folders, since 0.7: nothing else may be there when they begin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compat_sdk.errors import CorruptFileError, TrainingError
from compat_sdk.files.documents import read_json
from compat_sdk.outputs import Layout, require_own
from compat_train.config.settings import changed_settings
from compat_train.parallel.group import leads

STATE: Layout = {"lock": None, r"step-\d{9}\.(json|safetensors)": None}
"""Resume points of a training."""
PIXELS: Layout = {
    r"(.+\.)?pixels\.lock": None,
    r".+-[0-9a-f]{24}\.(pixels|kept\.npy)": None,
    r"search\.pixels": None,
    r".+\.pixels\.[0-9a-f]{12}\.tmp": None,
}
"""Decoded images, of one training or of several."""
EMBEDDINGS: Layout = {
    r"vectors\.lock": None,
    r".+-[0-9a-f]{16}\.(vectors|json)": None,
    r".+-(plain|mirrored)(\.\d+)?\.npy": None,
    r".+-(plain|mirrored)\.json": None,
}
"""Embeddings of training images; the last two are of 0.7."""
MODEL: Layout = {r"model\.(json|safetensors)": None}
"""A finished model."""
_TRAINING: Layout = {
    "state": STATE,
    "pixels": PIXELS,
    r"((log|held_out)\.jsonl|(data|choices|held_out)\.json)": None,
    "tensorboard": {r"events\.out\.tfevents\..+": None},
}
"""What every training leaves, whatever it trains."""

ADAPTATION = "adaptation"
"""Folder in the RUN of a new model with DMU's psi."""

ADOPTED_RUN: Layout = MODEL
"""A RUN folder of a gallery model that was not trained here."""
RUN: Layout = {**_TRAINING, **MODEL}
"""A RUN folder of a gallery model or a side-information encoder."""
QUERY_RUN: Layout = {
    **RUN,
    "embeddings": EMBEDDINGS,
    ADAPTATION: MODEL,
    "certificates": {r"[A-Za-z0-9._-]+\.json": None},
}
"""A RUN folder of a query model, with the transform that method dmu trains beside it, and what evaluations showed."""
UPGRADE_RUN: Layout = {**RUN, "embeddings": EMBEDDINGS, r"verdict\.json": None}
"""A RUN folder of a transform."""
CMP: Layout = {
    "pixels": PIXELS,
    "supernet": {**_TRAINING, r"supernet\.(json|safetensors)": None},
    "validation": {
        r"(digest|data)\.json": None,
        r"(queries|query_labels|gallery(_labels|_embeddings)?|calibration)\.npy": None,
    },
    r"search\.lock": None,
    r"scores\.jsonl": None,
    "tiers": {r"[0-9.e+-]+(ms)?": {r"\d+": QUERY_RUN}},
    "static": {r".+": QUERY_RUN},
    r"results\.json": None,
    r"(pareto|latency)\.svg": None,
}
"""The folder of a CMP-NAS search."""
GLOBAL: Layout = {
    "pixels": PIXELS,
    r"search\.lock": None,
    r"candidates\.jsonl": None,
    "candidates": {r"\d+x\d+-[0-9a-f]{12}-\d+": QUERY_RUN},
    "network": QUERY_RUN,
    "random": {r"\d+": QUERY_RUN},
    r"results\.json": None,
}
"""The folder of a global search."""


def require_run(run: Path, layout: Layout, settings: Mapping[str, Any]) -> None:
    """Refuse to train in a folder that holds anything else, or a training that was begun with other settings.

    Args:
        run: RUN folder, absent, or with a training that is not finished.
        layout: What this training leaves there.
        settings: Everything that decides its result, as JSON values.

    Raises:
        ConfigError: The folder holds something else.
        TrainingError: It holds a training that was begun with other settings.
    """
    if not leads():  # of several processes, whose leader checks the folder and may be writing already
        return
    require_own(run, layout, "this training")
    for point in sorted((run / "state").glob("step-*.json"), reverse=True):
        try:
            facts = read_json(point).get("facts")
        except CorruptFileError:  # an older one may be whole; resuming says what is damaged
            continue
        begun = facts.get("settings") if isinstance(facts, dict) else None
        if isinstance(begun, dict) and (changes := changed_settings(begun, settings)):
            raise TrainingError(
                f"the run in {run} was started with other settings ({changes}); repeat the first command to resume "
                f"it, or train into another folder"
            )
