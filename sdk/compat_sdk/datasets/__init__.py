"""Where named, folder and manifest datasets come from; ``compat_sdk.dataset`` is the public door."""
