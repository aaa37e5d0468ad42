"""The work of every thread of the laboratory, from all runs together: what comes nearest to all that was seen. Pure.

No single time tells one thread's work, so all times of all runs are predicted at once (:mod:`sim.calibration.stages`)
and the costs are those of the least squares, in which large residuals count by their size alone (soft L1: a machine
stalls at times). A residual is a part of the time that was seen: a dial of a herd takes fifty times as long as one that
meets no other, and is as uncertain. Compared are the times of one stage within one block of seconds, from the least to
the greatest: in a herd it is chance whose request comes first. Leaving out one run after the other says how well they
know a cost: the pseudo-values of the jackknife, whose mean is the fit and whose scatter is its error (Efron and Stein,
1981); each fit without a run is one Gauss-Newton step from that of all. Where runs are too few, blocks are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from resilience.units import Seconds

from .descent import descend
from .stages import Floats, Numbers, SeenRun, Stages, WorkCosts, predict, seen

BLOCK_S: Seconds = 5.0
"""What happens within one such span is one block: it shares a herd, and what else the machine did."""

FELT = 0.01
"""With all other costs adjusted to it, doubling a cost must move the times in which it plays a part by this part."""

_SHORT_S: Seconds = 0.01
"""What is added to a time that was seen before a residual is divided by it: a millisecond too much matters little."""
_END_S: Seconds = 0.005
"""By what the residual of an end is divided, whose time counts from the run's start."""
_NOTICED = Stages._fields.index("noticed")


class _Pass(NamedTuple):
    """One pass of the search: a residual beyond ``stall`` counts by its size and no longer by its square.

    To see what a cost moves, it is changed by this part of it, ``step``: a small change says little where requests
    overtake one another. ``rounds``: how often all costs are adjusted at most.
    """

    stall: Seconds
    step: float
    rounds: int


_PASSES = (_Pass(0.1, 0.15, 12), _Pass(0.03, 0.1, 12), _Pass(0.01, 0.03, 6))
_RESTARTS, _APART = 6, 0.25
"""How often the search begins again, and how far from the best costs so far, as the deviation of their logarithms.

Where requests overtake one another the squares have many local minima, one of which the first search ends in.
"""
_WORTH = 1.5
"""A search that ends with at most so many times the least loss so far may be near a smaller one."""
_LEAST_STEP_S: Seconds = 5e-6
_WAIT_S: Seconds = 0.012
"""A commit's wait where the search begins: two or three switch intervals of the interpreter."""
_FACTORS: Sequence[float] = sorted((1.08**n for n in range(-8, 9)), key=lambda factor: abs(math.log(factor)))
"""How much slower a machine may be in one run than on average, from about a half to about twice: the nearest first."""
_UNHINDERED = 0.1
"""Dials that take no longer than this part of them hardly met any other one."""
_SMALL_S: Seconds = 2e-4
_MANY = 1_000_000
"""More blocks than a run has."""
_SAYS = 1e-3
"""A cluster with less than this part of what another one says of a cost has no value of it."""


class _Compared(NamedTuple):
    """What is compared of one run: which of all times of its stages, the block and stage of each, and its unit."""

    run: SeenRun
    kept: NDArray[np.bool_]
    place: Numbers
    measured: Floats
    unit: Floats

    @classmethod
    def of(cls, run: SeenRun) -> _Compared:
        """All that was seen."""
        times = seen(run).all
        kept = np.isfinite(times)
        place = (_blocks(run) * len(Stages._fields) + _stages(run))[kept]
        measured, ranked = _ranked(times[kept], place), np.sort(place)
        unit = np.where(ranked % len(Stages._fields) == _NOTICED, _END_S, measured + _SHORT_S)
        return cls(run, kept, place, measured, unit)

    @property
    def block(self) -> Numbers:
        """The block of each residual."""
        return np.sort(self.place) // len(Stages._fields)

    def residuals(self, work: WorkCosts) -> Floats:
        """What is predicted less what was seen, as a part of that."""
        predicted = _ranked(predict(self.run, work).all[self.kept], self.place)
        return np.nan_to_num((predicted - self.measured) / self.unit)


def _ranked(times: Floats, place: Numbers) -> Floats:
    """The times of each block and stage, from the least to the greatest."""
    return times[np.lexsort((times, place))]


class _Fit(NamedTuple):
    """The fit of all runs: its costs, and of each time its residual, how it moves with each cost, and its cluster."""

    work: Floats
    residuals: Floats
    slopes: NDArray[np.float64]
    cluster: Numbers

    @property
    def weights(self) -> Floats:
        """How much each residual counts by its square."""
        return 1.0 / np.sqrt(1.0 + (self.residuals / _PASSES[-1].stall) ** 2)


class FittedCost(NamedTuple):
    """One cost of the fit, which holds together with the others: its ``value``, and what says how well it is known.

    ``values``: independent ones of its own, of each run or else of each block that says anything of it; none where
    a little more of it would change nothing. ``runs``: how many these are or come from. ``is_told``: whether they tell
    it apart from the others. ``is_needed``: whether anything would be predicted otherwise with the default.
    """

    value: Seconds
    values: Floats
    runs: int
    is_told: bool
    is_needed: bool


class FittedWork(NamedTuple):
    """Every cost by its name; none where no dial was opened. ``clusters``: how many runs, or else blocks, were fitted.

    ``slowness``: by what all costs together would be multiplied to come nearest to each run alone, or to each block of
    a single run.
    """

    costs: dict[str, FittedCost]
    clusters: int
    slowness: Floats


def work_of(runs: Sequence[SeenRun], defaults: WorkCosts, *, by_run: bool) -> FittedWork:
    """The costs of these runs."""
    if not any(np.isfinite(run.dials.opened[run.said]).any() for run in runs):
        return FittedWork({}, 0, np.empty(0))
    fit = _fit(runs, by_run=by_run)
    costs = {
        name: FittedCost(cost, values, len(np.unique(clusters // _MANY)), told, needed)
        for name, cost, (values, clusters), told, needed in zip(
            WorkCosts._fields,
            fit.work.tolist(),
            _pseudo_values(fit),
            _told(fit).tolist(),
            _needed(runs, fit, defaults),
            strict=True,
        )
    }
    return FittedWork(costs, len(np.unique(fit.cluster)), _slowness(runs, fit.work))


def _slowness(runs: Sequence[SeenRun], work: Floats) -> Floats:
    compared = [each for run in runs if len((each := _Compared.of(run)).place)]
    one = len(compared) == 1
    parts = [each.block if one else np.full(len(each.place), number) for number, each in enumerate(compared)]
    names, part = np.unique(np.concatenate(parts), return_inverse=True)

    def apart(factor: float) -> Floats:
        costs = WorkCosts(*(factor * work).tolist())
        far = np.abs(np.concatenate([each.residuals(costs) for each in compared]))
        return np.array([far[part == number].sum() for number in range(len(names))])

    nearest = np.argmin([apart(factor) for factor in _FACTORS], axis=0)
    return np.array([_FACTORS[number] for number in nearest])


def _fit(runs: Sequence[SeenRun], *, by_run: bool) -> _Fit:
    compared = [_Compared.of(run) for run in runs]

    def residuals(costs: Floats) -> Floats:
        work = WorkCosts(*costs.tolist())
        return np.concatenate([each.residuals(work) for each in compared])

    def slopes(costs: Floats, part: float = _PASSES[0].step) -> NDArray[np.float64]:
        at, found = residuals(costs), []
        for i, cost in enumerate(costs):
            step = max(part * cost, _LEAST_STEP_S)
            moved = costs.copy()
            moved[i] = cost + step
            found.append((residuals(moved) - at) / step)
        return np.array(found).T

    def search(costs: Floats, passes: Sequence[_Pass]) -> Floats:
        for each in passes:
            costs = least_squares(
                residuals, costs, partial(slopes, part=each.step), bounds=(0.0, np.inf),
                x_scale=np.maximum(costs, _SMALL_S), loss="soft_l1", f_scale=each.stall, max_nfev=each.rounds,
                xtol=1e-4, ftol=1e-5,
            ).x  # fmt: skip
        return costs

    def loss(costs: Floats) -> float:
        return _loss(residuals(costs))

    costs, least = descend(search(np.array(_start(runs)), _PASSES), loss)
    chance = np.random.default_rng(0)
    for _ in range(_RESTARTS):
        tried = search(costs * np.exp(chance.normal(0.0, _APART, len(costs))), _PASSES[1:])
        if loss(tried) < _WORTH * least:
            better, found = descend(tried, loss)
            if found < least:
                costs, least = better, found
    numbered = [number * _MANY + each.block * (not by_run) for number, each in enumerate(compared)]
    return _Fit(costs, residuals(costs), slopes(costs), np.concatenate(numbered))


def _loss(residuals: Floats) -> float:
    """What the last pass makes least (soft L1); 0 where all residuals are."""
    return float(np.sum(np.sqrt(1.0 + (residuals / _PASSES[-1].stall) ** 2) - 1.0))


def _start(runs: Sequence[SeenRun]) -> WorkCosts:
    """Where the search begins: the time of an unhindered dial in equal parts."""
    part = _unhindered([_times(run, "until_open") - 2 * run.machine.latency for run in runs]) / 5
    served = _unhindered([_times(run, "until_served") - run.machine.latency for run in runs])
    back = _unhindered([_times(run, "until_back") - run.machine.latency for run in runs]) / 2
    return WorkCosts(
        connect=part,
        client_loss=_SMALL_S,
        client_dial=part,
        client_message=part,
        relay=part,
        handshake=part,
        join=served,
        restore=served,
        commit=back,
        commit_wait=_WAIT_S,
        reply=back,
        detach=_SMALL_S,
    )


def _times(run: SeenRun, name: str) -> Floats:
    times: Floats = getattr(seen(run), name)
    return times[np.isfinite(times)]


def _unhindered(parts: Sequence[Floats]) -> Seconds:
    times = np.concatenate(parts)
    return max(float(np.quantile(times, _UNHINDERED)), _SMALL_S) if len(times) else _SMALL_S


def _blocks(run: SeenRun) -> Numbers:
    """The block of each time, in the order of :attr:`sim.calibration.stages.Stages.all`."""
    began = np.floor(run.dials.began / BLOCK_S)
    return np.concatenate([*[began] * (len(Stages._fields) - 1), np.floor(run.ends.at / BLOCK_S)]).astype(np.int64)


def _stages(run: SeenRun) -> Numbers:
    """The number of the stage of each time."""
    n = len(run.dials.began)
    return np.repeat(np.arange(len(Stages._fields)), [*[n] * (len(Stages._fields) - 1), len(run.ends.at)])


def _told(fit: _Fit) -> NDArray[np.bool_]:
    """Whether each cost is known apart from all others: it moves what no change of others would move."""
    found, felt = [], fit.slopes * np.maximum(fit.work, _SMALL_S)
    for i in range(len(fit.work)):
        mine, others = felt[:, i], np.delete(felt, i, axis=1)
        moved = int((np.abs(mine) > FELT).sum())
        alone = mine - others @ np.linalg.lstsq(others, mine, rcond=None)[0]
        found.append(moved > 0 and float(np.sqrt(alone @ alone / moved)) > FELT)
    return np.array(found)


def _needed(runs: Sequence[SeenRun], fit: _Fit, defaults: WorkCosts) -> list[bool]:
    """Whether each cost's default instead of its value changes what is predicted.

    A wait that is long enough may be longer, and changes nothing; none at all changes every return.
    """
    costs, compared = WorkCosts(*fit.work.tolist()), [_Compared.of(run) for run in runs]
    others = [costs._replace(**{name: default}) for name, default in zip(defaults._fields, defaults, strict=True)]
    predicted = [np.concatenate([run.residuals(each) for run in compared]) for each in others]
    return [not np.array_equal(each, fit.residuals) for each in predicted]


def _pseudo_values(fit: _Fit) -> list[tuple[Floats, Numbers]]:
    """Of each cost a value of each cluster that says something of it: n times the fit, less n - 1 times one without.

    The clusters of these values come with them.
    """
    weighted, names = fit.slopes * fit.weights[:, None], np.unique(fit.cluster)
    whole = weighted.T @ fit.slopes
    parts, steps = [], []
    for name in names:
        mine = fit.cluster == name
        part = weighted[mine].T @ fit.slopes[mine]
        steps.append(np.linalg.lstsq(whole - part, weighted[mine].T @ fit.residuals[mine], rcond=None)[0])
        parts.append(np.diag(part))
    says = np.array(parts) > _SAYS * np.max(parts, axis=0)
    apart = [_spread_around_0(np.array(steps)[says[:, i], i]) for i in range(len(fit.work))]
    return [(cost + apart[i], names[says[:, i]]) for i, cost in enumerate(fit.work)]


def _spread_around_0(steps: Floats) -> Floats:
    """Pseudo-values less the fit, of what each cost changes by without a cluster; the search ends near the least."""
    return (len(steps) - 1) * (steps.mean() - steps) if len(steps) else steps
