"""A gallery on disk: vectors of one embedding space with their ids and labels.

files      the files that hold rows: written once, and read only as recorded
store      gallery.json, which says in one step what counts, and the write lock
snapshot   one state with its files opened: what a search uses
writer     additions, removals, compaction and index building, each from one snapshot to the next
gallery    `Gallery`, which does all of it
"""

from compat_sdk.gallery.gallery import Gallery
from compat_sdk.gallery.reading import Hit

__all__ = ["Gallery", "Hit"]
