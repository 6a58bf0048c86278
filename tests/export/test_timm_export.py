"""Networks of timm become graphs of their deployed form, which agree with the form that was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.accuracy.timm_networks import NETWORKS, measure
from compat_export import TARGETS, export
from compat_export.profile_model import untrained_checkpoint
from compat_export.subject import subject_of
from compat_train.models import count_cost
from compat_train.models.timm_network import as_deployed
from tests.export.coreml_nets import settled
from tests.timm_here import make_timm_loadable, needs_timm

make_timm_loadable()


@needs_timm
@pytest.mark.parametrize("name", ["test_efficientnet", "repvit_m0_9"])
def test_a_network_of_timm_exports_at_parity_and_its_bundle_says_what_the_deployed_one_costs(
    name: str, tmp_path: Path
) -> None:
    fresh = untrained_checkpoint(f"timm:{name}", size=32, dim=16)
    checkpoint = replace(fresh, state=settled(fresh.build()).state_dict())
    trained = count_cost(checkpoint.build(), 32)
    deployed = count_cost(as_deployed(checkpoint.build(), 32), 32)
    report = export(checkpoint, tmp_path / "b", targets=["onnx"])
    assert report.graphs[0].parity.max_abs_difference < 1e-5
    manifest = report.bundle.manifest
    assert (manifest.arch, manifest.mmacs, manifest.params_m) == (f"timm:{name}", deployed.mmacs, deployed.params_m)
    assert (deployed.params_m < trained.params_m) == (name == "repvit_m0_9")


@needs_timm
def test_graphs_are_compared_with_the_network_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = untrained_checkpoint("timm:test_efficientnet", size=32, dim=16)
    called = []

    def other(network: object, size: int) -> object:
        called.append(size)
        return untrained_checkpoint("timm:test_resnet", size=32, dim=16).build()

    monkeypatch.setattr("compat_export.subject.as_deployed", other)
    subject = subject_of(checkpoint)
    monkeypatch.undo()
    assert called == [32]
    assert (subject.golden.reference == subject_of(checkpoint).golden.reference).all()


@needs_timm
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_at_parity_on_every_target(name: str) -> None:
    rows = measure(name, TARGETS, 112)
    assert [row["target"] for row in rows if row.get("worst_cosine", 0) > 0.99999] == list(TARGETS), rows
    assert all(row["max_abs_difference"] < 1e-4 and row["pair_cosine"] < 0.95 for row in rows)
