"""How far real runs of one experiment are from one another: the distance that no model of constant costs can beat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from reports.episodes import episodes_frame
from reports.frames import RunHistory

from .agreement import distance, p95, values_of
from .calibration_file import Repeat
from .measured_run import affected


def repeats_of(histories: Sequence[RunHistory]) -> tuple[Repeat, ...]:
    """Of each experiment with two runs or more: how far each pair of them is apart."""
    groups: dict[str, list[RunHistory]] = {}
    for history in histories:
        groups.setdefault(history.info.experiment, []).append(history)
    return tuple(found for name, group in groups.items() if (found := _repeat(name, group)) is not None)


def _repeat(name: str, histories: Sequence[RunHistory]) -> Repeat | None:
    deadline = histories[0].experiment.statistics.deadline
    excesses = [values_of("excess_s", affected(episodes_frame(each)), deadline) for each in histories]
    pairs = [(a, b) for a, b in itertools.combinations(excesses, 2) if len(a) and len(b) and b.mean() and p95(b)]
    if not pairs:
        return None
    apart = [distance(a, b) / float(np.mean([a.mean(), b.mean()])) for a, b in pairs]
    ratios = [max(p95(a) / p95(b), p95(b) / p95(a)) for a, b in pairs]
    return Repeat(experiment=name, runs=len(histories), distance=float(np.mean(apart)), tail=float(np.mean(ratios)))
