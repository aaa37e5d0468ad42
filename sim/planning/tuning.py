"""Searches the settings of the retry policy for the frontier of three costs (optuna's TPE, Ozaki et al. 2020).

The costs of a trial are means over replications that all trials share: the downtime, dials for each episode, and
requests that reach the server for each return. The downtime is the outage, equal in all trials, and the excess; unlike
the excess it is known of those that gave up before the link was usable, who count with the whole run. Trials are asked
for in batches of a fixed size, so the number of workers changes nothing. A trial beats another one if no cost of it is
higher and at least one is lower; the frontier has those that none beats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

import resilience
from reports.pages import write_files
from reports.render import table as text_table
from resilience.errors import UsageError

from .campaign import Campaign, SweepStanding
from .design import Design, Factor, Method, Settings, plain_value
from .evaluation import RunResult, Scenario, in_words
from .stopping import StoppingRule, half_width
from .sweep_directory import SweepDirectory, SweepQuestion, open_directory
from .workers import Workers

if TYPE_CHECKING:
    import optuna

COSTS = ("downtime_s.restricted_mean", "attempts.mean", "arrivals_per_return")
BATCH = 8
"""Trials that are asked for before the results of any of them are known."""

SPACE = (
    "client.preset=window,classic",
    "client.jitter=none,equal,full,decorrelated",
    "client.initial=0.2..2.0",
    "client.multiplier=1.2..3.0",
    "client.maximum=3.0..60.0",
    "client.budget=60.0..1200.0",
    "server.heartbeat_interval=14.0..29.0",
    "server.cleanup_interval=60.0..600.0",
    "server.max_return_spread=1.0..60.0",
)
"""What is searched unless the user says otherwise: backoff, cap, budget, heartbeat, retention, return window."""

SHIPPED: dict[str, Settings] = {
    "window (shipped)": (("client.preset", "window"),),
    "classic (shipped)": (("client.preset", "classic"),),
}
"""Run before the search; their other settings are the experiment's."""


class TuningTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One combination of settings. ``costs``: as :data:`COSTS`, means over the replications.

    ``beaten_by``: the number of a trial that beats it, the one with the largest gain; None on the frontier.
    ``clearly``: each cost of that one is equal, or lower by more than the paired interval of the difference.
    """

    number: int
    name: str
    settings: Settings
    costs: tuple[float, ...]
    success_rate: float
    beaten_by: int | None = None
    clearly: bool = False


@dataclass(frozen=True)
class TuneRequest:
    """A search as it was asked for; ``trials`` without the shipped presets."""

    scenario: Scenario
    factors: tuple[Factor, ...]
    trials: int
    replications: int

    def __post_init__(self) -> None:
        """Check every factor by itself, before anything is run."""
        for factor in self.factors:
            texts = factor.values or (factor.text(0.0), factor.text(1.0))
            _try_each(self.scenario, [((factor.key, text),) for text in texts])


def _try_each(scenario: Scenario, points: Iterable[Settings]) -> None:
    """Raise the last error if no point can be carried; one may need another setting with it."""
    problem: UsageError | None = None
    for settings in points:
        try:
            scenario.experiment(settings)
        except UsageError as error:
            problem = error
        else:
            return
    if problem is not None:
        raise problem


def search(
    request: TuneRequest,
    out: Path,
    workers: Callable[[], AbstractContextManager[Workers]],
    listener: Callable[[Callable[[], SweepStanding]], None],
) -> tuple[TuningTrial, ...]:
    """Run the search in ``out``, or continue it; the trials, those of the shipped presets first."""
    design = Design(request.factors, Method.GRID, 0, ())
    asked = f"{resilience.__version__}, optuna {version('optuna')}"
    with open_directory(out, SweepQuestion(scenario=request.scenario, design=design, version=asked)) as directory:
        with workers() as opened:
            points = _Search(request, directory, opened, listener).run()
        trials = _with_frontier(request, points, directory)
    write_files(out, {"frontier.md": to_markdown(request, trials), "trials.json": _json(trials)}, "the frontier")
    return trials


class _Search:
    """The loop of batches."""

    def __init__(
        self,
        request: TuneRequest,
        directory: SweepDirectory,
        workers: Workers,
        listener: Callable[[Callable[[], SweepStanding]], None],
    ) -> None:
        import optuna  # noqa: PLC0415 - an extra

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._request, self._directory, self._workers, self._listener = request, directory, workers, listener
        sampler = optuna.samplers.TPESampler(seed=request.scenario.seed, n_startup_trials=2 * BATCH)
        self._study = optuna.create_study(directions=["minimize"] * len(COSTS), sampler=sampler)
        self._points = list(SHIPPED.values())

    def run(self) -> list[Settings]:
        """The settings of all trials by number; empty for those that no lane can carry."""
        from optuna.trial import TrialState  # noqa: PLC0415 - an extra

        self._evaluate(range(len(SHIPPED)))
        if not any(row.figures["affected"] for number in range(len(SHIPPED)) for row in self._rows(number)):
            rule = "no client loses its server, so there is nothing to search; add a fault or network profiles"
            raise UsageError(f"{self._request.scenario.name}: {rule}")
        while len(self._points) < len(SHIPPED) + self._request.trials:
            first = len(self._points)
            number = min(BATCH, len(SHIPPED) + self._request.trials - first)
            asked = [self._study.ask() for _ in range(number)]
            self._points += [self._settings(trial) for trial in asked]
            self._evaluate(range(first, first + number))
            for place, trial in enumerate(asked, first):
                costs = _costs(self._rows(place)) if self._points[place] else None
                state = None if costs is not None else TrialState.FAIL
                self._study.tell(trial, None if costs is None else list(costs), state=state)
        return self._points

    def _settings(self, trial: optuna.Trial) -> Settings:
        """The trial's settings; none if they contradict one another or the lane."""
        settings = tuple((factor.key, _suggested(trial, factor)) for factor in self._request.factors)
        try:
            self._request.scenario.experiment(settings)
        except UsageError:
            return ()
        return settings

    def _evaluate(self, numbers: Iterable[int]) -> None:
        chosen = {number for number in numbers if self._points[number]}
        rule = StoppingRule(self._request.replications)
        design = Design(self._request.factors, Method.GRID, 0, tuple(self._points))
        campaign = Campaign(self._request.scenario, design, rule, COSTS[0], self._directory)
        campaign.run(self._workers, self._listener, sorted(chosen))

    def _rows(self, number: int) -> list[RunResult]:
        return rows_of(self._directory, number, self._request.replications)


def rows_of(directory: SweepDirectory, number: int, replications: int) -> list[RunResult]:
    """The results of one trial."""
    return [directory.results[number, replication] for replication in range(replications)]


def _suggested(trial: optuna.Trial, factor: Factor) -> str:
    if factor.values:
        return str(trial.suggest_categorical(factor.key, factor.values))
    if factor.whole:
        return str(trial.suggest_int(factor.key, int(factor.low), int(factor.high)))
    return repr(trial.suggest_float(factor.key, factor.low, factor.high))


def _values(rows: Sequence[RunResult]) -> np.ndarray:
    """Costs of shape (replications, costs); NaN for what was not measured."""
    return np.array([[_number(row.figures.get(name)) for name in COSTS] for row in rows], np.float64)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _costs(rows: Sequence[RunResult]) -> tuple[float, ...] | None:
    means = _values(rows).mean(axis=0)
    return None if np.isnan(means).any() else tuple(float(mean) for mean in means)


def _with_frontier(
    request: TuneRequest, points: Sequence[Settings], directory: SweepDirectory
) -> tuple[TuningTrial, ...]:
    names = list(SHIPPED)
    trials, values = [], {}
    for number, settings in enumerate(points):
        if not settings:
            continue
        rows = rows_of(directory, number, request.replications)
        costs = _costs(rows)
        if costs is None:
            continue
        name = names[number] if number < len(names) else ""
        values[number] = _values(rows)
        success = float(np.mean([_number(row.figures.get("success_rate")) for row in rows]))
        trials.append(TuningTrial(number=number, name=name, settings=settings, costs=costs, success_rate=success))
    return tuple(_compared(trial, trials, values) for trial in trials)


def _compared(trial: TuningTrial, trials: Sequence[TuningTrial], values: dict[int, np.ndarray]) -> TuningTrial:
    """With the trial that beats it by the largest sum of relative gains."""
    mine = np.array(trial.costs)
    better = [other for other in trials if _beats(np.array(other.costs), mine)]
    if not better:
        return trial
    strongest = max(better, key=lambda other: float(((mine - np.array(other.costs)) / np.maximum(mine, 1e-12)).sum()))
    gaps = values[trial.number] - values[strongest.number]
    return msgspec.structs.replace(trial, beaten_by=strongest.number, clearly=_none_in_doubt(gaps))


def _beats(costs: np.ndarray, others: np.ndarray) -> bool:
    return bool((costs <= others).all() and (costs < others).any())


def _none_in_doubt(gaps: np.ndarray) -> bool:
    """Whether each cost's paired difference is 0 in every replication, or above 0 with its whole 95 % interval."""
    return all(not column.any() or float(column.mean()) > half_width(list(column)) for column in gaps.T)


def frontier(trials: Iterable[TuningTrial]) -> list[TuningTrial]:
    """Those that no other beats, by their first cost; of several with equal costs the first, or a shipped preset."""
    found: dict[tuple[float, ...], TuningTrial] = {}
    for trial in trials:
        if trial.beaten_by is None:
            found.setdefault(trial.costs, trial)
    return sorted(found.values(), key=lambda trial: trial.costs)


def verdict_on(trial: TuningTrial, trials: Sequence[TuningTrial]) -> str:
    """Whether a shipped preset lies on the frontier, in a sentence."""
    if trial.beaten_by is None:
        return f"{trial.name} lies on the frontier: no trial beats it."
    other = next(each for each in trials if each.number == trial.beaten_by)
    gains = [f"{name} {mine:.3g} -> {its:.3g}" for name, mine, its in zip(COSTS, trial.costs, other.costs, strict=True)]
    sure = "clearly" if trial.clearly else "within the noise of the replications"
    return f"{trial.name} is beaten, {sure}, by trial {other.number}: {'; '.join(gains)}."


_NO_COSTS = "no client was affected, or none returned, in one of its replications"


def to_markdown(request: TuneRequest, trials: Sequence[TuningTrial]) -> str:
    """The verdict on the shipped presets, and the frontier."""
    shipped = [trial for trial in trials if trial.name]
    unknown = SHIPPED.keys() - {trial.name for trial in shipped}
    shown = sorted({trial.number: trial for trial in [*frontier(trials), *shipped]}.values(), key=lambda t: t.costs)
    rows = [
        [
            str(trial.number),
            "yes" if trial.beaten_by is None else "no",
            *(f"{cost:.3f}" for cost in trial.costs),
            f"{trial.success_rate:.2%}",
            trial.name or _shortened(trial.settings),
        ]
        for trial in shown
    ]
    head = ["trial", "frontier", *(f"`{name}`" for name in COSTS), "`success_rate`", "settings"]
    parts = [
        f"# Search of {request.scenario.name}: {len(trials)} trials with {request.replications} replications each",
        "\n".join(
            [
                *(f"- {verdict_on(trial, trials)}" for trial in shipped),
                *(f"- {name} has no costs: {_NO_COSTS}." for name in sorted(unknown)),
            ]
        ),
        text_table(head, rows),
    ]
    return "\n\n".join(parts) + "\n"


def _shortened(settings: Settings) -> str:
    """Numbers to three digits."""
    values = [(key, plain_value(text), text) for key, text in settings]
    return in_words(tuple((key, f"{v:.3g}" if isinstance(v, float) else text) for key, v, text in values))


def _json(trials: Sequence[TuningTrial]) -> bytes:
    return msgspec.json.format(msgspec.json.encode({"costs": COSTS, "trials": trials}), indent=2) + b"\n"
