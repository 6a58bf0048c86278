"""Training methods, one a file: each takes a configuration and returns a finished checkpoint."""
