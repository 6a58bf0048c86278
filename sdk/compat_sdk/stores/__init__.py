"""Where others keep vectors: files and servers, each read in blocks of rows and written from them.

rows           the form that all of them are read into
parquet        Parquet and Arrow files; parquet_out writes them
npz            ``.npz`` files, read and written member by member
npy            an ``.npy`` file beside a file of ids
hnswlib_file   hnswlib's files, read without hnswlib
native         faiss' files, and the making of hnswlib's: in a process of its own, with limits
qdrant         Qdrant: a server or a folder of its client
addresses      what a Qdrant collection is called; its key is never shown

An engine or format that is no part of Python is an extra, imported where it is used.
"""

from compat_sdk.stores.rows import Columns, Rows, Source

__all__ = ["Columns", "Rows", "Source"]
