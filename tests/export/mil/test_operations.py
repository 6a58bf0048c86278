"""Each operation alone, in a package that coremltools wrote, against torch or a value by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from compat_export.mil import Package, Program
from compat_export.mil.operations import OPERATIONS
from compat_export.mil.quiet import quiet_coremltools
from compat_sdk.errors import CheckFailedError

X = np.random.default_rng(0).standard_normal((2, 4, 7, 5)).astype(np.float32)
KERNEL = np.random.default_rng(1).standard_normal((6, 2, 3, 3)).astype(np.float32)
DEPTHWISE = np.random.default_rng(2).standard_normal((4, 1, 7, 7)).astype(np.float32)
MATRIX = np.random.default_rng(3).standard_normal((3, 5)).astype(np.float32)
FOUR = np.random.default_rng(4).uniform(0.5, 2, (4, 4)).astype(np.float32)
TORCH = torch.from_numpy

Build = Callable[[Any, Any], Any]
Expected = Callable[[Tensor], Tensor]

CASES: dict[str, tuple[Build, Expected]] = {
    "add": (lambda mb, x: mb.add(x=x, y=np.float32(2)), lambda x: x + 2),
    "sub": (lambda mb, x: mb.sub(x=x, y=x), lambda x: x * 0),
    "mul": (lambda mb, x: mb.mul(x=x, y=X[:1]), lambda x: x * TORCH(X[:1])),
    "real_div": (lambda mb, x: mb.real_div(x=x, y=np.float32(3)), lambda x: x / 3),
    "real_div, integers": (
        lambda mb, x: mb.tile(
            x=x,
            reps=mb.real_div(
                x=np.array([4, 2, 2, 2], np.int32), y=mb.gather(x=mb.shape(x=x), indices=[0, 0, 0, 0], axis=0)
            ),
        ),
        lambda x: torch.cat((x, x)),
    ),
    "pow": (lambda mb, x: mb.pow(x=x, y=np.float32(2)), lambda x: x**2),
    "maximum": (lambda mb, x: mb.maximum(x=x, y=np.float32(0.5)), lambda x: x.clamp_min(0.5)),
    "minimum": (lambda mb, x: mb.minimum(x=x, y=np.float32(0.5)), lambda x: x.clamp_max(0.5)),
    "exp": (lambda mb, x: mb.exp(x=x), torch.exp),
    "square": (lambda mb, x: mb.square(x=x), torch.square),
    "sqrt": (lambda mb, x: mb.sqrt(x=mb.square(x=x)), torch.abs),
    "rsqrt": (lambda mb, x: mb.rsqrt(x=mb.square(x=x), epsilon=0.25), lambda x: (x * x + 0.25).rsqrt()),
    "relu": (lambda mb, x: mb.relu(x=x), functional.relu),
    "relu6": (lambda mb, x: mb.relu6(x=mb.mul(x=x, y=np.float32(9))), lambda x: functional.relu6(9 * x)),
    "leaky_relu": (lambda mb, x: mb.leaky_relu(x=x, alpha=0.25), lambda x: functional.leaky_relu(x, 0.25)),
    "thresholded_relu": (lambda mb, x: mb.thresholded_relu(x=x, alpha=0.5), lambda x: torch.where(x >= 0.5, x, 0 * x)),
    "sigmoid": (lambda mb, x: mb.sigmoid(x=x), torch.sigmoid),
    "sigmoid_hard": (lambda mb, x: mb.sigmoid_hard(x=x, alpha=0.25, beta=0.5), lambda x: (x / 4 + 0.5).clamp(0, 1)),
    "silu": (lambda mb, x: mb.silu(x=x), functional.silu),
    "tanh": (lambda mb, x: mb.tanh(x=x), torch.tanh),
    "gelu": (lambda mb, x: mb.gelu(x=x, mode="EXACT"), functional.gelu),
    "gelu by tanh": (
        lambda mb, x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: functional.gelu(x, approximate="tanh"),
    ),
    "layer_norm": (
        lambda mb, x: mb.layer_norm(x=x, axes=[-2, -1], gamma=X[0, 0], beta=X[0, 1], epsilon=0.25),
        lambda x: functional.layer_norm(x, [7, 5], TORCH(X[0, 0]), TORCH(X[0, 1]), 0.25),
    ),
    "layer_norm over channels": (
        lambda mb, x: mb.layer_norm(x=x, axes=[1], gamma=FOUR[0], beta=FOUR[1], epsilon=1e-5),
        lambda x: functional.layer_norm(x.mT.transpose(1, 3), [4], TORCH(FOUR[0]), TORCH(FOUR[1])).transpose(1, 3).mT,
    ),
    "softmax": (lambda mb, x: mb.softmax(x=x, axis=1), lambda x: x.softmax(1)),
    "clip": (lambda mb, x: mb.clip(x=x, alpha=-0.5, beta=0.25), lambda x: x.clamp(-0.5, 0.25)),
    "identity": (lambda mb, x: mb.identity(x=x), lambda x: x),
    "reduce_mean": (lambda mb, x: mb.reduce_mean(x=x, axes=[2, 3], keep_dims=False), lambda x: x.mean((2, 3))),
    "reduce_sum": (lambda mb, x: mb.reduce_sum(x=x, axes=[-1], keep_dims=True), lambda x: x.sum(-1, True)),
    "logical_not": (
        lambda mb, x: mb.cast(x=mb.logical_not(x=mb.equal(x=mb.relu(x=x), y=0.0)), dtype="fp32"),
        lambda x: (x > 0).float(),
    ),
    "cumsum": (lambda mb, x: mb.cumsum(x=x, axis=2), lambda x: x.cumsum(2)),
    "sin": (lambda mb, x: mb.sin(x=x), lambda x: x.sin()),
    "cos": (lambda mb, x: mb.cos(x=x), lambda x: x.cos()),
    "range_1d": (
        lambda mb, x: mb.add(x=x, y=mb.cast(x=mb.range_1d(end=5, start=0, step=1), dtype="fp32")),
        lambda x: x + torch.arange(5),
    ),
    "reduce_prod": (lambda mb, x: mb.reduce_prod(x=x, axes=[1, -1], keep_dims=False), lambda x: x.prod(3).prod(1)),
    "fill": (lambda mb, x: mb.add(x=x, y=mb.fill(shape=[7, 5], value=0.5)), lambda x: x + 0.5),
    "pad": (
        lambda mb, x: mb.pad(x=x, pad=[1, 2, 0, 3], mode="constant", constant_val=0.25),
        lambda x: functional.pad(x, (0, 3, 1, 2), value=0.25),
    ),
    "reduce_max": (lambda mb, x: mb.reduce_max(x=x, axes=[1], keep_dims=True), lambda x: x.amax(1, True)),
    "reduce_l2_norm": (
        lambda mb, x: mb.reduce_l2_norm(x=x, axes=[1], keep_dims=True),
        lambda x: x.norm(dim=1)[:, None],
    ),
    "batch_norm": (
        lambda mb, x: mb.batch_norm(x=x, mean=FOUR[0], variance=FOUR[1], gamma=FOUR[2], beta=FOUR[3], epsilon=1e-3),
        lambda x: functional.batch_norm(x, *map(TORCH, FOUR), eps=1e-3),
    ),
    "linear": (
        lambda mb, x: mb.linear(x=x, weight=MATRIX, bias=MATRIX[:, 0]),
        lambda x: x @ TORCH(MATRIX).T + TORCH(MATRIX[:, 0]),
    ),
    "matmul": (lambda mb, x: mb.matmul(x=x, y=MATRIX, transpose_y=True), lambda x: x @ TORCH(MATRIX).T),
    "conv": (
        lambda mb, x: mb.conv(
            x=x, weight=KERNEL, groups=2, strides=[2, 1], dilations=[1, 2], pad_type="custom", pad=[1, 0, 2, 1]
        ),
        lambda x: functional.conv2d(functional.pad(x, (2, 1, 1, 0)), TORCH(KERNEL), None, (2, 1), 0, (1, 2), 2),
    ),
    "conv, 7x7 depthwise, same": (
        lambda mb, x: mb.conv(x=x, weight=DEPTHWISE, groups=4, strides=[2, 2], pad_type="same"),
        # 7 rows need 6 more, 5 columns 6 more, in equal parts
        lambda x: functional.conv2d(x, TORCH(DEPTHWISE), None, 2, 3, 1, 4),
    ),
    "max_pool": (
        lambda mb, x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda x: functional.max_pool2d(x, 3, 2, 1),
    ),
    "max_pool, same_lower": (
        lambda mb, x: mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="same_lower"),
        lambda x: functional.max_pool2d(functional.pad(x, (1, 0, 1, 0), value=-torch.inf), 2, 2),
    ),
    "avg_pool": (
        lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda x: functional.avg_pool2d(x, 3, 2, 1),
    ),
    "avg_pool without its padding": (
        lambda mb, x: mb.avg_pool(
            x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1] * 4, exclude_padding_from_average=True
        ),
        lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "concat": (lambda mb, x: mb.concat(values=[x, x], axis=-1), lambda x: torch.cat((x, x), -1)),
    "concat, interleaved": (
        lambda mb, x: mb.concat(values=[x, mb.relu(x=x)], axis=1, interleave=True),
        lambda x: torch.stack((x, x.relu()), 2).flatten(1, 2),
    ),
    "stack": (lambda mb, x: mb.stack(values=[x, x], axis=1), lambda x: torch.stack((x, x), 1)),
    "split": (lambda mb, x: mb.split(x=x, num_splits=2, axis=1)[1], lambda x: x[:, 2:]),
    "split by sizes": (lambda mb, x: mb.split(x=x, split_sizes=[1, 3], axis=1)[1], lambda x: x[:, 1:]),
    "expand_dims": (lambda mb, x: mb.expand_dims(x=x, axes=[-2]), lambda x: x[..., None, :]),
    "squeeze": (lambda mb, x: mb.squeeze(x=mb.expand_dims(x=x, axes=[0]), axes=[0]), lambda x: x),
    "reshape": (lambda mb, x: mb.reshape(x=x, shape=[0, 7, -1, 4]), lambda x: x.reshape(2, 7, 5, 4)),
    "transpose": (lambda mb, x: mb.transpose(x=x, perm=[0, 2, 3, 1]), lambda x: x.permute(0, 2, 3, 1)),
    "tile": (lambda mb, x: mb.tile(x=x, reps=[1, 2, 1, 1]), lambda x: torch.cat((x, x), 1)),
    "gather": (lambda mb, x: mb.gather(x=x, indices=[2, 0, -1], axis=1), lambda x: x[:, [2, 0, 3]]),
    "slice_by_index": (
        lambda mb, x: mb.slice_by_index(
            x=x,
            begin=[0, 1, 0, 2],
            end=[0, 3, -1, 0],
            stride=[1, 1, 2, 1],
            begin_mask=[True, False, False, False],
            end_mask=[True, False, False, True],
            squeeze_mask=[False] * 4,
        ),
        lambda x: x[:, 1:3, 0:-1:2, 2:],
    ),
    "slice_by_index, one channel": (
        lambda mb, x: mb.slice_by_index(
            x=x, begin=[0, 3, 0, 0], end=[2, 4, 7, 5], squeeze_mask=[False, True, False, False]
        ),
        lambda x: x[:, 3],
    ),
    "shape": (lambda mb, x: mb.cast(x=mb.shape(x=x), dtype="fp32"), lambda x: torch.tensor([2.0, 4, 7, 5])),
    "cast": (lambda mb, x: mb.cast(x=mb.cast(x=x, dtype="int32"), dtype="fp32"), torch.trunc),
    "equal": (lambda mb, x: mb.cast(x=mb.equal(x=x, y=X[:1]), dtype="fp32"), lambda x: (x == TORCH(X[:1])).float()),
    "select": (
        lambda mb, x: mb.select(cond=mb.equal(x=x, y=X[:1]), a=x, b=np.float32(7)),
        lambda x: torch.where(x == TORCH(X[:1]), x, torch.tensor(7.0)),
    ),
}


def built(coremltools: Any, build: Build) -> Package:
    from coremltools.converters.mil import Builder

    with quiet_coremltools():

        @Builder.program(  # type: ignore[misc]
            input_specs=[Builder.TensorSpec(shape=X.shape)], opset_version=coremltools.target.iOS17
        )
        def program(x: Any) -> Any:
            return Builder.identity(x=build(Builder, x), name="y")

        model = coremltools.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=coremltools.target.iOS17,
            compute_precision=coremltools.precision.FLOAT32,
            pass_pipeline=coremltools.PassPipeline.EMPTY,  # what is tested stays as it was written
            skip_model_load=True,
        )
        return Package.open(Path(model.package_path))


@pytest.mark.parametrize("case", CASES)
def test_an_operation_gives_what_torch_gives(coremltools: Any, case: str) -> None:
    build, expected = CASES[case]
    program = Program(built(coremltools, build))
    assert case.partition(",")[0].partition(" ")[0] in program.operations
    found: NDArray[np.float32] = program.run(x=X)["y"]
    wanted = expected(TORCH(X)).numpy()
    assert found.dtype == np.float32 and found.shape == wanted.shape
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_every_operation_of_the_table_is_tested_here_or_with_compressed_weights() -> None:
    tested = {case.partition(",")[0].partition(" ")[0] for case in CASES}
    assert {name for name in OPERATIONS if not name.startswith("constexpr_")} == tested


def test_an_unknown_operation_is_named_with_its_output(coremltools: Any) -> None:
    package = built(coremltools, lambda mb, x: mb.erf(x=x, name="curve"))
    with pytest.raises(CheckFailedError, match=r"operation erf \(output curve\) is not computed here; known are add"):
        Program(package)


def test_an_unknown_option_of_a_known_operation_is_refused(coremltools: Any) -> None:
    package = built(
        coremltools,
        lambda mb, x: mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", ceil_mode=True, name="p"),
    )
    with pytest.raises(CheckFailedError, match=r"max_pool \(output p\): pooling with ceil_mode is not computed here"):
        Program(package).run(x=X)
    relu = built(coremltools, lambda mb, x: mb.relu(x=x, name="r"))
    block = relu.spec.mlProgram.functions["main"].block_specializations["CoreML7"]
    for operation in block.operations:
        if operation.type == "relu":
            operation.inputs["slope"].CopyFrom(operation.inputs["x"])
    with pytest.raises(CheckFailedError, match=r"relu \(output r\): got an unexpected keyword argument 'slope'"):
        Program(relu)
