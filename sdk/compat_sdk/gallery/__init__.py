"""A gallery, on disk or in a store: vectors of one embedding space with their ids and labels.

files      files that are written once, and read only as recorded; vectors and tables are what is in them
state      what gallery.json says; store replaces it in one step, and lock lets one writer do so
snapshot   one state with its files opened: what a search uses; opening opens it
given      vectors that search it or become its rows
problems   what is wrong with a snapshot
writer     additions, removals, compaction and index building, each from one snapshot to the next
payload    objects of JSON beside the rows
where      conditions that a row must meet to be found, and filtered the search among those that do
gallery    `Gallery`, which does all of it; reading is the half that changes nothing, changing what changes rows
remote     the same in a Qdrant collection; remote_reading is the half that changes nothing
parts      the same in several of both; part_list names them, together is what they have in common
"""

from compat_sdk.gallery.gallery import Gallery
from compat_sdk.gallery.reading import Hit
from compat_sdk.gallery.where import Where

__all__ = ["Gallery", "Hit", "Where"]
