"""Adoption: a gallery model from elsewhere becomes a RUN folder that every command takes as one trained here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compat_sdk.bundle.trust import refuse_run
from compat_sdk.files.atomic import make_folder
from compat_sdk.outputs import require_own
from compat_train.adoption.files import bundle_model, module_model, onnx_model
from compat_train.adoption.found import Found, Wanted
from compat_train.adoption.huggingface_model import huggingface_model_of
from compat_train.adoption.open_clip_model import open_clip_model_of
from compat_train.adoption.proof import Proof, prove
from compat_train.adoption.source import AdoptSource, parse_source
from compat_train.adoption.timm_model import timm_model_of
from compat_train.adoption.vectors import stored_vectors
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.layout import ADOPTED_RUN


@dataclass(frozen=True, eq=False)
class Adoption:
    """A model that was adopted.

    Attributes:
        checkpoint: What was written.
        proof: How near it is to its original; None for vectors, which embed nothing.
    """

    checkpoint: Checkpoint
    proof: Proof | None


def adopt(source: str, out: str | Path, wanted: Wanted | None = None) -> Adoption:
    """Adopts a gallery model; nothing is downloaded, and no file is unpickled.

        adopt("onnx:teacher.onnx", "runs/teacher", Wanted(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))

    Its space is the digest of its weights, its network and its preprocessing: the same model adopted twice is in one
    space, and with another crop in another. A model in a bundle and vectors of a gallery keep theirs.

    Args:
        source: What is adopted, such as ``onnx:FILE``, ``timm:NAME``, ``vectors:FILE``, or the path of a bundle.
        out: RUN folder, absent, empty, or with an adopted model, which is replaced.
        wanted: What the source does not say itself, or otherwise.

    Raises:
        ConfigError: The source is none, it takes or gives something else than one image and one vector, or its
            preprocessing is not known.
        CorruptFileError: A file is damaged.
        CheckFailedError: What was adopted is not the original.
        MissingExtraError: A package is not installed.
    """
    run = Path(out)
    require_own(run, ADOPTED_RUN, "adopt")
    wanted, parsed = Wanted() if wanted is None else wanted, parse_source(source)
    if parsed.kind != "bundle":
        refuse_run(source, wanted.trust)
    found = find(parsed, run, wanted)
    checkpoint = found.checkpoint
    proof = None if found.original is None else prove(checkpoint, found.original)
    make_folder(run)
    checkpoint.save()
    return Adoption(Checkpoint.load(run), proof)


def find(source: AdoptSource, out: Path, wanted: Wanted) -> Found:
    """The model of a source, in memory; see `adopt`."""
    wanted.refuse_ignored(source)
    match source.kind:
        case "onnx":
            return onnx_model(source, out, wanted)
        case "bundle":
            return bundle_model(source, out, wanted)
        case "module":
            return module_model(source, out, wanted)
        case "vectors":
            return stored_vectors(source, out, wanted)
        case "open_clip":
            return open_clip_model_of(source, out, wanted)
        case "huggingface":
            return huggingface_model_of(source, out, wanted)
        case "timm":
            return timm_model_of(source, out, wanted)
