from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from compat_export.mil import CoreMLTwin, Package, Program
from compat_export.mil.blobs import decode_elements, unpack_bits
from compat_export.mil.constants import affine_dequantize, blockwise_shift_scale, lut_to_dense
from compat_sdk.errors import BundleError, CheckFailedError

MANIFEST = "model.mlpackage/Manifest.json"
MODEL = "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"


def test_a_package_reads_the_same_from_disk_and_from_memory(
    files: dict[str, bytes], images: NDArray[np.float32], tmp_path: Path
) -> None:
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    from_disk = CoreMLTwin(Package.open(tmp_path / "model.mlpackage")).run(images)
    assert np.array_equal(from_disk, CoreMLTwin(Package.from_files(files)).run(images))
    (tmp_path / "model.mlpackage" / "more").symlink_to(tmp_path / MODEL)
    with pytest.raises(BundleError, match="is a link"):
        Package.open(tmp_path / "model.mlpackage")
    with pytest.raises(BundleError, match="is not a folder"):
        Package.open(tmp_path / "none.mlpackage")


@pytest.mark.parametrize(
    ("missing", "message"),
    [(MANIFEST, "found 0 files Manifest.json"), (MODEL, "lacks its model file"), (WEIGHTS, "which the package lacks")],
)
def test_a_missing_file_is_named(files: dict[str, bytes], missing: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Program(Package.from_files({name: data for name, data in files.items() if name != missing}))


@pytest.mark.parametrize("kept", [0, 63, 64, 100, 0.5, 0.99, -1])
def test_a_truncated_weight_file_is_refused(files: dict[str, bytes], kept: float) -> None:
    data = files[WEIGHTS]
    length = int(kept * len(data)) if isinstance(kept, float) else kept
    with pytest.raises(BundleError, match=r"operation const \(output .*export"):
        Program(Package.from_files({**files, WEIGHTS: data[:length].rstrip(b"\0") if kept == -1 else data[:length]}))


def test_a_truncated_or_emptied_model_file_is_refused(files: dict[str, bytes]) -> None:
    data = files[MODEL]
    with pytest.raises(BundleError, match="cannot be parsed"):
        Package.from_files({**files, MODEL: data[:-5]})
    with pytest.raises(BundleError, match="holds a model of type None; expected mlProgram"):
        Package.from_files({**files, MODEL: b""})
    for manifest in (b"{", b"[]", b'{"rootModelIdentifier": "A", "itemInfoEntries": {}}'):
        with pytest.raises(BundleError, match=r"Manifest\.json names no root model"):
            Package.from_files({**files, MANIFEST: manifest})


@pytest.mark.parametrize("byte", range(28))
def test_a_flipped_bit_in_a_blobs_record_is_refused(files: dict[str, bytes], byte: int) -> None:
    # Marker, type, size and offset of the first blob: every bit of them is checked.
    for bit in range(8):
        data = bytearray(files[WEIGHTS])
        data[64 + byte] ^= 1 << bit
        with pytest.raises(BundleError):
            Program(Package.from_files({**files, WEIGHTS: bytes(data)}))


def test_a_flipped_bit_of_the_version_is_refused(files: dict[str, bytes]) -> None:
    data = bytearray(files[WEIGHTS])
    assert struct.unpack_from("<II", data)[1] == 2
    data[4] ^= 1
    with pytest.raises(BundleError, match="no header of version 2"):
        Program(Package.from_files({**files, WEIGHTS: bytes(data)}))


def test_packed_numbers_by_hand() -> None:
    # 6 bits each, lowest first: 1, 2, 3 -> 000011 000010 000001 from high to low
    packed = np.array([0b10000001, 0b00110000, 0b00], np.uint8)
    assert unpack_bits(packed, 6, 3).tolist() == [1, 2, 3]
    assert decode_elements(bytes([0xF8, 0x07]), "INT4", 3).tolist() == [-8, -1, 7]
    assert decode_elements(bytes([0xF8]), "UINT4", 2).tolist() == [8, 15]


def test_dequantisation_by_hand() -> None:
    rows = torch.tensor([[1, 2], [3, -4]])
    zero, scale, axis = torch.tensor([1, 0]), torch.tensor([0.5, 2.0]), torch.tensor(0)
    assert affine_dequantize(rows, zero, scale, axis).tolist() == [[0, 0.5], [6, -8]]
    per_column = affine_dequantize(rows, torch.tensor(0), scale, torch.tensor(1))
    assert per_column.tolist() == [[0.5, 4], [1.5, -8]]
    blocks = torch.tensor([[1.0, 10.0]])
    assert blockwise_shift_scale(torch.ones(2, 4).long(), blocks).tolist() == [[1, 1, 10, 10]] * 2
    shifted = blockwise_shift_scale(torch.ones(2, 4).long(), blocks, torch.tensor([[1, 0]]))
    assert shifted.tolist() == [[0, 0, 10, 10]] * 2
    with pytest.raises(BundleError, match=r"a scale of shape \[1, 3\]"):
        blockwise_shift_scale(torch.ones(2, 4).long(), torch.ones(1, 3))


def test_palettes_by_hand() -> None:
    lut = torch.tensor([0.0, 10.0, 20.0, 30.0])
    assert lut_to_dense(torch.tensor([0b11100100]), lut, torch.tensor([2, 2])).tolist() == [[0, 10], [20, 30]]
    two = torch.tensor([0.0, 1.0, 5.0, 6.0]).reshape(2, 1, 2, 1)  # one palette per row
    assert lut_to_dense(torch.tensor([[1, 0], [1, 0]]), two).tolist() == [[1, 0], [6, 5]]
    with pytest.raises(BundleError, match="index 2 into a palette of 2 colours"):
        lut_to_dense(torch.tensor([[2, 0], [1, 0]]), two)
    with pytest.raises(BundleError, match="2 bytes of indices and 4 colours"):
        lut_to_dense(torch.tensor([0, 0]), lut, torch.tensor([2, 2]))
    with pytest.raises(CheckFailedError, match="palettes of vectors"):
        lut_to_dense(torch.tensor([[1, 0]]), torch.zeros(1, 1, 2, 3), vector_axis=torch.tensor(0))
