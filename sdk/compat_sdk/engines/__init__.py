"""One module per inference engine, and the choice among those that are installed."""

from __future__ import annotations

from compat_sdk.engines.choice import Engine, choose_graph, engines_here, open_engine, open_graph, proves_itself

__all__ = ["Engine", "choose_graph", "engines_here", "open_engine", "open_graph", "proves_itself"]
