"""`compat-sdk serve`: one bundle and one gallery behind HTTP."""
