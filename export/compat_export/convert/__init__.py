"""From a PyTorch module to a graph of each target."""
