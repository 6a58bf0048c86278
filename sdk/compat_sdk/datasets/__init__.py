"""Where named, folder and manifest datasets come from; ``compat_sdk.datasets.opening`` is the public door."""
