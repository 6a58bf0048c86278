"""A gallery on disk: vectors of one embedding space with their ids and labels.

files      files that are written once, and read only as recorded; vectors and tables are what is in them
state      what gallery.json says; store replaces it in one step, and lock lets one writer do so
snapshot   one state with its files opened: what a search uses; opening opens it
writer     additions, removals, compaction and index building, each from one snapshot to the next
gallery    `Gallery`, which does all of it; reading is the half that changes nothing
"""

from compat_sdk.gallery.gallery import Gallery
from compat_sdk.gallery.reading import Hit

__all__ = ["Gallery", "Hit"]
