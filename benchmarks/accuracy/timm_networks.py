"""Ten networks of the package timm, as query networks, on every target: what they cost, and how far graphs are off.

Multiply-adds and parameters are counted as trained and as deployed, where training's parallel branches are merged
(repvit, fastvit, mobileone). Graphs are made of the deployed network and compared with the trained one. Weights are
random, but batch norms have settled on images of the sample: otherwise all images would be embedded alike. The mean
cosine of different images' embeddings stands beside the worst cosine of one image's two.

    python -m benchmarks.accuracy.timm_networks                   # a quarter of an hour on one core; resumable
    python -m benchmarks.accuracy.timm_networks --targets onnx --only timm:repvit_m0_9
    python -m benchmarks.accuracy.timm_networks --report          # timm_networks.md from the rows
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.accuracy.export_targets import pair_cosine
from benchmarks.pages import table, write_page
from benchmarks.rows import Row, Rows
from compat_export.check.parity import compare_embeddings
from compat_export.convert.conversion import INPUT, Options, Port
from compat_export.convert.graphs import TARGETS, convert, opened
from compat_export.convert.unit import UnitEmbedder
from compat_sdk.datasets import open_dataset
from compat_sdk.images import Preprocessing, to_input
from compat_sdk.images.preprocess import pixels_at
from compat_train.models.build import build_model
from compat_train.models.cost import count_cost
from compat_train.models.timm_network import as_deployed

HERE = Path(__file__).parent
IMAGES, SETTLING, DIM = 8, 96, 128
NETWORKS = (
    "timm:mobilenetv3_large_100",
    "timm:mobilenetv4_conv_small",
    "timm:efficientnet_lite0",
    "timm:repvit_m0_9",
    "timm:fastvit_t8",
    "timm:mobileone_s0",
    "timm:ghostnetv2_100",
    "timm:starnet_s1",
    "timm:edgenext_xx_small",
    "timm:tiny_vit_5m_224",
)


def pictures(size: int, count: int) -> NDArray[np.float32]:
    """Prepared images of the sample, ``[count, 3, size, size]``."""
    images, preprocessing = open_dataset("sample").splits["query"].images, Preprocessing(size=size)
    return to_input(np.stack([pixels_at(images, row, preprocessing) for row in range(count)]), preprocessing)


def settled(name: str, inputs: NDArray[np.float32]) -> nn.Module:
    """A network with random weights whose batch norms have the moments of these images."""
    torch.manual_seed(0)
    network = build_model(name, dim=DIM)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        network.train()
        for _ in range(2):  # first the early layers settle, then what they feed
            for norm in norms:
                norm.reset_running_stats()
            for part in np.array_split(inputs, SETTLING // 32):
                network(torch.from_numpy(part))
    return network.eval()


def measure(name: str, targets: Sequence[str], size: int) -> list[Row]:
    """One network on some targets; called in a process of its own, as converters may leave things behind."""
    torch.set_num_threads(1)
    inputs = pictures(size, SETTLING)
    network = settled(name, inputs)
    deployed = as_deployed(network, size)
    facts: Row = {"name": name, "size": size}
    for kind, one in (("trained", network), ("deployed", deployed)):
        cost = count_cost(one, size)
        facts |= {f"mmacs_{kind}": round(cost.mmacs, 3), f"params_m_{kind}": round(cost.params_m, 4)}
    inputs = inputs[:IMAGES]
    with torch.no_grad():
        reference = UnitEmbedder(network)(torch.from_numpy(inputs)).numpy()
    facts["pair_cosine"] = pair_cosine(reference)
    return [facts | {"target": target} | converted(deployed, target, inputs, reference) for target in targets]


def converted(network: nn.Module, target: str, inputs: NDArray[np.float32], reference: NDArray[np.float32]) -> Row:
    """A graph's distance from PyTorch, its size and what its conversion took; or how it failed, which is a result."""
    before = time.process_time()
    try:
        graph = convert(UnitEmbedder(network).eval(), [Port(INPUT, inputs.shape[1:])], target, Options())
        seconds = round(time.process_time() - before, 1)
        with opened(graph) as engines:
            parity = compare_embeddings(reference, engines[-1].run(inputs))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    found = {"worst_cosine": parity.worst_cosine, "max_abs_difference": parity.max_abs_difference}
    return found | {"cpu_seconds": seconds, "bytes": graph.size}


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes what each network costs and how far each of its graphs is from PyTorch."""
    header = ["network", "size", "MMACs trained", "deployed", "M parameters trained", "deployed", "pair cosine"]
    header += [f"{target}: worst cosine" for target in TARGETS] + [f"{target} s" for target in TARGETS]
    lines = []
    for name in NETWORKS:
        found = {row["target"]: row for row in rows if row["name"] == name}
        if not found:
            continue
        first = next(iter(found.values()))
        line = [name, str(first["size"])]
        line += [f"{first[f'mmacs_{kind}']:.2f}" for kind in ("trained", "deployed")]
        line += [f"{first[f'params_m_{kind}']:.3f}" for kind in ("trained", "deployed")]
        line.append(f"{first['pair_cosine']:.3f}")
        line += [_cell(found.get(target), "worst_cosine", ".7f") for target in TARGETS]
        line += [_cell(found.get(target), "cpu_seconds", ".0f") for target in TARGETS]
        lines.append(line)
    note = (
        f"An embedding has {DIM} numbers; the layer that makes it is counted. Seconds are the processor's, of one "
        f"conversion."
    )
    write_page(
        page, "benchmarks.accuracy.timm_networks", [table("Networks of timm beside PyTorch", header, lines, note)]
    )


def _cell(row: Row | None, field: str, form: str) -> str:
    if row is None:
        return "-"
    return format(row[field], form) if field in row else "failed"


def main() -> None:
    """Measures what has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), help="these networks alone")
    parser.add_argument("--out", type=Path, default=HERE / "timm_networks.json")
    parser.add_argument("--report", action="store_true", help="only write the table from the rows")
    options = parser.parse_args()
    rows = Rows(options.out, "name", "target", "size")
    for name in [] if options.report else options.only:
        targets = [target for target in options.targets if (name, target, options.size) not in rows]
        if not targets:
            continue
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(measure, name, targets, options.size).result()
        rows.add(found)
        for row in found:
            print(json.dumps(row), flush=True)
    write_report(rows.rows, options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
