"""Efficient Global NAS: Algorithm 1 on trained candidates, architecture-aware ranking, training of what is found."""
