"""One module per inference engine; `compat_sdk.engines.choice` picks among them."""
