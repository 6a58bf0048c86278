"""Searches for query architectures: a space, a supernet, rewards, evolution, and training of what is found."""
