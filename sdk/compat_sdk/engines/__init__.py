"""One module per inference engine; `compat_sdk.engine` picks among them."""
