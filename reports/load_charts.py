"""What a run went through over time, in panels on one time axis with the faults shaded.

Clients connected and reconnecting, dials against capacity, acknowledgement latency, errors by cause. Reads the history
through ``series`` and ``states``; judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind

from . import drawings
from .drawings import Span, curve, over_time, stacked
from .formatting import seconds
from .frames import RunHistory
from .series import (
    Acknowledgements,
    ErrorSeries,
    acknowledgements,
    bin_edges,
    binned_quantile,
    errors,
    per_second,
    times_of,
)
from .states import CONNECTED, RECONNECTING, ClientStates
from .svg import Chart, Floats, Panel, widest

_NEAR_CAPACITY = 4.0
"""The capacity is drawn if it is at most this many times the peak, or else named only."""

_MILLISECONDS_BELOW = 1.0
"""Seconds; an axis that ends below is in milliseconds."""


def load_charts(history: RunHistory, states: ClientStates, windows: pd.DataFrame) -> Chart:
    """The panels over time as one chart."""
    edges, faults = bin_edges(history.end), fault_spans(windows, history.end)
    acks, failures = acknowledgements(history), errors(history, edges)
    clients, client_words = _clients(states, edges, faults)
    dials, dial_words = _dials(history, edges, faults)
    latency, latency_words = _latency(acks, edges, faults)
    causes, error_words = _errors(failures, edges, faults)
    return Chart(
        "The run over time",
        f"Bins of {edges[1]:.3g} s; grey: a fault was active. Connected is the least and reconnecting the greatest "
        "number within each bin. Acknowledgement: answer submitted → acknowledged at the client, by the time of "
        "submission; line: median, dots: slowest of the bin, crosses: never acknowledged. A loss counts at the client.",
        f"{client_words} {dial_words} {latency_words} {error_words}",
        "".join(panel.markup() for panel in (clients, dials, latency, causes)),
        legend=tuple(
            (f"c{i % drawings.SERIES + 1} block", f"{name} ({int(total):,})")
            for i, (name, total) in enumerate(zip(failures.names, failures.totals, strict=True))
        ),
    )


def fault_spans(windows: pd.DataFrame, end: float) -> list[Span]:
    """When at least one fault was active, seconds; overlapping windows are one span."""
    known = windows.dropna(subset=["fault_at"]).sort_values("fault_at")
    spans: list[Span] = []
    for start, stop in zip(known["fault_at"], known["healed_at"].fillna(end), strict=True):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], float(stop)))
        else:
            spans.append((float(start), float(stop)))
    return spans


def _clients(states: ClientStates, edges: Floats, faults: Sequence[Span]) -> tuple[Panel, str]:
    connected = states.extremes(CONNECTED, edges)
    reconnecting = states.extremes(RECONNECTING, edges)[1]
    most = int(reconnecting.max())
    when = float(edges[int(reconnecting.argmax())])
    top = widest([float(connected[1].max()), float(most)], 1.0)
    panel = over_time(
        "clients connected (line), reconnecting (filled)", edges, (0.0, top), faults, note=f"most {most:,}"
    )
    panel.step_area(edges, np.zeros(len(edges)), np.append(reconnecting, reconnecting[-1:]), "fill reconnecting")
    curve(panel, edges, connected[0], "c1")
    return panel, f"At most {most:,} clients were reconnecting at once, at {when:.0f} s."


def _dials(history: RunHistory, edges: Floats, faults: Sequence[Span]) -> tuple[Panel, str]:
    capacity = history.experiment.server.join_capacity
    dialed = per_second(times_of(history, LogEventKind.TRANSPORT_OPENING), edges)
    back = per_second(times_of(history, LogEventKind.SESSION_JOINED, LogEventKind.SESSION_RESTORED), edges)
    most, peak = float(dialed.max()), float(back.max())
    is_near = capacity <= max(most, peak) * _NEAR_CAPACITY
    top = widest([most, peak, capacity if is_near else 0.0], 1.0)
    note = f"peaks {most:,.0f} and {peak:,.0f}; stated capacity {capacity:,g} joins per second"
    panel = over_time(
        "dials per second (line), sessions joined or restored (filled)", edges, (0.0, top), faults, note=note
    )
    panel.step_area(edges, np.zeros(len(edges)), np.append(back, back[-1:]), "fill c1")
    curve(panel, edges, dialed, "c2")
    if is_near:
        panel.rule_y(capacity, "bad dotted")
    when = float(edges[int(dialed.argmax())])
    return panel, (
        f"Dials peaked at {most:,.0f} per second at {when:.0f} s, sessions joined or restored at {peak:,.0f} per "
        f"second; the stated join capacity is {capacity:,g} per second."
    )


def _latency(acks: Acknowledgements, edges: Floats, faults: Sequence[Span]) -> tuple[Panel, str]:
    known = ~np.isnan(acks.latency)
    times, latency = acks.submitted[known], acks.latency[known]
    worst = float(latency.max(initial=0.0))
    unit, name = (1000.0, "ms") if worst < _MILLISECONDS_BELOW else (1.0, "s")
    scale = (
        (max(float(latency.min()) * 0.8, 1e-6) * unit, max(worst * 1.3, 1e-5) * unit) if len(latency) else (0.0, 1.0)
    )
    median, slowest = (binned_quantile(latency, times, edges, level) for level in (0.5, 1.0))
    missing = len(acks.missing)
    note = f"{len(latency):,} acknowledged, {missing:,} never"
    panel = over_time(f"answer acknowledgement, {name}", edges, scale, faults, note=note)
    some = ~np.isnan(median)
    panel.rows(edges[:-1][some], edges[1:][some], median[some] * unit, 2, "c1")
    middle = (edges[:-1] + edges[1:]) / 2
    panel.dots(middle[some], slowest[some] * unit, "c2")
    lost = np.unique(np.clip(np.searchsorted(edges, acks.missing, side="right") - 1, 0, len(middle) - 1))
    panel.crosses(middle[lost], np.full(len(lost), panel.y.high), "bad")
    if not len(latency):
        return panel, f"No answer was acknowledged, {missing:,} were submitted."
    half = float(np.median(latency))
    return panel, (
        f"{len(latency):,} answers were acknowledged, half within {seconds(half)}, the slowest after {seconds(worst)}; "
        f"{missing:,} never were."
    )


def _errors(found: ErrorSeries, edges: Floats, faults: Sequence[Span]) -> tuple[Panel, str]:
    rates = found.counts / np.diff(edges)
    top = widest([float(rates.sum(axis=0).max(initial=0.0))], 1.0)
    panel = over_time("errors per second, by cause", edges, (0.0, top), faults, last=True)
    stacked(panel, edges, rates)
    words = ", ".join(f"{name} {int(total):,}" for name, total in zip(found.names, found.totals, strict=True))
    return panel, f"Errors by cause: {words or 'none'}."
