"""Searches for architectures: CMP-NAS (`cmp`) and Efficient Global NAS (`global_nas`)."""
