"""Makes the smallest experiment that still shows a finding: fewer faults and clients, shorter, even, default settings.

Delta debugging (Zeller and Hildebrandt 2002) over the parts of an experiment, greedily: each accepted reduction is the
start of the next. Pure but for the predicate, which runs an experiment; knows no lane and no check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.errors import ConfigError
from resilience.experiment.faults import AnyFault, ServerKillFault
from resilience.experiment.schedule import last_end
from resilience.experiment.spec import Cohort, Experiment
from resilience.experiment.virtual_conditions import VirtualConditions
from resilience.units import Seconds

MOST_RUNS = 200
"""Of the predicate, for one finding: a minute or two of CPU with runs of a third of a second."""

ROUNDING = (0, 1, 2)
"""Decimals that times are rounded to, the fewest first."""

SHORTEST_STEP_S: Seconds = 0.1

Reduction = Callable[[Experiment], Iterator[Experiment]]
"""The simpler forms of an experiment of one kind, the most daring first. A form that breaks a rule is not made."""


@dataclass(frozen=True)
class ShrunkExperiment:
    """The smallest experiment that was found, after so many runs. ``complete``: no single reduction is left."""

    experiment: Experiment
    runs: int
    complete: bool


def shrink(experiment: Experiment, shows: Callable[[Experiment], bool], most_runs: int = MOST_RUNS) -> ShrunkExperiment:
    """The smallest experiment for which ``shows`` holds, as far as ``most_runs`` calls of it can tell."""
    runs, tried = 0, {experiment.digest}
    reduced = True
    while reduced:
        reduced = False
        for reduction in REDUCTIONS:
            candidates = reduction(experiment)
            while (candidate := next(candidates, None)) is not None:
                if candidate.digest in tried:
                    continue
                if runs >= most_runs:
                    return ShrunkExperiment(experiment, runs, complete=False)
                tried.add(candidate.digest)
                runs += 1
                if shows(candidate):
                    experiment, reduced = candidate, True
                    candidates = reduction(experiment)
    return ShrunkExperiment(experiment, runs, complete=True)


def parts(experiment: Experiment) -> str:
    """The size of an experiment in words."""
    counts = ((len(experiment.faults), "fault"), (experiment.clients, "client"))
    said = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts]
    return f"{', '.join(said)}, {experiment.duration:g} s"


def _with(experiment: Experiment, **values: object) -> Iterator[Experiment]:
    """The experiment with these values, if it is one; the faults' own ends bound the duration."""
    try:
        yield msgspec.structs.replace(experiment, **values)
    except ConfigError:
        return


def fewer_faults(experiment: Experiment) -> Iterator[Experiment]:
    """Without all, without halves, without quarters, and so on down to without one."""
    faults, size = experiment.faults, len(experiment.faults)
    while size:
        for start in range(0, len(faults), size):
            yield from _with(experiment, faults=faults[:start] + faults[start + size :])
        size //= 2


def fewer_cohorts(experiment: Experiment) -> Iterator[Experiment]:
    """Without one of the cohorts, and without the faults that strike no other."""
    for cohort in experiment.cohorts:
        left = tuple(each for each in experiment.cohorts if each is not cohort)
        faults = tuple(fault for each in experiment.faults if (fault := _without(each, cohort.name)) is not None)
        yield from _with(experiment, cohorts=left, faults=faults)


def fewer_clients(experiment: Experiment) -> Iterator[Experiment]:
    """One client, half of them, one fewer, cohort by cohort; and clients that stay."""
    for i, cohort in enumerate(experiment.cohorts):
        for clients in dict.fromkeys((1, cohort.clients // 2, cohort.clients - 1)):
            if 0 < clients < cohort.clients:
                yield from _with_cohort(experiment, i, msgspec.structs.replace(cohort, clients=clients))
        if cohort.leaves_at is not None:
            yield from _with_cohort(experiment, i, msgspec.structs.replace(cohort, leaves_at=None))


def simpler_faults(experiment: Experiment) -> Iterator[Experiment]:
    """Each value of a fault at rest, and a kill at a boundary as a plain one."""
    for i, fault in enumerate(experiment.faults):
        for name in fault.__struct_fields__:
            default = _default(type(fault), name)
            if default is not msgspec.NODEFAULT and getattr(fault, name) != default and name != "cohorts":
                yield from _with_fault(experiment, i, fault, **{name: default})
        if isinstance(fault, ServerKillFault) and fault.crash is not None:
            for name in fault.crash.__struct_fields__:
                crash = _at_rest(fault.crash, name)
                if crash != fault.crash:
                    yield from _with_fault(experiment, i, fault, crash=crash)


def shorter_faults(experiment: Experiment) -> Iterator[Experiment]:
    """Each duration halved, then rounded; each time rounded."""
    for i, fault in enumerate(experiment.faults):
        if fault.length > SHORTEST_STEP_S:
            yield from _with_fault(experiment, i, fault, duration=round(fault.length / 2, 3))
        for digits in ROUNDING:
            if fault.length != round(fault.length, digits):
                yield from _with_fault(experiment, i, fault, duration=round(fault.length, digits))
            if fault.at != round(fault.at, digits):
                yield from _with_fault(experiment, i, fault, at=round(fault.at, digits))


def even_conditions(experiment: Experiment) -> Iterator[Experiment]:
    """All conditions as they are by default, then each."""
    yield from _with(experiment, virtual=VirtualConditions())
    yield from _defaults(experiment, "virtual", VirtualConditions())


def shorter_run(experiment: Experiment) -> Iterator[Experiment]:
    """As short as the rules allow, half of what follows the last fault, and whole seconds."""
    healed = max(map(last_end, experiment.faults), default=0.0)
    after = experiment.duration - healed
    for duration in (healed + experiment.settle_s, healed + after / 2, healed + after * 0.75, float(int(healed) + 12)):
        if duration < experiment.duration:
            yield from _with(experiment, duration=round(duration, 3))
    if experiment.quiz.questions > 1:
        yield from _with(experiment, quiz=msgspec.structs.replace(experiment.quiz, questions=1))


def default_settings(experiment: Experiment) -> Iterator[Experiment]:
    """Each setting of the server, the clients and the quiz as it is by default."""
    yield from _defaults(experiment, "server", ServerConfig())
    yield from _defaults(experiment, "client", ClientConfig())
    yield from _defaults(experiment, "quiz", QuizConfig())


REDUCTIONS: tuple[Reduction, ...] = (
    fewer_faults,
    fewer_cohorts,
    fewer_clients,
    even_conditions,
    simpler_faults,
    shorter_run,
    shorter_faults,
    default_settings,
)
"""In the order in which they are tried: first what removes most."""


def _without(fault: AnyFault, cohort: str) -> AnyFault | None:
    """The fault without one of its cohorts; None where it has no other."""
    if cohort not in fault.cohorts:
        return fault
    left = tuple(name for name in fault.cohorts if name != cohort)
    return msgspec.structs.replace(fault, cohorts=left) if left else None


def _with_cohort(experiment: Experiment, i: int, cohort: Cohort) -> Iterator[Experiment]:
    cohorts = (*experiment.cohorts[:i], cohort, *experiment.cohorts[i + 1 :])
    yield from _with(experiment, cohorts=cohorts)


def _with_fault(experiment: Experiment, i: int, fault: AnyFault, **values: object) -> Iterator[Experiment]:
    changed = msgspec.structs.replace(fault, **values)
    yield from _with(experiment, faults=(*experiment.faults[:i], changed, *experiment.faults[i + 1 :]))


def _defaults(experiment: Experiment, table: str, default: Any) -> Iterator[Experiment]:  # noqa: ANN401 - any config
    values = getattr(experiment, table)
    for name in values.__struct_fields__:
        if getattr(values, name) != getattr(default, name):
            try:
                reset = msgspec.structs.replace(values, **{name: getattr(default, name)})
            except ConfigError:
                continue
            yield from _with(experiment, **{table: reset})


def _default(struct: type[Any], name: str) -> object:
    """The default of a field; ``msgspec.NODEFAULT`` where it has none."""
    found = next(field for field in msgspec.structs.fields(struct) if field.name == name)
    return found.default


def _at_rest(value: Any, name: str) -> Any:  # noqa: ANN401 - any struct
    default = _default(type(value), name)
    return value if default is msgspec.NODEFAULT else msgspec.structs.replace(value, **{name: default})
