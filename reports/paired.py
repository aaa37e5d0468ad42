"""Differences between two runs of one seed and one schedule, paired by fault and participant. Pure; knows no file.

The same participant meets the same fault in both runs, so what the schedule and the keyed random draws give to both
cancels, and only what the change did remains. Each pair is one value of the second run less that of the first; the
mean of these differences gets Student's t over clusters of them.

*Clusters* are what two runs of one seed still share. Under virtual time that is one strike of a fault on all its
cohorts, with the strikes that begin at the same instant. On a real machine a moment's load touches everything that
happens in it, and the clusters are the physical events of :mod:`reports.windows`. Alike clusters form a stratum, since
how often each kind of fault strikes is the schedule's design and not chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.experiment.faults import AnyFault
from resilience.experiment.spec import Experiment

from .quantiles import t_quantile
from .stats import Clusters, Floats, Integers, design_effect
from .windows import fault_strike

MIN_SPARE = 3
"""The fewest degrees of freedom (clusters less strata) at which pairs are used; with fewer, t asks for too much."""

_ROUNDING = 1e-9
"""Seconds by which a shifted time may miss the value that it was computed from."""

MIN_MATCHED = 0.9
"""The least share of the affected episodes of either run that must have a partner."""

PAIRED_METRICS = (
    "success_rate",
    "detection_s.mean",
    "downtime_s.restricted_mean",
    "downtime_less_outage_s.restricted_mean",
    "excess_s.restricted_mean",
    "reconnection_s.restricted_mean",
    "attempts.mean",
)
"""The metrics that are means of one value per episode."""


class WindowSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the affected episodes of one fault window, by metric: all that a later paired comparison needs.

    ``n``: how many of them have a value.
    """

    fault_id: str
    n: dict[str, int]
    sums: dict[str, float]
    squares: dict[str, float]


@dataclass(frozen=True)
class PairedMean:
    """A mean difference with its standard error, both in the metric's unit, and the degrees of freedom of the error."""

    mean: float
    error: float
    spare: int

    def bounds(self, confidence: float) -> tuple[float, float]:
        """One-sided bounds, each at ``confidence``."""
        half = t_quantile(confidence, self.spare) * self.error
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Pairs:
    """Positions of partners in the affected rows of two runs, with the cluster and the participant of each pair."""

    first: Integers
    other: Integers
    clusters: Clusters
    participant: Integers

    def where(self, known: NDArray[np.bool_]) -> Pairs | None:
        """These pairs only; None if too few clusters are left."""
        if known.all():
            return self
        left, event = np.unique(self.clusters.event[known], return_inverse=True)
        stratum = np.unique(self.clusters.stratum[left], return_inverse=True)[1]
        clusters = pooled(Clusters(event.astype(np.int64), stratum.astype(np.int64)))
        enough = len(event) > 0 and clusters.spare >= MIN_SPARE
        return Pairs(self.first[known], self.other[known], clusters, self.participant[known]) if enough else None


# --- values and partners ----------------------------------------------------------------------------------------------


def episode_values(metric: str, rows: pd.DataFrame, deadline: float) -> Floats:
    """One value per affected episode whose mean is the metric; one of :data:`PAIRED_METRICS`; NaN where undefined.

    An episode that never ended counts with ``deadline``, one that the run's end cut off with the time it was seen.

    ``downtime_less_outage_s`` is the excess, but negative for a participant that was back before the heal.
    """
    name = metric.partition(".")[0]
    if name == "success_rate":
        return rows["returned"].to_numpy(dtype=np.float64)
    if name in ("attempts", "detection_s"):
        return rows[name].to_numpy(dtype=np.float64)
    clock = "excess_s" if name == "downtime_less_outage_s" else name
    seconds = np.minimum(rows[clock].to_numpy(dtype=np.float64), deadline)
    values = np.where(rows["never"].to_numpy(dtype=bool) & ~np.isnan(seconds), deadline, seconds)
    if name != "downtime_less_outage_s":
        return values
    signed = (rows["restored_at"] - rows["healed_at"]).to_numpy(dtype=np.float64)
    return np.where(signed < 0, signed, values)


def window_sums(rows: pd.DataFrame, deadline: float) -> tuple[WindowSums, ...]:
    """The sums of every fault window that affected a participant."""
    if rows.empty:
        return ()
    columns = {metric: episode_values(metric, rows, deadline) for metric in PAIRED_METRICS}
    codes, names = pd.factorize(rows["fault_id"].astype(str), sort=True)
    found = {metric: _window_totals(values, codes, len(names)) for metric, values in columns.items()}
    return tuple(
        WindowSums(
            fault_id=str(name),
            n={metric: int(totals[0][i]) for metric, totals in found.items()},
            sums={metric: float(totals[1][i]) for metric, totals in found.items()},
            squares={metric: float(totals[2][i]) for metric, totals in found.items()},
        )
        for i, name in enumerate(names)
    )


def _window_totals(values: Floats, codes: Integers, windows: int) -> tuple[Floats, Floats, Floats]:
    """Count, sum and sum of squares per window, over the values that are known."""
    known = ~np.isnan(values)
    kept, at = values[known], codes[known]
    weights = (np.ones(len(kept)), kept, kept**2)
    totals = [np.bincount(at, weights=weight, minlength=windows).astype(np.float64) for weight in weights]
    return totals[0], totals[1], totals[2]


def cluster_names(experiment: Experiment, seed: int, rows: pd.DataFrame, *, real: bool) -> pd.DataFrame:
    """``cluster`` and ``stratum`` of every fault id; ``rows``: an episode frame, whose events are the real lane's."""
    if real:
        known = rows[["fault_id", "event", "stratum"]].astype(str).drop_duplicates("fault_id").set_index("fault_id")
        return known.rename(columns={"event": "cluster"})
    windows = experiment.windows(seed)
    table = pd.DataFrame(
        {
            "fault_id": [window.fault_id for window in windows],
            "strike": [fault_strike(window.fault_id) for window in windows],
            "start": [window.starts_at for window in windows],
            "alike": [_alike(window.fault) for window in windows],
        }
    )
    begun = table.groupby("strike")["start"].transform("min")
    cluster = table.groupby(begun.rename("begun"))["strike"].transform("min")
    stratum = table.groupby(cluster.rename("cluster"))["alike"].transform(lambda kinds: " + ".join(sorted(set(kinds))))
    named = table.assign(cluster=cluster, stratum=stratum)
    return named.set_index("fault_id")[["cluster", "stratum"]]


def _alike(fault: AnyFault) -> str:
    """The fault without the times and places at which it strikes."""
    bare = msgspec.structs.replace(
        fault, at=0.0, cohorts=(), times=1, every=None, flaps=1, flap_every=None, rolling=0.0, jitter=0.0
    )
    return msgspec.json.encode(bare, order="deterministic").decode()


def match(first: pd.DataFrame, other: pd.DataFrame, names: pd.DataFrame) -> Pairs | None:
    """The partners of two sets of affected rows; ``names`` as of :func:`cluster_names`.

    None if too few episodes have a partner, or if there are too few clusters for a paired interval.
    """
    people = (
        first["participant"]
        .astype("category")
        .cat.categories.union(other["participant"].astype("category").cat.categories)
    )
    mine, theirs = _keys(first, names, people), _keys(other, names, people)
    _, here, there = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    known = mine[here] >= 0
    here, there = here[known].astype(np.int64), there[known].astype(np.int64)
    if len(here) < MIN_MATCHED * max(len(first), len(other), 1):
        return None
    paired = names.loc[names.index[mine[here] // len(people)]].reset_index(drop=True)
    clusters = pooled(Clusters.of(paired["cluster"], paired["stratum"]))
    if clusters.spare < MIN_SPARE:
        return None
    return Pairs(here, there, clusters, (mine[here] % len(people)).astype(np.int64))


def _keys(rows: pd.DataFrame, names: pd.DataFrame, people: pd.Index) -> Integers:
    """A number per row for its fault and participant; negative, and unlike any other, for an unplanned fault."""
    fault, who = (rows[column].astype("category").cat for column in ("fault_id", "participant"))
    faults = names.index.get_indexer(fault.categories)[fault.codes.to_numpy()]
    persons = people.get_indexer(who.categories)[who.codes.to_numpy()]
    keys = faults.astype(np.int64) * len(people) + persons
    return np.where(faults < 0, -1 - np.arange(len(rows)), keys).astype(np.int64)


def pooled(clusters: Clusters) -> Clusters:
    """The clusters with all strata of a single cluster joined into one, or the last of them into another stratum.

    A single cluster says nothing about the variance of its stratum. Joined, the difference between kinds of fault
    counts as chance, which makes an interval wider (Cochran 1977, section 5A.12, collapsed strata).
    """
    members = np.bincount(clusters.stratum)
    lonely = np.flatnonzero(members == 1)
    if not len(lonely):
        return clusters
    others = np.flatnonzero(members > 1)
    target = lonely[0] if len(lonely) > 1 or not len(others) else others[np.argmin(members[others])]
    joined = np.where(np.isin(clusters.stratum, lonely), target, clusters.stratum)
    return Clusters(clusters.event, np.unique(joined, return_inverse=True)[1].astype(np.int64))


def stated_correlation(experiment: Experiment, *, real: bool) -> float:
    """The least correlation within a cluster that paired differences are given.

    The experiment's own on a real machine, whose load moments are shared. None under virtual time: pairs of unlike
    seeds of the bundled demo have an estimated correlation of 0 to 0.01 there, single runs one of 0.2.
    """
    return experiment.statistics.correlation if real else 0.0


# --- intervals --------------------------------------------------------------------------------------------------------


def paired_mean(gaps: Floats, pairs: Pairs, stated: float, *, shares: bool = False) -> PairedMean:
    """The mean of paired differences and its error; ``stated``: the correlation of differences within a cluster.

    The variance is the largest of three: over clusters within strata, linearised (Cochran 1977, section 6.3); over
    clusters and participants, since the same people are in many events (Cameron, Gelbach and Miller 2011); and that of
    the stated correlation (Kish 1965), below which no interval of few clusters is believed. :func:`stated_correlation`
    says which one to state. ``shares``: the values are 0 or 1, and half a pair is added to either kind of disagreement
    (Agresti and Min 2005), so that pairs without a disagreement still leave room for one.
    """
    clusters, participant = pairs.clusters, pairs.participant
    seen = variance_over_events(gaps, clusters, participant)
    floor = variance_if_stated(gaps, clusters, stated, shares=shares)
    return PairedMean(float(gaps.mean()), math.sqrt(max(seen, floor)), clusters.spare)


def variance_over_events(values: Floats, clusters: Clusters, participant: Integers) -> float:
    """The variance of a mean over clusters within strata, or over clusters and participants where that is larger."""
    rest = clusters.centred(values)
    events = _between(clusters.sums(rest), clusters)
    persons = float((np.bincount(participant, weights=rest) ** 2).sum())
    return max(events, events + persons - float((rest**2).sum())) / len(values) ** 2


def variance_if_stated(values: Floats, clusters: Clusters, stated: float, *, shares: bool) -> float:
    """The variance of a mean at the stated correlation; ``shares``: of zeros and ones, with room for one more."""
    single = float((clusters.centred(values) ** 2).sum()) + shares
    strata = clusters.events - clusters.spare
    return single / max(len(values) - strata, 1) * design_effect(stated, clusters.sizes) / len(values)


@dataclass(frozen=True)
class PairedQuantile:
    """The shift between a quantile of two paired samples, ``b`` less ``a``; infinite times never came.

    Bounds by inverting the paired test: a shift is possible unless the shares of ``a`` up to its quantile and of ``b``
    up to the shifted quantile differ by more than t allows (as Woodruff 1952 inverts the test of one share).
    """

    a: Floats
    b: Floats
    level: float
    pairs: Pairs
    stated: float

    @property
    def mean(self) -> float:
        """The difference of the two quantiles."""
        return _quantile(self.b, self.level) - self._origin

    @property
    def spare(self) -> int:
        """The degrees of freedom of the test."""
        return self.pairs.clusters.spare

    @property
    def _origin(self) -> float:
        return _quantile(self.a, self.level)

    def bounds(self, confidence: float) -> tuple[float, float]:
        """One-sided bounds, each at ``confidence``; an end that too few times reach is infinite."""
        shifts = np.unique(self.b[np.isfinite(self.b)]) - self._origin
        limit = t_quantile(confidence, self.spare)
        low = _first(len(shifts), lambda i: self._score(shifts[i]) > -limit)
        high = _first(len(shifts), lambda i: self._score(shifts[i]) > limit)
        ends = np.concatenate([shifts, [np.inf]])
        return float(min(ends[low], self.mean)), float(max(ends[high], self.mean))

    def _score(self, shift: float) -> float:
        """The paired t statistic of the share of ``b`` within the shifted quantile, less that of ``a``."""
        edge = self._origin + shift
        gaps = (self.b <= edge + _ROUNDING).astype(np.float64) - (self.a <= self._origin)
        found = paired_mean(gaps, self.pairs, self.stated, shares=True)
        return found.mean / found.error if found.error else math.copysign(math.inf, found.mean) if found.mean else 0.0


def _quantile(values: Floats, level: float) -> float:
    """The first time by which the share ``level`` is reached."""
    return float(np.quantile(values, level, method="inverted_cdf"))


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """The first of ``n`` indices at which something holds from then on; ``n`` if at none."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _between(sums: Floats, clusters: Clusters) -> float:
    """The variance of a total over clusters, each stratum by itself; ``sums`` have mean zero within a stratum."""
    members = np.bincount(clusters.stratum).astype(np.float64)
    inflation = members / np.maximum(members - 1, 1)
    return float((inflation[clusters.stratum] * sums**2).sum())


def paired_sums(
    first: tuple[WindowSums, ...], other: tuple[WindowSums, ...], names: pd.DataFrame, metric: str, stated: float
) -> PairedMean | None:
    """Like :func:`paired_mean` where only the sums of each window are known: paired by window, not by participant.

    The floor is then the variance of two independent runs, which is larger. None where :func:`match` gives none.
    """
    table = _joined_sums(first, other, names, metric)
    if table is None:
        return None
    gaps, weight = (table["b"] - table["a"]).to_numpy(), table["n"].to_numpy(dtype=np.float64)
    clusters = pooled(Clusters.of(table["cluster"], table["stratum"]))
    if clusters.spare < MIN_SPARE:
        return None
    n = float(weight.sum())
    stratum = clusters.stratum[clusters.event]
    level = np.bincount(stratum, weights=gaps * weight) / np.bincount(stratum, weights=weight)
    totals = clusters.sums((gaps - level[stratum]) * weight)
    spread = float((table["spread"] * weight).sum()) + (metric == "success_rate")
    sizes = np.rint(clusters.sums(weight)).astype(np.int64)
    variance = max(_between(totals, clusters), spread * design_effect(stated, sizes)) / n**2
    return PairedMean(float((gaps * weight).sum()) / n, math.sqrt(variance), clusters.spare)


def _joined_sums(
    first: tuple[WindowSums, ...], other: tuple[WindowSums, ...], names: pd.DataFrame, metric: str
) -> pd.DataFrame | None:
    """Windows that both runs have: their means ``a`` and ``b``, pairs ``n`` and ``spread``, the variance of a pair."""
    if not first or not other:
        return None
    here, there = _sums_table(first, metric), _sums_table(other, metric)
    table = here.add_suffix("_a").join(there.add_suffix("_b"), how="inner").join(names, how="inner")
    n = np.minimum(table["n_a"], table["n_b"])
    if table.empty or n.sum() < MIN_MATCHED * max(here["n"].sum(), there["n"].sum()):
        return None
    spread = table["variance_a"] + table["variance_b"]
    return table.assign(a=table["mean_a"], b=table["mean_b"], n=n, spread=spread)


def _sums_table(windows: tuple[WindowSums, ...], metric: str) -> pd.DataFrame:
    windows = tuple(window for window in windows if window.n[metric])
    n = np.array([window.n[metric] for window in windows], dtype=np.float64)
    mean = np.array([window.sums[metric] for window in windows]) / n
    square = np.array([window.squares[metric] for window in windows]) / n
    variance: NDArray[Any] = np.maximum(square - mean**2, 0.0) * n / np.maximum(n - 1, 1)
    return pd.DataFrame(
        {"n": n, "mean": mean, "variance": variance}, index=pd.Index([window.fault_id for window in windows])
    )
