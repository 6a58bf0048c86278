"""Accents composed or apart: one name, in every place that compares names."""

from __future__ import annotations

import io
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compat_sdk.bundle.maker import Maker
from compat_sdk.bundle.publish import require_no_newer
from compat_sdk.bundle.signature import PublicKey
from compat_sdk.bundle.trust import Trust
from compat_sdk.datasets import open_dataset
from compat_sdk.errors import BundleError, ConfigError
from compat_sdk.spelling import composed, known_spellings
from tests.sdk.bundles import make_bundle

NFC, NFD = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
KEY = PublicKey("mine", b"-----BEGIN PUBLIC KEY-----")


def test_a_name_is_spelled_as_it_is_known_unless_both_spellings_are_meant() -> None:
    assert NFC != NFD and composed(NFD) == composed(NFC) == NFC
    assert known_spellings([NFC, "a"], [NFD, "b"]) == (NFD, "a")
    assert known_spellings([NFC, NFD], [NFD]) == (NFC, NFD)
    assert known_spellings([NFC], [NFC, NFD]) == (NFC,)
    assert known_spellings(["\udcff"], ["\udcff"]) == ("\udcff",)


def test_a_label_in_a_tar_file_is_its_pictures_whatever_the_spelling_of_either(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture, "PNG")
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        for name, data in ((f"{NFD}.png", picture.getvalue()), (f"{NFC}.cls", NFD.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert open_dataset(tmp_path / "d.tar").split("train").labels == (NFC,)


def test_another_spelling_of_a_name_is_no_way_around_the_least_release(tmp_path: Path) -> None:
    trust = Trust((Maker("m", KEY, bundles=(NFC,)),), {NFC: 3})
    assert trust.makers[0].problem("query", "s", NFD) is None
    assert trust.makers[0].problem("query", "s", "Zoe") is not None
    with pytest.raises(BundleError, match="release 2 of"):
        trust._require_release(tmp_path, NFD, 2, BundleError)
    trust._require_release(tmp_path, NFD, 3, BundleError)


def test_another_spelling_of_a_name_is_no_way_to_put_an_older_release_in_place(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", name=NFC, release=2)
    with pytest.raises(ConfigError, match="is release 2 of"):
        require_no_newer(tmp_path / "b", NFD, 1)
