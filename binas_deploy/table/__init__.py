"""Latency tables: measured pieces, whole networks, and the calibration that joins them."""

from binas_deploy.table.latency_table import LatencyTable
from binas_deploy.table.names import table_path
from binas_deploy.table.parts import Anchor, MeasuringRun, is_skip, measured_pieces

__all__ = ["Anchor", "LatencyTable", "MeasuringRun", "is_skip", "measured_pieces", "table_path"]
