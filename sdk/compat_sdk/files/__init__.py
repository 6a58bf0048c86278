"""Files: written whole or not at all, and read as what they are.

refusal    what the system refuses is told apart from what is wrong with a file
plain      plain files opened and read; what would block or never end is refused
digests    which file it is, by size and SHA-256
lock       a file that one process at a time may hold
atomic     files and folders that are whole and on the disk, or absent
reserve    a file whose place on the disk is taken before it is mapped
documents  JSON and TOML that every reader understands alike
seal       JSON objects that say when they were changed
"""
