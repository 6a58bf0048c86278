"""What a query costs on this machine: multiply-accumulates, latency, the first use, memory."""

from __future__ import annotations

from compat_sdk.profile.block_graphs import measure_blocks
from compat_sdk.profile.block_table import BlockTable, load_block_table, save_block_table
from compat_sdk.profile.cold_start import ColdStart, measure_cold_start
from compat_sdk.profile.comparison import Comparison, Pair, compare_tables, label
from compat_sdk.profile.latency_table import LatencyTable, load_table, save_table, table_of
from compat_sdk.profile.profile import Latency, Profile, format_table, measure_latency, profile_bundle

__all__ = [
    "BlockTable",
    "ColdStart",
    "Comparison",
    "Latency",
    "LatencyTable",
    "Pair",
    "Profile",
    "compare_tables",
    "format_table",
    "label",
    "load_block_table",
    "load_table",
    "measure_blocks",
    "measure_cold_start",
    "measure_latency",
    "profile_bundle",
    "save_block_table",
    "save_table",
    "table_of",
]
