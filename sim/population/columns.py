"""The episodes of a population as the rows of ``episodes.parquet``, block by block. Decides nothing.

An outage that begins while a client is away belongs to the episode that the client is in, as in the other lanes. An
outage of a fault has the fault's id, one that a group shares the name of that event, its kind and its cohort. The
others are named by the minute in which they begin: those of one minute count as one event, which can only widen an
interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reports.episode_table import EPISODE_SCHEMA
from reports.gauge_charts import POOLED
from reports.windows import planned_windows
from resilience.eventlog.vocabulary import Outcome
from resilience.experiment.spec import Cohort, Experiment

from ..profiles.timelines import OutageKind, OutageTimelines, ranges
from .population import EpisodeOutcome, Episodes, Floats, Population, Rows
from .rules import PopulationRules
from .strikes import planned_ends

BLOCK = 100_000
"""Participants whose rows are made at once."""

_OUTCOMES = {
    EpisodeOutcome.RESTORED: Outcome.RESTORED,
    EpisodeOutcome.GAVE_UP: Outcome.GAVE_UP,
    EpisodeOutcome.RODE_THROUGH: Outcome.RODE_THROUGH,
    EpisodeOutcome.CENSORED: Outcome.CENSORED,
}
_PLACE = np.array([[*_OUTCOMES].index(each) if each in _OUTCOMES else -1 for each in EpisodeOutcome])
_KINDS = {kind: kind.name.lower() for kind in OutageKind}
_MINUTE = 60.0


class EpisodeTable:
    """Makes the tables of :data:`reports.episode_table.EPISODE_SCHEMA` of one run."""

    def __init__(
        self, experiment: Experiment, seed: int, population: Population, rules: PopulationRules, episodes: Episodes
    ) -> None:
        self._population, self._rules, self._episodes = population, rules, episodes
        self._experiment = experiment
        self._end = planned_ends(experiment, seed, population)
        planned = planned_windows(experiment, seed)
        self._events = dict(zip(planned["fault_id"], planned["event"], strict=True))
        self._strata = dict(zip(planned["fault_id"], planned["stratum"], strict=True))
        self._names = population.causes
        self._alone = np.array([not name for name in self._names], np.bool_)

    def blocks(self) -> Iterator[pa.Table]:
        """The episodes of each block of participants, cohort by cohort."""
        first = 0
        for cohort in self._experiment.cohorts:
            for low in range(0, cohort.clients, BLOCK):
                yield self._block(cohort, first, low, min(low + BLOCK, cohort.clients))
            first += cohort.clients

    def _block(self, cohort: Cohort, first: int, low: int, high: int) -> pa.Table:
        timelines = self._population.timelines
        ptr = timelines.ptr[first + low : first + high + 1]
        begins = np.flatnonzero(self._episodes.outcome[ptr[0] : ptr[-1]] != EpisodeOutcome.NOT_EXPOSED)
        heads, mine = ptr[0] + begins, np.repeat(np.arange(high - low), np.diff(ptr))[begins]
        last = np.append(heads[1:], ptr[-1])  # an episode's outages are these and those that follow
        last = np.minimum(last, ptr[mine + 1])
        data = self._measured(heads, last, first + low + mine) | self._named(cohort, timelines, heads, last)
        names = [f"{cohort.name}-{number:04d}" for number in range(low + 1, high + 1)]
        data["participant"] = _texts(mine, names)
        return pa.Table.from_arrays([data[name] for name in EPISODE_SCHEMA.names], schema=EPISODE_SCHEMA)

    def _measured(self, heads: Rows, last: Rows, who: Rows) -> dict[str, Any]:
        """Outcome, instants and durations; NaN for what is not known, and for durations of episodes without a loss."""
        timelines, episodes, rules = self._population.timelines, self._episodes, self._rules
        outcome, start = episodes.outcome[heads], timelines.start[heads]
        detected, ended = episodes.detected[heads], episodes.ended[heads]
        returned, never = outcome == EpisodeOutcome.RESTORED, outcome == EpisodeOutcome.GAVE_UP
        affected = returned | never | (outcome == EpisodeOutcome.CENSORED)
        over = np.where(affected & np.isnan(ended), rules.duration, ended)
        until = np.where(affected, over, np.inf)
        down, healed, windows = _downtime(timelines.start, self._end, (heads, last), until)
        healed = np.where(healed < rules.duration, healed, np.nan)
        usable = (over - start) - down
        latency = self._population.latency[who]
        back = np.where(returned, ended, np.nan)
        times = {
            "fault_at": start,
            "detected_at": detected,
            "healed_at": healed,
            "connected_at": back - (rules.commit + 2 * latency),
            "restored_at": back,
            "ended_at": over,
            "detection_s": detected - start,
            "reconnection_s": over - detected,
            "downtime_s": over - start,
            "excess_s": np.where(np.isfinite(healed), usable, np.nan),
            "outage_s": down,
            "usable_s": usable,
            "heal_s": healed - start,
        }
        own = {"fault_at", "detected_at", "healed_at"}
        return {
            "outcome": _texts(_PLACE[outcome], [each.value for each in _OUTCOMES.values()]),
            "came_back_by": _texts(np.where(returned, episodes.cleaned_up[heads], -1), ["resumed", "rejoined"]),
            "open_at_fault": pa.array(np.ones(len(heads), np.bool_)),
            "windows": pa.array(windows, pa.int32()),
            "detected_by": _texts(np.where(np.isnan(detected), -1, 0), ["client"]),
            "attempts": pa.array(np.where(affected, episodes.dials[heads], 0), pa.int64()),
            **{
                name: pa.array(values if name in own else np.where(affected, values, np.nan), from_pandas=True)
                for name, values in times.items()
            },
            "affected": pa.array(affected),
            "returned": pa.array(returned),
            "never": pa.array(never),
        }

    def _named(self, cohort: Cohort, timelines: OutageTimelines, heads: Rows, last: Rows) -> dict[str, Any]:
        own, own_names = self._ids(cohort, timelines, heads)
        final, final_names = self._ids(cohort, timelines, last - 1)
        kinds = [each.partition(":")[2].partition("@")[0] for each in own_names]
        return {
            "fault_id": _texts(own, own_names),
            "last_fault_id": _texts(final, final_names),
            "kind": _grouped(own, kinds),
            "event": _grouped(own, [self._events.get(each, each.partition(":")[0]) for each in own_names]),
            "stratum": _grouped(own, [self._strata.get(*pair) for pair in zip(own_names, kinds, strict=True)]),
            "cohort": _texts(np.zeros(len(heads), np.int32), [cohort.name]),
        }

    def _ids(self, cohort: Cohort, timelines: OutageTimelines, rows: Rows) -> tuple[Rows, list[str]]:
        """The fault id of each outage, as a number into a list of names."""
        kinds = len(_KINDS)
        minute = (timelines.start[rows] // _MINUTE).astype(np.int64)
        cause = -np.ones(len(rows), np.int64) if timelines.cause is None else timelines.cause[rows].astype(np.int64)
        if len(self._names):
            cause = np.where(self._alone[cause], -1, cause)
        base = int(minute.max(initial=0)) + 1
        code = np.where(cause < 0, minute, base + cause) * kinds + timelines.kind[rows]
        found, place = np.unique(code, return_inverse=True)
        names = []
        for each, kind in (divmod(value, kinds) for value in found.tolist()):
            event = f"{POOLED}{each}" if each < base else self._names[each - base]
            names.append(event if ":" in event else f"{event}:{_KINDS[OutageKind(kind)]}@{cohort.name}")
        return place, names


def _downtime(starts: Floats, ends: Floats, outages: tuple[Rows, Rows], until: Floats) -> tuple[Floats, Floats, Rows]:
    """Of each episode until that instant: seconds of outage, the end of the last one, and how many there were.

    ``outages``: the first one of each episode, and the one after its last.

    The end is NaN where the link was still down.
    """
    heads, past = outages
    counts = past - heads
    episode = np.repeat(np.arange(len(heads)), counts)
    rows = ranges(heads, counts)
    start, end, limit = starts[rows], ends[rows], until[episode]
    met = start < limit
    down = np.bincount(episode, np.where(met, np.minimum(end, limit) - start, 0.0), len(heads)).astype(np.float64)
    windows = np.bincount(episode[met], minlength=len(heads)).astype(np.int64)
    final = ends[heads + np.maximum(windows, 1) - 1]
    return down, np.where(final <= until, final, np.nan), windows


def _texts(codes: npt.NDArray[np.integer], names: list[str]) -> pa.DictionaryArray:
    """The names of these numbers; null below 0."""
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32), mask=codes < 0), pa.array(names, pa.string())
    )


def _grouped(codes: Rows, labels: list[str]) -> pa.DictionaryArray:
    """The labels of these numbers; equal labels are one."""
    names = list(dict.fromkeys(labels))
    place = np.array([names.index(label) for label in labels], np.int64)
    return _texts(place[codes] if len(codes) else codes, names)
