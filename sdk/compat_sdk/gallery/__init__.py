"""A gallery, on disk or in a store: vectors of one embedding space with their ids and labels.

files      the files that hold rows: written once, and read only as recorded
store      gallery.json, which says in one step what counts, and the write lock
snapshot   one state with its files opened: what a search uses
writer     additions, removals, compaction and index building, each from one snapshot to the next
payload    objects of JSON beside the rows
where      conditions that a row must meet to be found, and filtered the search among those that do
gallery    `Gallery`, which does all of it
remote     the same in a Qdrant collection
"""

from compat_sdk.gallery.gallery import Gallery, Hit
from compat_sdk.gallery.where import Where

__all__ = ["Gallery", "Hit", "Where"]
