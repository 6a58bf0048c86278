"""From an evaluation to the certificate that a RUN keeps: what its model may search is shown, not only declared."""

from __future__ import annotations

from pathlib import Path

import compat_sdk
from compat_sdk.bundle import Bundle
from compat_sdk.certificate import Accuracy, Certificate
from compat_sdk.datasets import Dataset
from compat_sdk.datasets.content import content_sha256
from compat_sdk.errors import ConfigError, IncompatibleSpaceError
from compat_sdk.kinds import is_bundle
from compat_sdk.metrics import RetrievalScores
from compat_sdk.shown import shortened
from compat_train.adoption.opening import open_gallery_model
from compat_train.evaluation.result import Evaluation
from compat_train.runs.certificates import write_certificate
from compat_train.runs.checkpoint import Checkpoint
from compat_train.runs.run_files import RECORD

_SPLITS = ("query", "gallery")


def require_certifiable(query: str | Path, gallery: str | Path) -> None:
    """Refuse a pair of models whose evaluation no certificate could be made of; looks at the records alone.

    Args:
        query: What is to be the query model: expected a RUN.
        gallery: RUN or BUNDLE of the gallery model.

    Raises:
        ConfigError: The query model is no RUN, or is in an old space.
        IncompatibleSpaceError: It does not declare that it searches the gallery's space.
        CompatError: One of them cannot be read.
    """
    _require(Path(query), _space_of(Path(gallery)))


def certify(evaluation: Evaluation, dataset: Dataset, query: str | Path) -> Path:
    """Write the certificate of an evaluation into the RUN of its query model.

    Args:
        evaluation: Of a pair of models that `require_certifiable` accepts.
        dataset: What it was measured on.
        query: The RUN.

    Returns:
        The certificate's file.

    Raises:
        ConfigError: The query model is no RUN or in an old space; or the evaluation is of another query model.
        DataError: A picture cannot be read.
        OSError: The RUN cannot be written.
    """
    model = _require(Path(query), evaluation.gallery_space)
    if model.space != evaluation.query_space:
        raise ConfigError(f"{query} is in {model.space}, the evaluation of a model in {evaluation.query_space}")
    certificate = Certificate(
        query_space=evaluation.query_space,
        gallery_space=evaluation.gallery_space,
        data=_printable(dataset.name),
        data_sha256=content_sha256(dataset, _SPLITS),
        splits=_SPLITS,
        queries=evaluation.queries,
        skipped=evaluation.skipped,
        gallery_size=evaluation.gallery_size,
        query_query=_accuracy(evaluation.query_query),
        query_gallery=_accuracy(evaluation.query_gallery),
        gallery_gallery=_accuracy(evaluation.gallery_gallery),
        rule=evaluation.rule_applied,
        created_by=f"compat-sdk {compat_sdk.__version__}",
    )
    return write_certificate(Path(query), certificate)


def _require(query: Path, gallery_space: str) -> Checkpoint:
    """The query model, if it is a RUN in a space of today that declares the gallery's."""
    if not (query / RECORD).is_file():
        raise ConfigError(f"{query} is no RUN; expected the folder of a trained query model: a bundle is finished")
    model = Checkpoint.load(query)
    if model.identity is None:
        raise ConfigError(
            f"{query} is in the old space {model.space}, which covers the weights alone; train it again to certify it"
        )
    if gallery_space not in model.searches:
        raise IncompatibleSpaceError(
            model.space,
            model.searches,
            gallery_space,
            f"{query} declares that it searches {', '.join(model.searches) or 'no other space'}, not {gallery_space}; "
            f"expected the gallery model that it was trained for",
        )
    return model


def _printable(name: str) -> str:
    """A dataset's name as a certificate may hold it: what nobody could print is escaped, and a long one shortened."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in name)
    return shortened(shown, 200) or "unnamed"


def _accuracy(scores: RetrievalScores) -> Accuracy:
    top1, top5, top10 = (float(scores.cmc[rank]) for rank in (1, 5, 10))
    return Accuracy(top1, top5, top10, float(scores.map))


def _space_of(model: Path) -> str:
    return Bundle.open(model).manifest.space if is_bundle(model) else open_gallery_model(model).space
