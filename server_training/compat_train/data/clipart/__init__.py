"""Builds the clipart set from a folder of drawings: sheets, near copies, instances, the builder."""
