"""IJB-B and IJB-C from their lists, and faces brought to their place by landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.datasets.published.ijb import open_ijb
from compat_sdk.errors import DataError
from compat_sdk.images import image_size, load_image
from compat_sdk.images.packed import WarpedPicture
from tests.sdk.published.layouts import ijb, put


def test_lists_give_templates_media_pairs_and_galleries(tmp_path: Path) -> None:
    faces = open_ijb(ijb(tmp_path), "ijbc")
    assert faces.templates.tolist() == [1, 1, 1, 2, 3, 4, 5, 6] and faces.media[:3].tolist() == [10, 10, 11]
    assert faces.pairs[0].tolist() == [1, 2] and faces.same.tolist() == [True, False, False, True, False, False]
    assert [gallery.templates.tolist() for gallery in faces.galleries] == [[1], [3]]
    assert faces.probes.people.tolist() == [100, 200, 300, 300]
    assert faces.quality[0] == pytest.approx(0.55)


def test_a_face_that_is_only_shifted_comes_out_pixel_by_pixel(tmp_path: Path) -> None:
    faces = open_ijb(ijb(tmp_path), "ijbc")
    stored = np.asarray(Image.open(tmp_path / "loose_crop" / "1.jpg"))
    assert image_size(faces.images.images[0]) == (112, 112)  # type: ignore[arg-type]
    found = np.asarray(load_image(faces.images.images[0])[0]).astype(int)
    assert np.abs(found - stored[20:132, 10:122]).max() <= 1


def test_a_face_that_is_turned_and_larger_is_brought_back(tmp_path: Path) -> None:
    ijb(tmp_path)
    smooth = Image.effect_noise((35, 38), 60).resize((560, 600), Image.Resampling.BICUBIC).convert("RGB")
    turned = smooth.transpose(Image.Transpose.ROTATE_90)
    points = tmp_path / "meta" / "ijbc_name_5pts_score.txt"
    lines = points.read_text().splitlines()
    values = list(map(float, lines[0].split()[1:11]))
    at = []
    for x, y in zip(values[::2], values[1::2], strict=True):  # four times as large, then turned to the left
        large = 4 * (x + 0.5) - 0.5, 4 * (y + 0.5) - 0.5
        at += [large[1], 559 - large[0]]
    lines[0] = f"1.jpg {' '.join(map(str, at))} 0.5"
    points.write_text("\n".join(lines))
    turned.save(tmp_path / "loose_crop" / "1.jpg", quality=100, subsampling=0)
    found = np.asarray(load_image(open_ijb(tmp_path, "ijbc").images.images[0])[0]).astype(float)
    expected = np.asarray(smooth.resize((140, 150), Image.Resampling.BILINEAR)).astype(float)[20:132, 10:122]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("name_5pts_score.txt", "9.jpg 1 2 3 4 5 6 7 8 9 10 1.5"),
        ("name_5pts_score.txt", "9.jpg 1 2 3 4 5 6 7 8 9 nan 0.5"),
        ("name_5pts_score.txt", "9.jpg 1 1 1 1 1 1 1 1 1 1 0.5"),
        ("name_5pts_score.txt", "../9.jpg 1 2 3 4 5 6 7 8 9 10 0.5"),
        ("face_tid_mid.txt", "9.jpg 1"),
        ("face_tid_mid.txt", "9.jpg 1 2"),
        ("template_pair_label.txt", "1 2"),
        ("template_pair_label.txt", "1 99 1"),
        ("template_pair_label.txt", "1 2 7"),
        ("1N_gallery_G2.csv", "99,1"),
        ("1N_gallery_G2.csv", "3,201"),
        ("1N_probe_mixed.csv", "2"),
    ],
)
def test_a_line_that_does_not_fit_is_refused(name: str, line: str, tmp_path: Path) -> None:
    path = ijb(tmp_path) / "meta" / f"ijbc_{name}"
    put(path, path.read_text().rstrip() + f"\n{line}\n")
    with pytest.raises(DataError) as refused:
        open_ijb(tmp_path, "ijbc")
    assert len(str(refused.value)) < 300 + len(str(tmp_path))


def test_a_warp_is_part_of_what_a_picture_is(tmp_path: Path) -> None:
    from compat_sdk.images.packed import file_sha256, part_of, stamp_text

    path = put(tmp_path / "a.png", b"not decoded here")
    one, other = (WarpedPicture(path, (1, 0, shift, 0, 1, 0), (8, 8)) for shift in (0, 1))
    for tells in (file_sha256, part_of, stamp_text):
        assert tells(one) != tells(other)
