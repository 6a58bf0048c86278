"""Speed of a supernet's step and of judging candidates, each beside the straightforward way to do it.

    python -m benchmarks.speed.nas_speed --root data/kanji --runs runs

The step: against one that zeroes and updates every operation's weights, drawn or not, with members drawn uniformly from
the whole space. Both draw from the same batches; the second also is timed with the first's members, so that the cost of
members and the cost of the bookkeeping are told apart.

Candidates: against a loop that, for each one, decodes the calibration and validation images from PNG files, embeds the
validation gallery with the gallery model, and keeps batch norms unfolded. The gallery run is that of
kanji_compatibility, seed 0. Alternating rounds, one thread, medians; printed beside the sgemm peak of the same run.

That gallery model is a small ResNet-18. ``--gallery-arch resnet101 --candidates 2`` puts the paper's in its place for
the loop, with fresh weights, which change nothing in what it costs; only candidates are timed then.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.studies.cmp_nas.search import TIERS, folder_of, search_config
from compat_sdk.files.documents import write_json_atomic
from compat_sdk.images import to_pixels
from compat_sdk.metrics import Metric
from compat_train.data.batches import Batches
from compat_train.device import place
from compat_train.embed import embed_images
from compat_train.methods.classify import new_classifier
from compat_train.methods.objective import compatibility_objective, gallery_rows
from compat_train.models.build import build_model
from compat_train.models.search_space import Member
from compat_train.models.supernet import Supernet, take_member
from compat_train.nas.cmp.candidate import CandidateEvaluator, recalibrate
from compat_train.nas.cmp.run import prepare
from compat_train.nas.cmp.sampling import MemberSampler
from compat_train.nas.cmp.train_supernet import MemberSchedule
from compat_train.nas.cmp.validation import Validation

HERE = Path(__file__).parent


def sgemm_peak() -> float:
    """GFLOP/s of a 1024 x 1024 product, the best of five."""
    a = torch.randn(1024, 1024)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best / 1e9


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def chosen_member(supernet: Supernet, chosen: list[Member], inputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Embeddings by the member that is chosen at the time."""
    found: torch.Tensor = supernet(inputs, chosen[0])
    return found


def steps(root: str, runs: Path, rounds: int) -> dict[str, float]:
    """Median milliseconds of a step of each kind."""
    config = search_config(root, runs, 0)
    prepared = prepare(config, folder_of(runs, 0, False))
    query = config.training("shufflenet_v2")
    rows = gallery_rows(query, prepared.gallery, prepared.data)
    device = torch.device("cpu")
    torch.manual_seed(0)
    batches = Batches(
        prepared.data.pixels, prepared.data.labels, batch=128, seed=0, augmentation=config.augmentation, device=device
    )
    schedule = MemberSchedule(
        prepared.costs, config.supernet, budget=max(TIERS.values()), steps=10, seed=0
    )  # past its warm-ups from step 10 on
    uniform = MemberSampler(prepared.costs)
    generator = np.random.default_rng(0)
    kinds = {}
    for name in ("ours", "naive", "naive, our members"):
        supernet = Supernet(config.search_space, dim=128, stem_stride=2)
        classifier = new_classifier(len(prepared.data.classes), 128)
        trained = place(torch.nn.ModuleDict({"supernet": supernet, "classifier": classifier}), device)
        optimiser = torch.optim.SGD(trained.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        for parameter in trained.parameters():
            parameter.grad = torch.zeros_like(parameter)
        chosen: list[Member] = []
        objective = compatibility_objective(
            query,
            prepared.gallery,
            prepared.data,
            partial(chosen_member, supernet, chosen),
            classifier,
            rows,
            device,
        )
        kinds[name] = (objective, optimiser, chosen)
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds):
        batch = batches.at(number)
        ours = schedule.member(1000 + number)
        theirs = uniform.draw(generator, 0, 1e9)
        order = list(kinds)[number % 3 :] + list(kinds)[: number % 3]  # whoever is first meets a cold batch
        for name in order:
            objective, optimiser, chosen = kinds[name]
            chosen[:] = [theirs if name == "naive" else ours]

            start = time.perf_counter()
            optimiser.zero_grad(set_to_none=name == "ours")
            torch.stack(list(objective(batch).values())).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            found[name].append(time.perf_counter() - start)
    return {name: 1000 * median(times[2:]) for name, times in found.items()}


def candidates(root: str, runs: Path, rounds: int, gallery_arch: str | None) -> dict[str, float]:
    """Median seconds per candidate of each kind, and the peak memory of this process in MiB."""
    config = search_config(root, runs, 0)
    folder = folder_of(runs, 0, False)
    prepared = prepare(config, folder)
    weights = folder / "supernet" / "supernet.safetensors"
    evaluator = CandidateEvaluator(
        weights=weights,
        validation=folder / "validation",
        preprocessing=prepared.gallery.preprocessing,
        dim=128,
        stem_stride=2,
        metric=Metric(),
        batch=128,
    )
    score = evaluator()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    from safetensors.torch import load_file

    state = load_file(weights)
    images = Validation.load(folder / "validation")
    preprocessing = prepared.gallery.preprocessing
    gallery = build_model(gallery_arch, dim=128).eval() if gallery_arch else prepared.gallery.build()
    with tempfile.TemporaryDirectory() as scratch:
        files: dict[str, list[Path]] = {}
        for name in ("queries", "gallery", "calibration"):
            files[name] = []
            for row, image in enumerate(getattr(images, name)):
                path = Path(scratch) / f"{name}-{row}.png"
                # As the set holds them: 32 pixels, grey.
                Image.fromarray(np.asarray(image)).convert("L").resize((32, 32)).save(path)
                files[name].append(path)

        def decoded(name: str) -> NDArray[np.uint8]:
            return np.stack([to_pixels(path, preprocessing) for path in files[name]])

        def naive(member: Member) -> None:
            network = take_member(state, member, dim=128, stem_stride=2)
            recalibrate(network, decoded("calibration"), preprocessing)
            embed = partial(embed_images, preprocessing=preprocessing, channels_last=True)
            queries, side = decoded("queries"), decoded("gallery")
            of_queries = embed(network, queries)
            for against in (embed(network, side), embed(gallery, side)):
                (of_queries @ against.T).argmax(1)

        sampler = MemberSampler(prepared.costs)
        generator = np.random.default_rng(1)
        found: dict[str, list[float]] = {"ours": [], "ours, r2 only": [], "naive": []}
        for _ in range(rounds):
            member = sampler.draw(generator, 0.85, 0.95)
            found["ours"].append(timed(partial(score, member, "both")))
            found["ours, r2 only"].append(timed(partial(score, member, "across")))
            found["naive"].append(timed(partial(naive, member)))
    return {name: median(times) for name, times in found.items()} | {"peak_mib": memory}


def main() -> None:
    """Prints and stores the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data/kanji")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--candidates", type=int, default=7)
    parser.add_argument("--gallery-arch", help="time candidates alone, against a fresh network of this architecture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak = sgemm_peak()
    step = None if options.gallery_arch else steps(options.root, options.runs, options.steps)
    judged = candidates(options.root, options.runs, options.candidates, options.gallery_arch)
    result = {
        "machine": platform.processor() or platform.machine(),
        "gallery_arch": options.gallery_arch or "of the run",
        "sgemm_gflops": [round(peak, 1), round(sgemm_peak(), 1)],
        "step_ms": step,
        "step_ratio": step["ours"] / step["naive"] if step else None,
        "candidate_s": judged,
        "candidate_speedup": judged["naive"] / judged["ours"],
    }
    name = f"nas_speed_{options.gallery_arch}.json" if options.gallery_arch else "nas_speed.json"
    write_json_atomic(HERE / name, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
