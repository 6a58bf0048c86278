"""RUN folders: what training writes, and evaluation and export read."""
