"""`compat-sdk evaluate`: accuracy of a heterogeneous system, or of an upgraded gallery, and of its homogeneous ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_cli import console, extras, options
from compat_sdk.errors import CheckFailedError, ConfigError
from compat_sdk.shown import escaped

if TYPE_CHECKING:
    from compat_sdk.bundle import Trust
    from compat_sdk.datasets import Dataset
    from compat_sdk.metrics import Metric


def evaluate(
    data: options.Data,
    query: Annotated[Path, typer.Option("--query", help="Query model, or the new model: a RUN or a BUNDLE.")],
    gallery: Annotated[Path, typer.Option("--gallery", help="Gallery model, or the old model: a RUN or a BUNDLE.")],
    transform: Annotated[
        list[Path] | None,
        typer.Option(
            "--transform",
            help="Transform of the old gallery: a RUN or a BUNDLE. Repeat it for several upgrades in turn.",
            show_default=False,
        ),
    ] = None,
    side_info: Annotated[
        list[Path] | None,
        typer.Option(
            "--side-info",
            help="Side-information of each transform that takes one: an encoder, or the transform that carries it on.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            "--metric", metavar="NAME", help="Accuracy that the rule compares: top-K, map, map@K or tpir@fpir=RATE."
        ),
    ] = "top-1",
    require_compatible: Annotated[
        bool,
        typer.Option(
            "--require-compatible",
            help="Exit code 3 unless the rule holds: M(q,g) > M(q,q) of a query model, M(new,old) > M(old,old) of a "
            "new gallery model, M(new,h) > M(old,old) of a transform.",
        ),
    ] = False,
    certify: Annotated[
        bool,
        typer.Option("--certify", help="Keep the figures in the RUN of --query: export puts them into its bundle."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE|DIR",
            help="Also write a page with figures, plots and pictures: a .html file, or report.html in a folder.",
            show_default=False,
        ),
    ] = None,
    root: options.Root = None,
    memory: Annotated[float, typer.Option("--memory", min=1, help="Memory for score blocks, in MiB.")] = 256.0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    public_key: options.PublicKey = None,
    trust: options.TrustFile = None,
    as_json: options.Json = False,
) -> None:
    """CMC at 1, 5, 10 and mAP of M(q,q), M(q,g), M(g,g), and the compatibility rule.

    The rule is M(q,g) > M(q,q) of a query model, and M(new,old) > M(old,old) of a new gallery model.
    With --transform, of the old gallery before and after its upgrade, searched by the new model. Of pairs of faces
    (lfw.bin), accuracy in ten folds and TAR@FAR.
    """
    from compat_cli.pages.evaluation import report_place, write_report
    from compat_sdk.datasets import open_dataset
    from compat_sdk.metrics import Metric

    wanted = options.trusted(public_key, trust)
    judged_by = Metric.parse(metric)
    extras.require("train")
    if transform and certify:
        raise ConfigError("--certify keeps figures of two models, and --transform is about three; leave one out")
    if certify and judged_by != Metric():
        raise ConfigError(f"--certify keeps the rule at top-1; leave out --metric {judged_by}, or --certify")
    if transform and report is not None:
        raise ConfigError("--report is about a query model and a gallery model; leave it out, or --transform")
    if report is not None:
        extras.require("report")
    page = None if report is None else report_place(report)
    if transform:
        _evaluate_upgrade(
            data, gallery, query, transform, side_info or [], require_compatible, judged_by, root, memory, device,
            threads, wanted, as_json,
        )  # fmt: skip
        return
    if side_info:
        raise ConfigError("--side-info needs --transform, which reads it; pass both or neither")
    from compat_train.evaluation.advice import advice
    from compat_train.evaluation.certify import certify as write_certificate
    from compat_train.evaluation.certify import require_certifiable
    from compat_train.evaluation.evaluate import evaluate as measure

    dataset = open_dataset(data, root)
    if dataset.same is not None:
        if certify or report is not None or judged_by != Metric():
            raise ConfigError(f"{data} has pairs, whose figures are fixed; leave out --certify, --report and --metric")
        _verify(dataset, query, gallery, require_compatible, memory, device, threads, wanted, as_json)
        return
    if dataset.relevance is not None and report is not None:
        raise ConfigError(f"{data} lists what is right for each query, which the page of --report cannot show")
    if certify:
        require_certifiable(query, gallery)
    with console.working() as progress:
        found = measure(
            dataset,
            query,
            gallery,
            memory_mib=memory,
            device=device,
            threads=threads,
            progress=progress,
            trust=wanted,
            examples=page is not None,
            metric=judged_by,
        )
    written = write_certificate(found, dataset, query) if certify else None
    table = found.table() + ("" if written is None else f"\ncertificate: {escaped(str(written))}")
    tried = advice(found)
    table += "".join(f"\ntry: {each}" for each in tried)
    if page is not None:
        where = () if root is None else ("--root", str(root))
        words = ("compat-sdk", "evaluate", "--data", data, *where, "--query", str(query), "--gallery", str(gallery))
        write_report(page, found, dataset, (*words, "--report", str(report)), tried)
        table += f"\nreport: {escaped(str(page))}"
    facts = found.to_json() | {"certificate": None if written is None else str(written), "advice": list(tried)}
    facts["report"] = None if page is None else str(page)
    console.report(facts, table, as_json=as_json)
    if require_compatible and not found.compatible:
        raise CheckFailedError(f"the compatibility rule does not hold: {found.rule_text}")
    if require_compatible:
        console.note(f"the compatibility rule holds: {found.rule_text}")


def _verify(
    dataset: Dataset,
    query: Path,
    gallery: Path,
    require: bool,
    memory: float,
    device: str,
    threads: int | None,
    trust: Trust | None,
    as_json: bool,
) -> None:
    from compat_train.evaluation.verification import verify_pairs

    with console.working() as progress:
        found = verify_pairs(
            dataset,
            query,
            gallery,
            memory_mib=memory,
            device=device,
            threads=threads,
            progress=progress,
            trust=trust,
        )
    console.report(found.to_json(), found.table(), as_json=as_json)
    if require and not found.compatible:
        raise CheckFailedError(f"the compatibility rule does not hold: {found.rule_text}")


def _evaluate_upgrade(
    data: str,
    old: Path,
    new: Path,
    transforms: list[Path],
    sides: list[Path],
    require: bool,
    metric: Metric,
    root: Path | None,
    memory: float,
    device: str,
    threads: int | None,
    trust: Trust | None,
    as_json: bool,
) -> None:
    from compat_sdk.datasets import open_dataset
    from compat_train.evaluation.advice import upgrade_advice
    from compat_train.evaluation.evaluate_upgrade import evaluate_upgrade

    with console.working() as progress:
        found = evaluate_upgrade(
            open_dataset(data, root),
            old,
            new,
            transforms,
            sides,
            memory_mib=memory,
            device=device,
            threads=threads,
            progress=progress,
            trust=trust,
            metric=metric,
        )
    tried = upgrade_advice(found)
    text = found.table() + "".join(f"\ntry: {each}" for each in tried)
    console.report(found.to_json() | {"advice": list(tried)}, text, as_json=as_json)
    if require and not found.worthwhile:
        raise CheckFailedError(
            f"the upgrade is not worth its while: M(new,h) is "
            f"{console.fraction(found.scores['new_transformed'].accuracy)} % at {metric}, M(old,old) is "
            f"{console.fraction(found.scores['old_old'].accuracy)} %"
        )
