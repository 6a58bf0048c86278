"""The bridge from a trained checkpoint to a verified bundle.

``pack.export_run`` is the door: it converts (one ``to_*.py`` per target), measures parity through the engine
that will run the graph (``parity.py``), and publishes nothing that failed. ``profile_model.py`` measures an
architecture or a run by way of a temporary bundle.
"""
