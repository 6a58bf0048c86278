"""The command line: arguments in, one library call, a few lines out.

Nothing here is imported by the libraries, and this is the only package that names Typer or reaches the
server side (`compat_train`, `compat_export`), always inside function bodies so that ``--help`` stays light.
"""
