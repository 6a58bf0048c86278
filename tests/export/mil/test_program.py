from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from compat_export.check.parity import Parity, measure_parity, require_parity
from compat_export.mil import CoreMLTwin, Package, Program
from compat_sdk.errors import BundleError, CheckFailedError

WEIGHTS = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"


def blobs(data: bytes) -> list[tuple[int, int]]:
    """Start and size of the data of every float32 blob."""
    found, at = [], 64
    while at + 64 <= len(data):
        marker, _, size, start = struct.unpack_from("<IIQQ", data, at)
        assert marker == 0xDEADBEEF
        found.append((start, size))
        at = -(-(start + size) // 64) * 64
    return found


def flipped(files: dict[str, bytes], byte: int, bit: int) -> dict[str, bytes]:
    data = bytearray(files[WEIGHTS])
    data[byte] ^= 1 << bit
    return {**files, WEIGHTS: bytes(data)}


def parity_of(files: dict[str, bytes], images: NDArray[np.float32], reference: NDArray[np.float32]) -> Parity:
    return measure_parity(CoreMLTwin(Package.from_files(files)), [images], reference)


def test_an_untouched_package_passes(
    files: dict[str, bytes], images: NDArray[np.float32], reference: NDArray[np.float32]
) -> None:
    parity = parity_of(files, images, reference)
    assert parity.max_abs_difference < 1e-5
    require_parity(parity, "the package")


@pytest.mark.parametrize("place", [0.0, 0.35, 0.7, 0.999])
@pytest.mark.parametrize("bit", [5, 6])
def test_a_flipped_exponent_bit_of_a_weight_fails_parity(
    files: dict[str, bytes], images: NDArray[np.float32], reference: NDArray[np.float32], place: float, bit: int
) -> None:
    """Bits 29 and 30 of a float32: they scale a weight by 2^64 or 2^128, up or down.

    What cannot matter: the number of blobs, reserved words and filling bytes, which nothing reads; the low bits of
    a weight, which move it by less than parity allows; and any bit of a weight that reaches no output.
    """
    large = [(start, size) for start, size in blobs(files[WEIGHTS]) if size >= 4096]
    start, size = large[int(place * len(large))]
    values = np.frombuffer(files[WEIGHTS], np.float32, size // 4, start)
    weight = int(np.abs(values).argmax())  # a weight that is not near zero reaches some output
    damaged = flipped(files, start + 4 * weight + 3, bit)
    with pytest.raises(CheckFailedError, match="disagrees with PyTorch"):
        require_parity(parity_of(damaged, images, reference), "the package")


def test_the_lowest_bit_of_a_weight_and_the_filling_do_not_matter(
    files: dict[str, bytes], images: NDArray[np.float32], reference: NDArray[np.float32]
) -> None:
    parts = blobs(files[WEIGHTS])
    require_parity(parity_of(flipped(files, parts[0][0], 0), images, reference), "the package")
    before = parity_of(files, images, reference)
    filling = next(start + size for start, size in parts[:-1] if size % 64)
    for byte in (0, filling, 64 + 40):  # number of blobs, filling, a reserved word
        assert parity_of(flipped(files, byte, 0), images, reference) == before


def test_inputs_that_do_not_fit_are_refused(files: dict[str, bytes], images: NDArray[np.float32]) -> None:
    program = Program(Package.from_files(files))
    assert list(program.inputs) == ["image"] and program.outputs == ("embedding",)
    with pytest.raises(BundleError, match=r"float32 \[5, 3, 28, 27\]; expected float32 \[1 to 1024, 3, 28, 28\]"):
        program.run(image=images[..., :-1])
    with pytest.raises(BundleError, match="is float64"):
        program.run(image=images.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"was given the inputs \['picture'\]; expected \['image'\]"):
        program.run(picture=images)
    engine = CoreMLTwin(Package.from_files(files))
    for wrong in ((), (images, images), (images[:0],)):
        with pytest.raises(BundleError, match="expected 1 arrays with the same number of rows, at least 1"):
            engine.run(*wrong)
    with pytest.raises(BundleError, match=r"expected inputs .* and an output vector"):
        CoreMLTwin(Package.from_files(files), output="vector")


def test_a_program_that_contradicts_itself_is_refused(files: dict[str, bytes]) -> None:
    def operation(kind: str, package: Package) -> object:
        block = package.spec.mlProgram.functions["main"].block_specializations["CoreML6"]
        return next(item for item in block.operations if item.type == kind)

    package = Package.from_files(files)
    operation("real_div", package).inputs["x"].arguments[0].name = "nowhere"  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match=r"operation real_div \(output embedding\) reads 'nowhere'"):
        Program(package)
    package = Package.from_files(files)
    dimensions = operation("linear", package).outputs[0].type.tensorType.dimensions  # type: ignore[attr-defined]
    dimensions[1].constant.size = 15
    with pytest.raises(BundleError, match=r"operation linear .* gives \[1, 16\]; the program declares \[None, 15\]"):
        Program(package).run(image=np.zeros((1, 3, 28, 28), np.float32))


def test_threads_get_the_bits_of_serial_calls(files: dict[str, bytes]) -> None:
    engine = CoreMLTwin(Package.from_files(files))
    generator = np.random.default_rng(5)
    batches = [generator.standard_normal((n % 4 + 1, 3, 28, 28)).astype(np.float32) for n in range(24)]
    serial = [engine.run(batch) for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        for alone, together in zip(serial, pool.map(engine.run, batches), strict=True):
            assert np.array_equal(alone, together)
