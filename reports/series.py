"""What happened per bin of time: dials, returns, acknowledgements, errors. Arrays out; draws and judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Role

from .checks.selection import select
from .frames import RunHistory
from .svg import Floats

Integers = NDArray[np.int64]

BINS = 240
MIN_BIN_S = 0.25
MAX_CAUSES = 6

ERRORS: dict[LogEventKind, str] = {
    LogEventKind.TRANSPORT_LOST: "connection lost",
    LogEventKind.TRANSPORT_FAILED: "dial failed",
    LogEventKind.PEER_DEAD: "server declared dead",
    LogEventKind.SESSION_REJECTED: "session rejected",
    LogEventKind.CLIENT_DISMISSED: "dismissed",
    LogEventKind.GAVE_UP: "gave up",
    LogEventKind.JOIN_SHED: "join shed",
    LogEventKind.CONNECTION_REFUSED: "connection refused",
    LogEventKind.RESUME_REFUSED: "resume refused",
    LogEventKind.MESSAGE_REFUSED: "message refused",
    LogEventKind.COMMIT_FAILED: "commit failed",
}
"""What counts as an error, in words. A loss of a connection counts at the client only."""


def bin_edges(end: float) -> Floats:
    """The edges of equal bins over a run, seconds: at most ``BINS`` of at least ``MIN_BIN_S``."""
    width = max(end / BINS, MIN_BIN_S)
    count = max(int(np.ceil(end / width - 1e-9)), 1)
    return np.arange(count + 1, dtype=np.float64) * width


def per_second(times: Floats, edges: Floats) -> Floats:
    """Events per second in each bin."""
    return np.asarray(np.histogram(times, edges)[0] / np.diff(edges), dtype=np.float64)


def times_of(history: RunHistory, *kinds: LogEventKind) -> Floats:
    """When clients' events of these kinds happened."""
    return select(history, *kinds, role=Role.CLIENT)["t"].to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class Acknowledgements:
    """Answers by the time of their submission, seconds; ``latency`` is NaN where no acknowledgement came."""

    submitted: Floats
    latency: Floats

    @property
    def missing(self) -> Floats:
        """When the answers were submitted that were never acknowledged."""
        return self.submitted[np.isnan(self.latency)]


def acknowledgements(history: RunHistory) -> Acknowledgements:
    """The first submission of each answer and its first acknowledgement to the same client."""
    kinds = (LogEventKind.ANSWER_SUBMITTED, LogEventKind.ANSWER_ACKED)
    rows = select(history, *kinds, role=Role.CLIENT, columns=("actor", "kind", "ref"))
    actor = rows["actor"].astype("category").cat.codes.to_numpy(dtype=np.int64)
    answer, _ = pd.factorize(rows["ref"])
    key = (actor * (int(answer.max(initial=0)) + 1) + answer).astype(np.int64)
    asked = (rows["kind"] == LogEventKind.ANSWER_SUBMITTED.value).to_numpy()
    times = rows["t"].to_numpy(dtype=np.float64)
    keys, first = _first_of_each(key[asked])
    acked, first_ack = _first_of_each(key[~asked])
    place = np.searchsorted(acked, keys)
    found = np.zeros(len(keys), dtype=bool)
    inside = place < len(acked)
    found[inside] = acked[place[inside]] == keys[inside]
    submitted = times[asked][first]
    latency = np.full(len(keys), np.nan)
    latency[found] = times[~asked][first_ack][place[found]] - submitted[found]
    order = np.argsort(submitted, kind="stable")
    return Acknowledgements(submitted[order], latency[order])


def _first_of_each(keys: Integers) -> tuple[Integers, Integers]:
    """The distinct keys in order, and where each comes first."""
    distinct, first = np.unique(keys, return_index=True)
    return distinct, first.astype(np.int64)


def binned_quantile(values: Floats, times: Floats, edges: Floats, level: float) -> Floats:
    """The quantile of the values in each bin (the smallest that at least this share does not exceed); NaN if empty."""
    which = np.searchsorted(edges, times, side="right") - 1
    inside = (which >= 0) & (which < len(edges) - 1)
    which, values = which[inside], values[inside]
    order = np.lexsort((values, which))
    counts = np.bincount(which, minlength=len(edges) - 1)
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.maximum(np.ceil(level * counts - 1e-9).astype(np.int64) - 1, 0)
    found = np.full(len(edges) - 1, np.nan)
    some = counts > 0
    found[some] = values[order][(firsts + rank)[some]]
    return found


@dataclass(frozen=True)
class ErrorSeries:
    """Errors per bin by cause: ``names`` by number of errors, the most frequent first; ``counts``: names x bins."""

    names: Sequence[str]
    counts: Floats

    @property
    def totals(self) -> Floats:
        """Errors by cause, in the order of ``names``."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.float64)


def errors(history: RunHistory, edges: Floats) -> ErrorSeries:
    """Errors of clients and server over time; rare causes beyond ``MAX_CAUSES`` are one series, ``other``."""
    rows = select(history, *ERRORS, columns=("role", "kind", "cause"))
    counted = (rows["kind"] != LogEventKind.TRANSPORT_LOST.value) | (rows["role"] == Role.CLIENT.value)
    rows = rows[counted & (rows["t"] <= history.end)]  # commits may fail after the end
    label = _labels(rows)
    sizes = label.value_counts(sort=False)
    sizes = sizes[sizes > 0].sort_index().sort_values(ascending=False, kind="stable")
    shown = list(sizes.index) if len(sizes) <= MAX_CAUSES else list(sizes.index[: MAX_CAUSES - 1])
    times = rows["t"].to_numpy(dtype=np.float64)
    counts = [np.histogram(times[(label == name).to_numpy()], edges)[0] for name in shown]
    names = [str(name) for name in shown]
    if len(shown) < len(sizes):
        names.append(f"{len(sizes) - len(shown)} other causes")
        counts.append(np.histogram(times[~label.isin(shown).to_numpy()], edges)[0])
    return ErrorSeries(names, np.asarray(counts, dtype=np.float64).reshape(len(names), len(edges) - 1))


def _labels(rows: pd.DataFrame) -> pd.Series:
    """``"dial failed: refused"`` for each row, as categories."""
    kinds, kind_names = pd.factorize(rows["kind"])
    causes, cause_names = pd.factorize(rows["cause"])
    codes, pairs = pd.factorize(kinds * (len(cause_names) + 1) + causes + 1)  # a missing cause has the code -1
    words = []
    for pair in pairs:
        kind, cause = divmod(int(pair), len(cause_names) + 1)
        words.append(ERRORS[LogEventKind(str(kind_names[kind]))] + (f": {cause_names[cause - 1]}" if cause else ""))
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(words)), index=rows.index)
