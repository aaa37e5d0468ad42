"""The charts of one run's page: chooses what is drawn, and says in words exactly that.

No failure is left out by thinning: failures are chosen first, and every caption gives how many of how many are drawn.
The words for those who see no picture are computed from the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind

from . import drawings
from .drawings import Band, TimelineRow, series_css
from .event_results import rows_of
from .formatting import pluralise, seconds
from .frames import RunHistory
from .gauge_charts import gauge_chart
from .load_charts import load_charts
from .rates import RateDesign, high_bound, low_bound
from .states import GAVE_UP, JOINING, STATE_WORDS, ClientStates, client_states
from .stats import Clusters
from .summary import EventResult, Summary
from .survival import RecoveryTimes
from .svg import Chart, Floats, evenly
from .windows import windows_frame

MAX_ROWS = 420
"""If there are more clients, this many are drawn."""

MAX_EVENTS = 40
BAND_FROM_EVENTS = 3
"""The fewest events of a kind for which a band is drawn."""

_BAND_POINTS = 25
_BAND_CONFIDENCE = 0.95
_VISIBLE = 0.0005
"""Share of all time below which a state is left out of the legend."""


def run_charts(history: RunHistory, episodes: pd.DataFrame, summary: Summary) -> list[Chart]:
    """Every chart of one run for which there is data."""
    states, windows = client_states(history), windows_frame(history)
    affected = episodes.loc[episodes["affected"], ["kind", "attempts", *_TIMED]]
    has_clients, has_episodes = bool(states.names), bool(len(affected))
    times = _times_by_kind(affected)
    drawn = [
        _timeline(history, states, windows, episodes) if has_clients else None,
        _recovery(history, times) if has_episodes else None,
        _by_event(history, summary.by_event) if has_episodes else None,
        _spread(history, times) if has_episodes else None,
        load_charts(history, states, windows) if has_clients else gauge_chart(history, windows),
        _attempts(affected) if has_episodes else None,
        _round_trips(history),
    ]
    return [chart for chart in drawn if chart is not None]


# --- connection states over time --------------------------------------------------------------------------------------


def _timeline(history: RunHistory, states: ClientStates, windows: pd.DataFrame, episodes: pd.DataFrame) -> Chart:
    failed = _failed_clients(states, episodes)
    rows = timeline_rows(states.cohort, failed)
    length = np.bincount(states.state, weights=states.stop - states.start, minlength=len(STATE_WORDS)).astype(
        np.float64
    )
    seen = np.bincount(states.state, minlength=len(STATE_WORDS)) > 0
    shown = [
        code
        for code in drawings.STATE_CSS
        if seen[code] and (code == GAVE_UP or length[code] > length.sum() * _VISIBLE)
    ]
    lost = int(failed.sum())
    drawn = len(rows)
    choice = f"All {drawn:,} clients" if drawn == len(failed) else f"{drawn:,} of {len(failed):,} clients"
    kept = sum(bool(failed[row.who]) for row in rows)
    first = (
        f"; first in each cohort those with a failed episode or without a session at the end: {kept:,} of {lost:,} are "
        "drawn"
        if lost
        else "; none has a failed episode or is without a session at the end"
    )
    return Chart(
        "Connection states over time",
        f"{choice}, one row each, by cohort{first}. Bars and dotted lines mark each fault.",
        f"Timeline of {pluralise(len(failed), 'client')} over {history.end:.0f} seconds with "
        f"{pluralise(len(windows), 'fault window')}; {lost} failed to come back at least once. "
        + _share_words(length, shown),
        drawings.timeline(states, rows, windows, history.end),
        legend=tuple((drawings.STATE_CSS[code] + " block", STATE_WORDS[code]) for code in shown),
    )


def _share_words(length: Floats, shown: Sequence[int]) -> str:
    total = max(float(length.sum()), 1e-9)
    return "Of all client time: " + ", ".join(f"{STATE_WORDS[i]} {length[i] / total:.1%}" for i in shown) + "."


def _failed_clients(states: ClientStates, episodes: pd.DataFrame) -> np.ndarray:
    """Which clients failed: an affected episode without return, or gave up or without a session at the end."""
    lost = set(episodes.loc[episodes["affected"] & ~episodes["returned"], "participant"].astype(str))
    failed = np.asarray([name in lost for name in states.names], dtype=bool)
    last = np.flatnonzero(np.diff(states.who, append=-1) != 0)
    failed[states.who[last]] |= np.isin(states.state[last], (GAVE_UP, JOINING))
    return failed


def timeline_rows(cohorts: Sequence[str], failed: np.ndarray, most: int = MAX_ROWS) -> list[TimelineRow]:
    """The drawn clients, cohort by cohort, failed ones first in each.

    If not all fit, the failed ones get what they need, up to two thirds of ``most``; each group is thinned evenly.
    """
    order = pd.DataFrame({"cohort": list(cohorts), "fine": ~failed, "who": np.arange(len(failed))})
    order = order.sort_values(["cohort", "fine", "who"], kind="stable", ignore_index=True)
    if len(order) > most:
        lost, fine = order.index[~order["fine"]].to_numpy(), order.index[order["fine"]].to_numpy()
        for_lost = min(len(lost), max(most * 2 // 3, most - len(fine)))
        kept = np.concatenate([lost[evenly(len(lost), for_lost)], fine[evenly(len(fine), most - for_lost)]])
        order = order.loc[np.sort(kept)]
    return [TimelineRow(int(who), str(cohort)) for who, cohort in zip(order["who"], order["cohort"], strict=True)]


# --- time to recovery -------------------------------------------------------------------------------------------------


_DRAWN_CLOCKS = ("detection_s", "downtime_s", "excess_s")
_TIMED = (*RecoveryTimes.COLUMNS, *_DRAWN_CLOCKS)

_ByKind = dict[str, RecoveryTimes]
"""In the order of the kinds' names."""


def _times_by_kind(affected: pd.DataFrame) -> dict[str, _ByKind]:
    """The times of each clock that is drawn, once for all charts."""
    found: dict[str, _ByKind] = {clock: {} for clock in _DRAWN_CLOCKS}
    for kind, rows in sorted(rows_of(affected["kind"]).items()):
        mine = affected.take(rows)
        clusters = Clusters.of_episodes(mine)
        for clock, times in found.items():
            times[kind] = RecoveryTimes.of(mine, clock, clusters)
    return found


def _target(history: RunHistory) -> float | None:
    rates = [item.threshold for item in history.experiment.expectations if item.metric == "success_rate"]
    return max(rates, default=None)


def _recovery(history: RunHistory, by_clock: dict[str, _ByKind]) -> Chart:
    deadline, panels = history.experiment.statistics.deadline, []
    for clock, title in (("excess_s", "back, from the heal"), ("downtime_s", "back, from the fault")):
        curves = by_clock[clock]
        limit = drawings.sensible_limit(list(curves.values()), deadline)
        bands = {kind: clustered_band(times, history, limit) for kind, times in curves.items() if _has_band(times)}
        panels.append(drawings.recovery(curves, bands, _target(history), limit, title))
    curves = by_clock["excess_s"]
    few = [kind for kind, times in curves.items() if not _has_band(times)]
    without = f" No band for {', '.join(few)}: fewer than {BAND_FROM_EVENTS} events." if few else ""
    return Chart(
        "Time to recovery",
        "Share of affected participants with a restored session (one minus Kaplan-Meier; clients that never return "
        "stay in it). Bands: one-sided 95 % bounds at each time, as for the success rate: drops of one event are "
        f"correlated.{without}",
        "Recovery curves from the heal and from the fault. From the heal: " + _recovery_words(curves) + ".",
        "".join(panels),
        legend=tuple(
            (series_css(i), f"{kind}: {int(times.returned.sum()):,} of {len(times):,}")
            for i, (kind, times) in enumerate(curves.items())
        ),
        columns=2,
    )


def _has_band(times: RecoveryTimes) -> bool:
    return times.clusters.events >= BAND_FROM_EVENTS


def clustered_band(times: RecoveryTimes, history: RunHistory, limit: float) -> Band:
    """Bounds of the share returned by each of some times, by the method of the success rate.

    The lower bound counts those that were no longer observed as not returned, the upper bound as returned.
    """
    moments = times.curve.seconds[times.curve.seconds <= limit]
    moments = moments[evenly(len(moments), _BAND_POINTS)]
    clusters, unknown = times.clusters, times.unknown
    back = _counted_by(times.returned, np.searchsorted(moments, times.seconds, side="left"), clusters, len(moments))
    lost = clusters.sizes[:, None] - back
    over = _counted_by(unknown, np.searchsorted(moments, times.seconds, side="right"), clusters, len(moments))
    design = RateDesign.of(clusters, history.experiment.statistics.correlation, _BAND_CONFIDENCE)
    low = np.array([low_bound(design, each) for each in lost.T])
    high = np.array([high_bound(design, each) for each in (lost - over).T])
    return Band(moments, low, high)


def _counted_by(chosen: np.ndarray, first: np.ndarray, clusters: Clusters, moments: int) -> Floats:
    """Of each event, how many of the chosen count at each moment; ``first``: from which moment on each one does."""
    cells = clusters.event[chosen] * (moments + 1) + first[chosen]
    counts = np.bincount(cells, minlength=clusters.events * (moments + 1)).reshape(clusters.events, moments + 1)
    return np.cumsum(counts, axis=1)[:, :moments].astype(np.float64)


def _recovery_words(curves: dict[str, RecoveryTimes]) -> str:
    parts = []
    for kind, times in curves.items():
        half, most = times.curve.quantile(0.5), times.curve.quantile(0.95)
        half_words = f"half back after {seconds(half)}" if np.isfinite(half) else "half were never back"
        most_words = f"95 % after {seconds(most)}" if np.isfinite(most) else "95 % were never back"
        parts.append(f"{kind}, {half_words}, {most_words}, {int(times.returned.sum())} of {len(times)} in all")
    return "; ".join(parts)


def _spread(history: RunHistory, by_clock: dict[str, _ByKind]) -> Chart:
    deadline = history.experiment.statistics.deadline
    detection, excess = by_clock["detection_s"], by_clock["excess_s"]
    everything = sum(int(times.returned.sum()) for times in excess.values())
    drawn = sum(len(drawings.shown_times(times)) for times in excess.values())
    lost = sum(times.censored for times in excess.values())
    crosses = sum(min(times.censored, drawings.MAX_CROSSES) for times in excess.values())
    dots = (
        "each dot is one episode"
        if drawn == everything
        else (
            f"{drawn:,} of {everything:,} episodes are drawn: per kind the slowest {drawings.MAX_POINTS // 5} and an "
            "even selection of the others"
        )
    )
    losses = f" Crosses: {crosses:,} of the {lost:,} that are not back." if lost else ""
    return Chart(
        "Detection time and excess time",
        f"{dots[0].upper()}{dots[1:]}; thick bar: the middle half; long tick: the median; short tick: the 95th "
        f"percentile.{losses}",
        "Times per kind of fault. Detection: " + _spread_words(detection) + ". Excess: " + _spread_words(excess) + ".",
        drawings.spread(detection, deadline, "detection: link cut → loss noticed")
        + drawings.spread(excess, deadline, "excess: link usable → restored"),
        columns=2,
    )


def _spread_words(groups: dict[str, RecoveryTimes]) -> str:
    def quantile(times: RecoveryTimes, level: float) -> str:
        value = times.curve.quantile(level)
        return seconds(value) if np.isfinite(value) else "not reached"

    return "; ".join(
        f"{kind}, median {quantile(times, 0.5)}, 95th percentile {quantile(times, 0.95)}"
        for kind, times in groups.items()
    )


# --- event by event ---------------------------------------------------------------------------------------------------


def _by_event(history: RunHistory, events: Sequence[EventResult]) -> Chart:
    shown = worst_events(events)
    worst = min(events, key=lambda event: event.restored / event.affected)
    slowest = max(events, key=lambda event: event.excess_mean or 0.0)
    choice = "Every event" if len(shown) == len(events) else f"The worst {len(shown)} of {len(events)} events"
    return Chart(
        "Event by event",
        f"{choice}, in order of time; red: not all came back. The intervals are of each event alone: differences "
        "between events that exceed them are the correlation for which the verdict's interval allows.",
        f"Share restored and mean excess of {pluralise(len(events), 'event')}. Lowest share: "
        f"{worst.restored} of {worst.affected} in {drawings.event_label(worst)}. Largest mean excess: "
        f"{seconds(slowest.excess_mean)} in {drawings.event_label(slowest)}.",
        drawings.event_shares(shown, _target(history)) + drawings.event_excess(shown),
        columns=2,
    )


def worst_events(events: Sequence[EventResult], most: int = MAX_EVENTS) -> list[EventResult]:
    """At most ``most`` events: those with the lowest share restored, then the largest mean excess; in order of time."""
    worst = sorted(events, key=lambda event: (event.restored / event.affected, -(event.excess_mean or 0.0)))
    return sorted(worst[:most], key=lambda event: event.started_at)


# --- distributions ----------------------------------------------------------------------------------------------------


def _attempts(affected: pd.DataFrame) -> Chart:
    dials = affected["attempts"].fillna(0).to_numpy(dtype=np.int64)
    most = int(dials.max())
    cap = max(min(most, 20), 1)
    kinds = sorted(str(kind) for kind in affected["kind"].unique())
    counts = {
        kind: np.bincount(np.minimum(dials[(affected["kind"] == kind).to_numpy()], cap), minlength=cap + 1).astype(
            float
        )
        for kind in kinds
    }
    p95 = int(np.quantile(dials, 0.95, method="inverted_cdf"))
    return Chart(
        "Attempts",
        "Dials per affected episode, including episodes without recovery.",
        f"Histogram of dials in {pluralise(len(dials), 'episode')}: mean {dials.mean():.1f}, 95th percentile {p95}, "
        f"most {most}.",
        drawings.attempts(counts, cap, capped=most > cap),
        wide=False,
        legend=tuple((f"c{i % drawings.SERIES + 1} block", kind) for i, kind in enumerate(kinds)),
    )


def _round_trips(history: RunHistory) -> Chart | None:
    values = history.rows(LogEventKind.HEARTBEAT_ACKED)["value"].dropna().to_numpy(dtype=np.float64)
    if not len(values):
        return None
    milliseconds = np.maximum(values * 1000, 1e-3)
    quantiles = [float(np.quantile(milliseconds, level, method="inverted_cdf")) for level in (0.5, 0.95, 0.99)]
    words = "p50 {:.3g}, p95 {:.3g}, p99 {:.3g} ms".format(*quantiles)
    return Chart(
        "Heartbeat round trips",
        f"{len(values):,} heartbeats answered: ping sent → pong received, by the server's clock. {words}.",
        f"Histogram of {len(values):,} heartbeat round trips: {words}.",
        drawings.round_trips(milliseconds, quantiles),
        wide=False,
    )
