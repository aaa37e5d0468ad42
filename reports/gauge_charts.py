"""What a simulated population went through second by second, in panels on one time axis with the faults shaded.

Reads ``gauges.parquet``, whose row ``i`` is second ``i`` of the run; judges nothing. Columns, all int64: ``second``;
``connected`` clients at its end; how many ``lost`` their server in it, ``returned`` or ``gave_up``; requests that were
``served``, ``rejected`` (with a retry time), ``dropped`` (the backlog was full), ``skipped`` (the client had left) or
``unfinished`` (the server ended before its response) by the second of their arrival; and ``queued``: requests that wait
for the server, or are served, at the second's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from resilience.errors import EvidenceError

from .drawings import Span, curve, over_time, stacked
from .frames import RunHistory
from .load_charts import fault_spans
from .series import bin_edges
from .svg import Chart, Floats, Panel, widest

GAUGES = "gauges.parquet"
GAUGE_SCHEMA = pa.schema(
    [
        pa.field(name, pa.int64(), nullable=False)
        for name in (
            *("second", "connected", "lost", "returned", "gave_up"),
            *("served", "rejected", "dropped", "skipped", "unfinished", "queued"),
        )
    ]
)
_DRAWN = [name for name in GAUGE_SCHEMA.names if name not in {"skipped", "unfinished"}]
POOLED = "minute-"
"""What the fault id of outages begins with that have no cause in common."""

_REFUSALS = ("rejected", "dropped")
_NEAR_CAPACITY = 4.0
"""The capacity is drawn if it is at most this many times the peak."""


def read_gauges(path: Path) -> pd.DataFrame:
    """The gauges of a run that are drawn; :class:`~resilience.errors.EvidenceError` for a file that lacks one."""
    try:
        schema = pa.schema([GAUGE_SCHEMA.field(name) for name in _DRAWN])
        table = pq.read_table(path).select(_DRAWN).cast(schema)
        frame: pd.DataFrame = table.to_pandas()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        raise EvidenceError(f"{path}: not the gauges of a run: {reason}") from error
    return frame


def gauge_chart(history: RunHistory, windows: pd.DataFrame) -> Chart | None:
    """The panels of a run that kept gauges; ``None`` for any other."""
    path = None if history.path is None or history.recorded_episodes is None else history.path / GAUGES
    if path is None or not path.exists():
        return None
    gauges = read_gauges(path)
    if gauges.empty:
        return None
    servers = history.experiment.population.servers
    shared = windows[~windows["fault_id"].astype(str).str.startswith(POOLED)]
    bins = _Bins(gauges, history.end, fault_spans(shared, history.end))
    capacity = history.experiment.server.join_capacity * servers
    drawn = [bins.clients(), bins.joins(capacity, servers), bins.queue(), bins.refusals()]
    return Chart(
        "The population over time",
        f"Bins of {bins.edges[1]:.3g} s; grey: an outage of a fault or of a shared cause was active. Connected is the "
        "least number within each bin, queued the greatest. Rejected: with a retry time; dropped: without an answer.",
        " ".join(words for _, words in drawn),
        "".join(panel.markup() for panel, _ in drawn),
        legend=tuple((f"c{i + 1} block", f"{name} ({int(gauges[name].sum()):,})") for i, name in enumerate(_REFUSALS)),
    )


class _Bins:
    """The gauges in bins of whole seconds, at most as many as a picture shows."""

    def __init__(self, gauges: pd.DataFrame, end: float, faults: Sequence[Span]) -> None:
        self._faults = faults
        starts = np.unique(np.floor(bin_edges(end)[:-1]).astype(np.int64))
        self._starts = starts[starts < len(gauges)]
        self.edges: Floats = np.append(self._starts, len(gauges)).astype(np.float64)
        self._gauges = {name: gauges[name].to_numpy() for name in _DRAWN}

    def _rate(self, name: str) -> Floats:
        """Mean number a second."""
        rates: Floats = np.add.reduceat(self._gauges[name], self._starts) / np.diff(self.edges)
        return rates

    def _area(self, panel: Panel, heights: Floats, style: str) -> None:
        panel.step_area(self.edges, np.zeros(len(self.edges)), np.append(heights, heights[-1:]), style)

    def clients(self) -> tuple[Panel, str]:
        """Connected, and lost connections a second."""
        connected = np.minimum.reduceat(self._gauges["connected"], self._starts).astype(np.float64)
        least, when = int(connected.min()), float(self.edges[int(connected.argmin())])
        top = widest([float(connected.max())], 1.0)
        panel = over_time("clients connected", self.edges, (0.0, top), self._faults, note=f"least {least:,}")
        curve(panel, self.edges, connected, "c1")
        return panel, f"At least {least:,} clients were connected, the fewest at {when:.0f} s."

    def joins(self, capacity: float, servers: int) -> tuple[Panel, str]:
        """Returns a second, requests a second, and the capacity of all servers."""
        returned = self._rate("returned")
        requests = self._rate("served") + self._rate("rejected") + self._rate("dropped")
        most, peak = float(requests.max()), float(returned.max())
        is_near = capacity <= most * _NEAR_CAPACITY
        top = widest([most, peak, capacity if is_near else 0.0], 1.0)
        where = "one server" if servers == 1 else f"{servers:,} servers"
        note = f"peaks {most:,.0f} and {peak:,.0f}; {where}, {capacity:,g} joins per second"
        panel = over_time(
            "requests per second (line), sessions restored (filled)", self.edges, (0.0, top), self._faults, note=note
        )
        self._area(panel, returned, "fill c1")
        curve(panel, self.edges, requests, "c2")
        if is_near:
            panel.rule_y(capacity, "bad dotted")
        when = float(self.edges[int(requests.argmax())])
        return panel, (
            f"Requests peaked at {most:,.0f} per second at {when:.0f} s, sessions restored at {peak:,.0f} per second."
        )

    def queue(self) -> tuple[Panel, str]:
        """Requests at the servers."""
        queued = np.maximum.reduceat(self._gauges["queued"], self._starts).astype(np.float64)
        most, when = int(queued.max()), float(self.edges[int(queued.argmax())])
        top = widest([float(most)], 1.0)
        panel = over_time("requests queued", self.edges, (0.0, top), self._faults, note=f"most {most:,}")
        self._area(panel, queued, "fill c1")
        return panel, f"At most {most:,} requests were queued, at {when:.0f} s."

    def refusals(self) -> tuple[Panel, str]:
        """Requests that were not served, a second."""
        rates = np.vstack([self._rate(name) for name in _REFUSALS])
        top = widest([float(rates.sum(axis=0).max())], 1.0)
        panel = over_time("requests not served, per second", self.edges, (0.0, top), self._faults, last=True)
        stacked(panel, self.edges, rates)
        totals = [int(self._gauges[name].sum()) for name in _REFUSALS]
        return panel, f"{totals[0]:,} requests were rejected with a retry time, {totals[1]:,} dropped."
