"""CMP-NAS: a supernet, rewards, evolution under limits of multiply-accumulates, and training of what is found."""
