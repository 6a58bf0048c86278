"""Every network the project has, on every target: how far the exported graph is from PyTorch.

All architectures, the transforms of FCT and DMU, 20 random members of kanji's search space that the study of CMP-NAS
trained for its figure 4, and members of the paper's larger space, at fp32 and fp16. The others are trained for 112
steps on the sample, because a network with random weights embeds all images alike: its batch norms then magnify
rounding errors as much as what little tells images apart. Each row tells the mean cosine of different inputs'
embeddings beside the worst cosine of one input's two. Core ML packages are computed by `compat_export.mil`, the others
by the engines that ship.

    python -m benchmarks.studies.cmp_nas.run --root data/kanji            # trains fig4-bct-0-0 and so on
    python -m benchmarks.accuracy.export_targets                       # hours on one core; resumable
    python -m benchmarks.accuracy.export_targets --targets onnx coreml --only mobilenet_v2
    python -m benchmarks.accuracy.export_targets --report     # export_targets.md from the rows

Rows go to export_targets.json as they come, with the CPU seconds of the conversion and the peak memory of its
process, which converts one network to one target, fp32 first.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.pages import table, write_page
from benchmarks.rows import Row, Rows
from compat_export.check.parity import compare_embeddings
from compat_export.convert.conversion import Options, Port
from compat_export.convert.graphs import TARGETS
from compat_export.convert.unit import UnitEmbedder, UnitTransform, UnitTransformWithSide
from compat_sdk.datasets import open_dataset
from compat_sdk.images import Preprocessing, to_input
from compat_sdk.images.preprocess import pixels_at
from compat_train.config.gallery import GalleryConfig
from compat_train.config.parts import Classification, Execution, Optimisation, Source
from compat_train.config.scenario import Scenario
from compat_train.methods.gallery import train_gallery
from compat_train.models.build import ARCHITECTURES
from compat_train.models.search_space import space_named
from compat_train.models.transform import ForwardAdaptation, ForwardTransform
from compat_train.nas.cmp.cost import cost_table
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.runs.checkpoint import Checkpoint

HERE = Path(__file__).parent
IMAGES = 8
MEMBERS = 20


def names(size: int) -> Iterator[str]:
    """Everything that is exported."""
    yield from ARCHITECTURES
    yield from ("fct-transform", "dmu-adaptation")
    yield from (f"fig4-bct-{number}-0" for number in range(MEMBERS))
    sampler = MemberSampler(cost_table(space_named("shuffle,last=512"), size=size))
    generator = np.random.default_rng(0)
    for _ in range(MEMBERS):
        yield sampler.draw(generator, sampler.lowest, min(sampler.highest, sampler.lowest * 3.5)).name


def trained(name: str, size: int, runs: Path) -> UnitEmbedder:
    """A network after a short training on the sample, kept as a RUN."""
    run, member = runs / f"{name}-{size}", name.startswith("cmp:")
    config = GalleryConfig(
        source=Source(data="sample", scenario=Scenario(fraction=0.3)),
        arch=name,
        stem_stride=2 if member or name.startswith("resnet") else 1,  # cheaper to train
        preprocessing=Preprocessing(size=size),
        classification=Classification(margin=0.0, scale=16.0),
        # At a higher rate the early layers of members grow until the weights themselves overflow float16.
        optimisation=Optimisation(epochs=2, batch=32, lr=0.01 if member else 0.05, warmup_epochs=0.5),
        execution=Execution(device="cpu", precision="fp32", threads=1),
    )
    train_gallery(config, run)  # returns at once where it has finished
    return UnitEmbedder(Checkpoint.load(run).build())


def network(
    name: str, options: argparse.Namespace
) -> tuple[nn.Module, list[Port], list[np.ndarray[Any, np.dtype[np.float32]]]]:
    """A network or transform, its ports and inputs: real images, or random vectors of unit norm."""
    if name in ("fct-transform", "dmu-adaptation"):
        torch.manual_seed(0)
        generator = np.random.default_rng(0)
        widths = {"old": 128, "side": 128} if name == "fct-transform" else {"old": 1024}
        module: nn.Module = UnitTransform(ForwardAdaptation())
        if name == "fct-transform":
            module = UnitTransformWithSide(ForwardTransform())
        inputs = [generator.normal(size=(64, width)).astype(np.float32) for width in widths.values()]
        inputs = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in inputs]
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.momentum = None
        with torch.no_grad():
            module.train()(*map(torch.from_numpy, inputs))  # batch norms settle
        return module.eval(), [Port(port, (width,)) for port, width in widths.items()], [x[:IMAGES] for x in inputs]
    if name.startswith("fig4-"):
        checkpoint = Checkpoint.load(options.networks / name)
        module, preprocessing = UnitEmbedder(checkpoint.build()), checkpoint.preprocessing
        images = open_dataset("kanji-500", options.root).splits["query"].images
    else:
        module, preprocessing = trained(name, options.size, options.runs), Preprocessing(size=options.size)
        images = open_dataset("sample").splits["query"].images
    pixels = np.stack([pixels_at(images, row, preprocessing) for row in range(IMAGES)])
    size = preprocessing.size
    return module.eval(), [Port("image", (3, size, size))], [to_input(pixels, preprocessing)]


def measure(name: str, target: str, precisions: list[str], options: argparse.Namespace) -> list[Row]:
    """Rows of one network on one target; called in a process of its own, so that its peak memory is its own."""
    torch.set_num_threads(1)
    module, ports, inputs = network(name, options)
    with torch.no_grad():
        reference = module(*map(torch.from_numpy, inputs)).numpy()
    rows: list[Row] = []
    for precision in precisions:
        row: Row = {"name": name, "target": target, "precision": precision, "size": options.size}
        row["pair_cosine"] = pair_cosine(reference)
        try:
            row |= converted(module, ports, inputs, reference, target, precision)
        except Exception as error:  # a failed conversion is a result
            row["error"] = f"{type(error).__name__}: {error}"[:300]
        rows.append(row)
    return rows


def pair_cosine(embeddings: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    """Mean cosine between embeddings of different inputs: near 1 would make any comparison easy to pass."""
    count = len(embeddings)
    return float(((embeddings @ embeddings.T).sum() - count) / (count * (count - 1)))


def converted(
    module: nn.Module,
    ports: list[Port],
    inputs: list[np.ndarray[Any, np.dtype[np.float32]]],
    reference: np.ndarray[Any, np.dtype[np.float32]],
    target: str,
    precision: str,
) -> dict[str, Any]:
    """One graph: its distance from PyTorch, its size, and what the conversion took."""
    from compat_export.convert import to_coreml, to_executorch, to_litert, to_onnx
    from compat_export.mil import CoreMLTwin, Package
    from compat_sdk.engines.choice import ExecuTorchEngine, LiteRTEngine, OnnxRuntimeEngine

    options = Options(precision=precision)  # type: ignore[arg-type]
    before = time.process_time()
    converters = {"onnx": to_onnx, "tflite": to_litert, "coreml": to_coreml, "executorch": to_executorch}
    files = converters[target].convert(module, ports, options)
    seconds = time.process_time() - before
    port_names = [port.name for port in ports]
    data = next(iter(files.values()))
    engine: Any
    match target:
        case "onnx":
            engine = OnnxRuntimeEngine(data, input=port_names, threads=1)
        case "tflite":
            engine = LiteRTEngine(data, input=port_names, batch=1, threads=1)
        case "coreml":
            engine = CoreMLTwin(Package.from_files(files), inputs=port_names)
        case _:
            engine = ExecuTorchEngine(data, batch=1, threads=1)
    parity = compare_embeddings(reference, engine.run(*inputs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "max_abs_difference": parity.max_abs_difference,
        "worst_cosine": parity.worst_cosine,
        "bytes": sum(map(len, files.values())),
        "cpu_seconds": round(seconds, 1),
        "peak_mib": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
    }


def kind(name: str) -> str:
    """Which of the groups of the table a network belongs to."""
    if name.startswith("fig4-"):
        return "trained members"
    if name.startswith("cmp:"):
        return "members after 112 steps"
    return "transforms" if name in ("fct-transform", "dmu-adaptation") else "architectures"


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Writes per group, target and precision how many there are, the worst of them, and what failed."""
    header = ["networks", "target", "precision", "rows", "largest difference", "worst cosine", "under 0.9999"]
    header += ["failed", "most CPU seconds", "most MiB"]
    lines = []
    for group in ("architectures", "transforms", "trained members", "members after 112 steps"):
        for target in TARGETS:
            for precision in ("fp32", "fp16"):
                wanted = (group, target, precision)
                found = [row for row in rows if (kind(row["name"]), row["target"], row["precision"]) == wanted]
                good = [row for row in found if "error" not in row]
                if good:
                    largest = max(row["max_abs_difference"] for row in good)
                    cosines = [row["worst_cosine"] for row in good]
                    below = sum(cosine < 0.9999 for cosine in cosines)
                    seconds, peak = (max(row[name] for row in good) for name in ("cpu_seconds", "peak_mib"))
                    counts = f"{len(good)}", f"{largest:.1e}", f"{min(cosines):.6f}", f"{below}"
                    costs = f"{len(found) - len(good)}", f"{seconds:.0f}", f"{peak}"
                    lines.append([*wanted, *counts, *costs])
    note = "Differences and cosines are of embeddings of unit length."
    title = "Exported graphs beside PyTorch"
    write_page(page, "benchmarks.accuracy.export_targets", [table(title, header, lines, note)])


def main() -> None:
    """Measures what has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--runs", type=Path, default=Path("runs/export_targets"), help="folder of the trained networks")
    parser.add_argument("--networks", type=Path, default=Path("runs/cmp/networks"), help="RUN folders of CMP-NAS")
    parser.add_argument("--root", type=Path, default=Path("data/kanji"), help="folder of the built kanji set")
    parser.add_argument("--only", nargs="+", help="these networks alone")
    parser.add_argument("--out", type=Path, default=HERE / "export_targets.json")
    parser.add_argument("--report", action="store_true", help="only write the table from the rows")
    options = parser.parse_args()
    rows = Rows(options.out, "name", "target", "precision", "size")
    for name in [] if options.report else options.only or names(options.size):
        for target in options.targets:
            wanted = [
                precision for precision in options.precisions if (name, target, precision, options.size) not in rows
            ]
            if not wanted:
                continue
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                found = pool.submit(measure, name, target, wanted, options).result()
            rows.add(found)
            for row in found:
                print(json.dumps(row), flush=True)
    write_report(rows.rows, options.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
