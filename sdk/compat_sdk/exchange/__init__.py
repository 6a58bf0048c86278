"""Vectors in and out: galleries from the stores of others, and into them.

place     which kind of store a name is, and its rows
checked   rows as a gallery may hold them: finite, of length 1, under ids that occur once
incoming  a new gallery of a store's rows
outgoing  a gallery's rows in a new file or collection
table     all rows of a store in memory, for what learns from them
"""

from compat_sdk.exchange.incoming import import_gallery
from compat_sdk.exchange.outgoing import export_gallery
from compat_sdk.exchange.place import Reading, open_source
from compat_sdk.exchange.table import Table, read_table

__all__ = ["Reading", "Table", "export_gallery", "import_gallery", "open_source", "read_table"]
