"""How long a training step takes on this CPU, by memory format and precision.

A step is forward, backward and an SGD update on random images of 32 pixels. Every round times every variant
once, in an order that changes, and the medians over the rounds are compared, so that a machine that is shared or
changes its clock disturbs all variants alike: read the ratios, not the milliseconds. The GEMM peaks of the same
run stand beside them as the limit.

    python -m benchmarks.speed.train_step                      # 1 to 3 minutes on 2 cores
    python -m benchmarks.speed.train_step --rounds 15 > train_step.json
    python -m benchmarks.speed.train_step --threads 1 --clock cpu    # on a machine that others use meanwhile

JSON goes to stdout, the table to stderr.

Last figures: AMD EPYC (Zen 4, AVX-512 bf16), torch 2.13, ``--threads 1 --clock cpu --rounds 5``, one model per run,
machine shared; GEMM 89 GFLOP/s in fp32 and 195 in bf16. Time over contiguous fp32:

                   channels_last fp32   contiguous bf16   channels_last bf16
    resnet18_0.5                 0.80              0.63                 0.48
    shufflenet_v2                0.68              1.37                 1.15
    mobilenet_v2                 0.57              0.90                 0.78

So channels_last always pays, and bf16 on top of it pays for dense convolutions only: with depthwise ones it is
slower than channels_last fp32, by 1.3 (mobilenet_v2) and 1.7 (shufflenet_v2).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional

from compat_train.models import build_model, count_cost

MODELS = {
    "resnet18_0.5": ("resnet18", 0.5),
    "shufflenet_v2": ("shufflenet_v2", 1.0),
    "mobilenet_v2": ("mobilenet_v2", 1.0),
}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRECISIONS = {"fp32": False, "bf16": True}
BASELINE = "contiguous fp32"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def training_step(
    model: nn.Module, size: int, batch: int, memory_format: torch.memory_format, bf16: bool
) -> Callable[[], None]:
    """Return a function that trains a model for one step on a fixed random batch.

    Args:
        model: The model; moved to the memory format in place.
        size: Side of the images in pixels.
        batch: Images per step.
        memory_format: Layout of images and weights.
        bf16: Whether the forward pass runs under bfloat16 autocast.
    """
    model.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's stubs leave it out
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=memory_format)
    labels = torch.randint(128, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            embeddings = model(images)
        loss = functional.cross_entropy(embeddings.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def gemm(dtype: torch.dtype, side: int) -> Callable[[], None]:
    """Return a function that multiplies two square matrices, the measure of what this CPU can do."""
    left, right = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)

    def multiply() -> None:
        torch.mm(left, right)

    return multiply


def jobs(models: list[str], size: int, batch: int, side: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """Yield everything that is timed as (model or "gemm", variant, function)."""
    yield "gemm", "fp32", gemm(torch.float32, side)
    yield "gemm", "bf16", gemm(torch.bfloat16, side)
    for name in models:
        arch, width = MODELS[name]
        for layout, memory_format in FORMATS.items():
            for precision, bf16 in PRECISIONS.items():
                torch.manual_seed(0)
                model = build_model(arch, width=width)
                yield name, f"{layout} {precision}", training_step(model, size, batch, memory_format, bf16)


def measure(
    work: list[tuple[str, str, Callable[[], None]]], rounds: int, clock: Callable[[], float]
) -> dict[tuple[str, str], list[float]]:
    """Time every job once per round, in a new order each round, after one untimed call.

    Returns:
        Seconds per round, by (model, variant).
    """
    for _, _, run in work:
        run()
    seconds: dict[tuple[str, str], list[float]] = {(name, variant): [] for name, variant, _ in work}
    order = random.Random(0)
    for _ in range(rounds):
        for name, variant, run in order.sample(work, len(work)):
            start = clock()
            run()
            seconds[name, variant].append(clock() - start)
    return seconds


def report(
    seconds: dict[tuple[str, str], list[float]], names: list[str], size: int, batch: int, side: int
) -> dict[str, object]:
    """Turn seconds into the figures that are printed.

    ``of_gemm_peak`` takes the step as three forward passes of multiply-adds (one forward, two backward) and the
    GEMM of the same precision as the limit. ``ratio`` is the time over that of contiguous fp32 in the *same
    round*, median over the rounds: below 1 is faster.
    """
    peaks = {kind: 2 * side**3 / statistics.median(seconds["gemm", kind]) / 1e9 for kind in PRECISIONS}
    models: dict[str, dict[str, dict[str, float]]] = {}
    for name in names:
        arch, width = MODELS[name]
        gflop = 3 * 2 * count_cost(build_model(arch, width=width), size).mmacs * batch / 1e3
        models[name] = {}
        for variant in (f"{layout} {precision}" for layout in FORMATS for precision in PRECISIONS):
            times = seconds[name, variant]
            ratios = [time / base for time, base in zip(times, seconds[name, BASELINE], strict=True)]
            median = statistics.median(times)
            models[name][variant] = {
                "ms": round(1e3 * median, 1),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_low": round(min(ratios), 3),
                "ratio_high": round(max(ratios), 3),
                "of_gemm_peak": round(gflop / median / peaks[variant.split()[1]], 3),
            }
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "rounds": len(seconds["gemm", "fp32"]),
        "size": size,
        "batch": batch,
        "gemm_gflop_s": {kind: round(peak, 1) for kind, peak in peaks.items()},
        "models": models,
    }


def table(figures: dict[str, object]) -> str:
    """Lay the figures out for reading."""
    peaks, models = figures["gemm_gflop_s"], figures["models"]
    lines = [f"GEMM peak, GFLOP/s: {peaks}   threads: {figures['threads']}   rounds: {figures['rounds']}"]
    lines.append(f"{'model':16}{'variant':22}{'ms':>9}{'ratio':>8}{'range':>16}{'of peak':>9}")
    for name, variants in models.items():  # type: ignore[attr-defined]
        for variant, row in variants.items():
            spread = f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
            lines.append(
                f"{name:16}{variant:22}{row['ms']:9.1f}{row['ratio']:8.2f}{spread:>16}{row['of_gemm_peak']:9.2f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), help="what is trained")
    parser.add_argument("--rounds", type=int, default=9, help="timed calls of every variant")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: processor time, for --threads 1")
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=128, help="images per step")
    parser.add_argument("--gemm-side", type=int, default=2048, help="side of the matrices of the GEMM peak")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work = list(jobs(options.models, options.size, options.batch, options.gemm_side))
    seconds = measure(work, options.rounds, CLOCKS[options.clock])
    figures = report(seconds, options.models, options.size, options.batch, options.gemm_side)
    print(json.dumps(figures, indent=2))
    print(table(figures), file=sys.stderr)


if __name__ == "__main__":
    main()
