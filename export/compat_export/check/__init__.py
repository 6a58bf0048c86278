"""Proof that a graph is equal to the module it came from."""
