"""Which typefaces draw the kanji set, and on which side of the search each one stands.

An identity is a character and an instance is a typeface. Print faces make the gallery; brush, pen and
display faces make the queries. Many packages share outlines (Takao and IPA; VL, Migu, MigMix, M+ 2 and
M+ 1; Droid and WenQuanYi Micro Hei; Monapo and IPA; all faces of YOz): one of each stands here, and the
builder drops a face that still draws like an earlier one. Weights of one design that look different
stand on the same side, so that no query has its own outline in the gallery.

Source: the Debian packages named in the table, all of them in Debian 12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["print", "query"]


@dataclass(frozen=True)
class Face:
    """One typeface of the table.

    Attributes:
        file: Name of the font file; the first face of a collection is used.
        package: Debian package that brings it.
        role: ``"print"`` (gallery) or ``"query"``.
        style: What the face looks like, for people.
    """

    file: str
    package: str
    role: Role
    style: str

    @property
    def name(self) -> str:
        """The file name without its ending; part of every image's id."""
        return self.file.rsplit(".", 1)[0]


FACES: tuple[Face, ...] = (
    Face("ipaexg.ttf", "fonts-ipaexfont-gothic", "print", "gothic"),
    Face("ipaexm.ttf", "fonts-ipaexfont-mincho", "print", "mincho"),
    Face("Mplus1-Regular.otf", "fonts-mplus", "print", "gothic"),
    Face("Mplus1-Thin.otf", "fonts-mplus", "print", "gothic, thin"),
    Face("Mplus1-Black.otf", "fonts-mplus", "print", "gothic, black"),
    Face("NotoSansCJK-Regular.ttc", "fonts-noto-cjk", "print", "gothic"),
    Face("NotoSansCJK-Bold.ttc", "fonts-noto-cjk", "print", "gothic, bold"),
    Face("NotoSerifCJK-Regular.ttc", "fonts-noto-cjk", "print", "mincho"),
    Face("NotoSerifCJK-Bold.ttc", "fonts-noto-cjk", "print", "mincho, bold"),
    Face("BabelStoneHan.ttf", "fonts-babelstone-han", "print", "song"),
    Face("TW-Sung-98_1.ttf", "fonts-cns11643-sung", "print", "song"),
    Face("DroidSansFallbackFull.ttf", "fonts-droid-fallback", "print", "gothic"),
    Face("HanaMinA.ttf", "fonts-hanazono", "print", "mincho"),
    Face("ume-tgo4.ttf", "fonts-horai-umefont", "print", "gothic"),
    Face("ume-tgo5.ttf", "fonts-horai-umefont", "print", "gothic, medium"),
    Face("ume-tmo3.ttf", "fonts-horai-umefont", "print", "mincho"),
    Face("Konatu.ttf", "fonts-konatu", "print", "rounded gothic"),
    Face("MTLc3m.ttf", "fonts-motoya-l-cedar", "print", "gothic"),
    Face("MTLmr3m.ttf", "fonts-motoya-l-maruberi", "print", "rounded gothic"),
    Face("OradanoGSRR.ttf", "fonts-oradano-mincho-gsrr", "print", "metal-type mincho"),
    Face("sawarabi-gothic-medium.ttf", "fonts-sawarabi-gothic", "print", "gothic"),
    Face("sawarabi-mincho-medium.ttf", "fonts-sawarabi-mincho", "print", "mincho"),
    Face("wqy-zenhei.ttc", "fonts-wqy-zenhei", "print", "gothic"),
    Face("AoyagiKouzanT.ttf", "fonts-aoyagi-kouzan-t", "query", "brush, semi-cursive"),
    Face("aoyagi-soseki.ttf", "fonts-aoyagi-soseki", "query", "brush, cursive"),
    Face("kouzan-mouhitsu.ttf", "fonts-kouzan-mouhitsu", "query", "brush, regular"),
    Face("kouzan-mouhitsu-gyosho.ttf", "fonts-kouzan-mouhitsu", "query", "brush, semi-cursive"),
    Face("KouzanBrushFontSousyo.ttf", "fonts-kouzan-mouhitsu", "query", "brush, cursive"),
    Face("TW-Kai-98_1.ttf", "fonts-cns11643-kai", "query", "brush, regular"),
    Face("kiloji.ttf", "fonts-kiloji", "query", "pen"),
    Face("kiloji_b.ttf", "fonts-kiloji", "query", "pen, bold"),
    Face("setofont.ttf", "fonts-seto", "query", "pen"),
    Face("YuseiMagic-Regular.ttf", "fonts-yusei-magic", "query", "marker"),
    Face("YOzRS_.ttf", "fonts-yozvox-yozfont", "query", "pen"),
    Face("YOzBS_.ttf", "fonts-yozvox-yozfont", "query", "pen, bold"),
    Face("KleeOne-Regular.ttf", "fonts-klee", "query", "pencil"),
    Face("LXGWWenKai-Regular.ttf", "fonts-lxgw-wenkai", "query", "pen"),
    Face("LXGWWenKai-Bold.ttf", "fonts-lxgw-wenkai", "query", "pen, bold"),
    Face("KanjiStrokeOrders_v4.003.ttf", "fonts-kanjistrokeorders", "query", "pen with stroke numbers"),
    Face("DotGothic16-Regular.ttf", "fonts-dotgothic16", "query", "display, 16-dot"),
    Face("RampartOne-Regular.ttf", "fonts-rampart", "query", "display, solid outline"),
    Face("ReggaeOne-Regular.ttf", "fonts-reggae", "query", "display"),
    Face("RocknRollOne-Regular.ttf", "fonts-rocknroll", "query", "display"),
    Face("Stick-Regular.ttf", "fonts-stick", "query", "display, straight strokes"),
    Face("TrainOne-Regular.ttf", "fonts-train", "query", "display, inline"),
)
