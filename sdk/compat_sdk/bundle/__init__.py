"""Bundles: an exported model with everything that is needed to use it, and to know that it is intact.

names        what files inside a bundle may be called
records      which file it must be, by size and SHA-256
graph        one exported form of a model
last_day     the day until which something may be used
manifest     manifest.json: what a bundle says about its model
consistency  what it says goes together
card         the manifest as a page for people
golden       a few inputs, and the vectors that the trained model makes of them
self_test    what a machine makes of the golden inputs, compared with the trained model's
folder       the files of a bundle that is a folder
archive      the files of a bundle that is a zip
files        the same for both: listed, read, and judged by their content
publish      a new bundle under its name, whole or not at all
replacement  a bundle that another replaces while it is read
signature    who made it
maker        someone whose signature counts, and for what
trust_file   the file that names makers and releases
trust        whose signature is asked for, and how old a bundle may be
bundle       `Bundle`, which opens and checks one
writing      `write_bundle` and `sign_bundle`
"""

from compat_sdk.bundle.bundle import Bundle
from compat_sdk.bundle.graph import Graph
from compat_sdk.bundle.maker import Maker
from compat_sdk.bundle.manifest import Manifest, TransformSource
from compat_sdk.bundle.trust import Trust
from compat_sdk.bundle.writing import sign_bundle, write_bundle
from compat_sdk.kinds import is_bundle

__all__ = [
    "Bundle",
    "Graph",
    "Maker",
    "Manifest",
    "TransformSource",
    "Trust",
    "is_bundle",
    "sign_bundle",
    "write_bundle",
]
