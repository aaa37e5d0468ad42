"""Answers a capacity plan, trigger by trigger: the sweep over processes, the scan of loads, the settings that follow.

Every trigger leaves a directory that ``report capacity`` reads. The scan is run at the answer of the levels, and the
settings that are recommended are run again, with fresh seeds, before they are.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

import resilience
from reports.capacity import CapacityReport, capacity_report, write_capacity
from reports.pages import failing_in_one_line, replacing
from reports.sweep import (
    SCHEMA_VERSION,
    BandName,
    Decision,
    Envelope,
    Load,
    LoadBand,
    Recommendation,
    Recovery,
    StormCurve,
    Sweep,
    SweepResult,
    Target,
)
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.experiment.faults import RefuseFault
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Cohort, Experiment, Op, PopulationSpec
from resilience.units import Seconds

from ..calibration.calibration_file import CLIENTS, HERD, RETURNS, read_calibration
from ..population.gauges import gauges_of
from ..population.run import PopulationRun
from ..population.shards import run_population
from .campaign import Campaign, SweepStanding
from .design import Design, Method, Settings
from .estimates import numbers_above, numbers_to_try
from .evaluation import RunResult, Scenario
from .plan_words import assumptions_of, limiting_words, limits_of, undecided_words
from .recommendations import recommended
from .stopping import StoppingRule
from .sweep_directory import SweepQuestion, open_directory
from .tables import results_table
from .triggers import MOST_DOWNTIME_S, CapacityPlan, Crowd, Trigger, crowd_of
from .workers import Workers

STRIKE_AT: Seconds = 12.0
LOADS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""The sizes of the trigger at the answer, times the planned."""
LONGEST_TAIL: Seconds = 1800.0
MOST_WORK = 1.1
"""Requests served for each return, up to which a load is stable."""
MOST_LEFT_OUT = 0.1
"""The share that is not back at the run's end, above which a load is metastable."""
MOST_SIMULATED = 500_000
"""The most participants of one run."""
MOST_COPIES = 1000
SLACK = 1.05
"""A downtime that is said to hold exceeds the longest of the replications so many times, as far as a plan may ask."""
FRESH_SEEDS = 1_000_000


@dataclass(frozen=True)
class Machinery:
    """Where runs are computed and who hears of their progress; ``command`` repeats the plan."""

    workers: Callable[[], AbstractContextManager[Workers]]
    listener: Callable[[Callable[[], SweepStanding]], None]
    command: tuple[str, ...] = ()


def answer_trigger(plan: CapacityPlan, trigger: Trigger, out: Path, machinery: Machinery) -> CapacityReport:
    """Sweep one trigger, write its directory, and answer it. Continues what was interrupted."""
    work = _Work(plan, trigger, out, machinery)
    levels, answer = work.find_answer()
    if answer is None:
        work.write(levels, None)
    else:
        loads = work.run("loads", [(answer, load) for load in LOADS if load != 1.0])
        work.write(_joined(levels, loads), answer)
    return write_capacity(out, out)


def experiment_of(
    plan: CapacityPlan, trigger: Trigger, processes: int, load: float = 1.0, copies: int = 1
) -> Experiment:
    """The busiest process when the trigger strikes, so many times: a refused outage of those it strikes.

    All of them notice at once and return at once: the hardest case of a trigger for the server.
    """
    crowd = crowd_of(plan, trigger, processes, load)
    cohorts = _cohorts(plan, crowd.connected * copies)
    names = tuple(cohort.name for cohort in cohorts)
    share = min(crowd.struck / crowd.connected, 1.0)
    work = crowd.struck / plan.server.join_capacity
    tail = min(max(2 * plan.target.longest_downtime, 4 * work, 120.0), LONGEST_TAIL)
    return Experiment(
        name=plan.name,
        duration=math.ceil(STRIKE_AT + trigger.length + tail),
        cohorts=cohorts,
        server=plan.server,
        client=plan.client,
        costs=plan.costs,
        faults=(RefuseFault(STRIKE_AT, names, duration=trigger.length, share=share),),
        population=PopulationSpec(servers=copies),
    )


def _cohorts(plan: CapacityPlan, connected: int) -> tuple[Cohort, ...]:
    """One cohort for each profile of the mix, and one for those without."""
    sizes = {name: int(connected * share) for name, share in plan.mix.items()}
    wired = connected - sum(sizes.values())
    found = [Cohort(f"profile-{i}", sizes[name], profiles=(name,)) for i, name in enumerate(sizes) if sizes[name]]
    return (*found, *([Cohort("plain", wired)] if wired else []))


class _Work:
    """One trigger of one plan: its runs, its description."""

    def __init__(self, plan: CapacityPlan, trigger: Trigger, out: Path, machinery: Machinery) -> None:
        self._plan, self._trigger, self._out, self._machinery = plan, trigger, out, machinery

    def find_answer(self) -> tuple[pd.DataFrame, int | None]:
        """The runs of the numbers of processes, of more where none holds; and the fewest that hold, if any."""
        numbers = numbers_to_try(self._plan, self._trigger)
        levels = self.run("levels", [(number, 1.0) for number in numbers])
        answer = self._answer_of(levels)
        more = numbers_above(self._plan, self._trigger, numbers) if answer is None else ()
        if more:
            levels = _joined(levels, self.run("more-levels", [(number, 1.0) for number in more]))
            answer = self._answer_of(levels)
        return levels, answer

    def _answer_of(self, levels: pd.DataFrame) -> int | None:
        answer = capacity_report(SweepResult(self.describe(levels, None), levels)).answer
        return None if answer is None else int(answer)

    def run(self, name: str, places: list[tuple[int, float]]) -> pd.DataFrame:
        """A row for each run of each (processes, load): what ``sweep.parquet`` holds."""
        experiments = [self._experiment(*place) for place in places]
        points, base = tuple(map(_settings, experiments)), experiments[0]
        scenario = Scenario(
            name=f"{self._plan.name}: {self._trigger.kind}",
            text=to_toml(base),
            lane=Lane.POPULATION,
            seed=self._plan.seed,
            within=self._plan.target.longest_downtime,
            fault=base.faults[0].kind,
        )
        design = Design((), Method.GRID, 0, points)
        rule = StoppingRule(self._plan.replications)
        with open_directory(self._out / "runs" / name, SweepQuestion(scenario=scenario, design=design)) as directory:
            campaign = Campaign(scenario, design, rule, "success_rate", directory)
            if not campaign.complete:
                with self._machinery.workers() as workers:
                    campaign.run(workers, self._machinery.listener)
            return _table(design, campaign.results(), places)

    def _experiment(self, processes: int, load: float) -> Experiment:
        crowd = crowd_of(self._plan, self._trigger, processes, load)
        return experiment_of(self._plan, self._trigger, processes, load, copies_for(self._plan, crowd))

    def check(self, answer: int, settings: Sequence[Recommendation]) -> tuple[Recommendation, ...]:
        """Run the recommended settings with seeds that no other run has; says what came of it."""
        values = {each.setting: each.value for each in settings}
        budget, cleanup = values.get("client.budget"), values.get("server.cleanup_interval")
        if budget is None or cleanup is None:
            return ()
        plan = msgspec.structs.replace(
            self._plan,
            client=msgspec.structs.replace(self._plan.client, budget=budget),
            server=msgspec.structs.replace(self._plan.server, cleanup_interval=cleanup),
            seed=self._plan.seed + FRESH_SEEDS,
        )
        rows = _Work(plan, self._trigger, self._out, self._machinery).run("check", [(answer, 1.0)])
        rejoined = float(rows["rejoined_share"].mean())
        said = (
            f"{len(rows)} further runs with these settings and other seeds; {rejoined:.2%} returned after the clean-up"
        )
        return (Recommendation("back in time, checked", float(rows["success_rate"].mean()) * 100, "%", said),)

    def write(self, table: pd.DataFrame, answer: int | None) -> None:
        """``sweep.json`` and ``sweep.parquet``."""
        described = self.describe(table, answer)
        if answer is None:
            described = msgspec.structs.replace(described, limiting=self._limiting(SweepResult(described, table)))
        description = msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n"
        names = ("sweep.json", "sweep.parquet")
        with failing_in_one_line(self._out, "the sweep"), replacing(self._out, names) as fresh:
            (fresh / "sweep.json").write_bytes(description)
            table.to_parquet(fresh / "sweep.parquet", index=False)

    def describe(self, table: pd.DataFrame, answer: int | None) -> Sweep:
        """``sweep.json``; with an answer also the storm, the bands and the settings."""
        plan, trigger, target = self._plan, self._trigger, self._plan.target
        at_answer = table[table["processes"] == answer] if answer is not None else table.iloc[:0]
        planned = at_answer[at_answer["load"] == 1.0]
        return Sweep(
            schema_version=SCHEMA_VERSION,
            question=f"How many server processes survive this: {what_happens(trigger)}?",
            participants=plan.participants,
            target=Target(
                metric="success_rate",
                op=Op.AT_LEAST,
                threshold=target.back,
                confidence=target.confidence,
                within=target.longest_downtime,
            ),
            decision=Decision(name="processes", unit="server processes"),
            load=Load(name="load", unit="times the planned crowd", planned=1.0),
            stopping=f"{plan.replications} replications of every point",
            seed=plan.seed,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            command=shlex.join(self._machinery.command),
            versions={"quiz-resilience": resilience.__version__},
            assumptions=assumptions_of(plan, trigger),
            storm=_storm(plan, trigger, answer) if answer is not None else None,
            envelope=envelope_of(plan, trigger, answer),
            recoveries=tuple(_recovery(rows, at) for at, rows in _by(table[table["load"] == 1.0], "processes")),
            bands=tuple(_band(rows, at) for at, rows in _by(at_answer, "load")),
            recommendations=self._recommendations(answer, planned) if answer is not None else (),
        )

    def _limiting(self, result: SweepResult) -> tuple[str, ...]:
        """What keeps the most processes from holding the target, and the downtime that they hold, by further runs.

        Processes that are not shown to miss it are not said to be limited by anything.
        """
        safest = capacity_report(result).levels[0]
        processes = int(safest.at)
        if safest.verdict is not Verdict.FAIL:
            return (undecided_words(processes),)
        rows = result.table[result.table["processes"] == processes]
        reached = rows[f"downtime_s.{_quantile_for(self._plan.target.back)}"].max(skipna=False)
        return limiting_words(self._plan, self._trigger, processes, self._holds_within(processes, float(reached)))

    def _holds_within(self, processes: int, reached: Seconds) -> Seconds | None:
        """The downtime to show after this one was reached, if so many processes hold it; by runs with other seeds."""
        downtime = downtime_to_show(reached, self._plan.target.longest_downtime)
        if downtime is None:
            return None
        target = msgspec.structs.replace(self._plan.target, longest_downtime=downtime)
        plan = msgspec.structs.replace(self._plan, target=target, seed=self._plan.seed + FRESH_SEEDS)
        work = _Work(plan, self._trigger, self._out, self._machinery)
        rows = work.run("longer", [(processes, 1.0)])
        return downtime if work._answer_of(rows) is not None else None

    def _recommendations(self, answer: int, planned: pd.DataFrame) -> tuple[Recommendation, ...]:
        settings = recommended(self._plan, self._trigger, answer, _mean(planned, "downtime_s.max"))
        return (*settings, *self.check(answer, settings))


def downtime_to_show(reached: Seconds, missed: Seconds) -> Seconds | None:
    """The downtime worth further runs where one was missed, and a longer one reached; None where there is none.

    It allows for some slack, and is none that a plan may not ask for. NaN was not reached within the run.
    """
    if math.isnan(reached) or reached > MOST_DOWNTIME_S:
        return None
    downtime = min(float(math.ceil(reached * SLACK)), MOST_DOWNTIME_S)
    return downtime if downtime > missed else None


def envelope_of(plan: CapacityPlan, trigger: Trigger, answer: int | None) -> Envelope:
    """What the plan's calibration measured, where the answer lies, and what the lane leaves out."""
    measured = read_calibration(Path(plan.calibration)) if plan.calibration else None
    reached = {}
    if measured is not None and answer is not None:
        crowd = crowd_of(plan, trigger, answer)
        reached = {CLIENTS: float(crowd.connected), HERD: float(crowd.struck), RETURNS: plan.server.join_capacity}
    runs = () if measured is None else measured.labels
    return Envelope(
        calibrated_on=(*plan.calibrated_on, *runs),
        ranges={} if measured is None else measured.ranges,
        reached=reached,
        does_not_hold=limits_of(plan),
    )


def copies_for(plan: CapacityPlan, crowd: Crowd) -> int:
    """How many independent copies of the process one run needs, so that all runs together can show the target.

    Without a loss, ``log(1 - confidence) / log(back)`` participants show it; three times as many allow for some.
    """
    needed = 3 * math.log(1 - plan.target.confidence) / math.log(plan.target.back)
    wanted = math.ceil(needed / (plan.replications * crowd.struck))
    return max(min(wanted, MOST_SIMULATED // crowd.connected, MOST_COPIES), 1)


def what_happens(trigger: Trigger) -> str:
    """A trigger in words."""
    lasts = f"for {trigger.length:g} s"
    return {
        "access_point": f"an access point with {trigger.participants:,} participants fails {lasts}",
        "carrier": f"a carrier with {trigger.share:.0%} of all participants fails {lasts}",
        "server_process": f"a server process ends, and its participants are sent to the others after {lasts[4:]}",
        "region": f"the whole region cannot be reached {lasts}",
        "rolling_deploy": f"each process in turn is replaced, and cannot be reached {lasts}",
    }[trigger.kind.value]


def _settings(experiment: Experiment) -> Settings:
    """What differs between the points of one trigger."""
    (fault,) = experiment.faults
    cohorts = [
        f"{{name = '{each.name}', clients = {each.clients}, profiles = {list(each.profiles)}}}"
        for each in experiment.cohorts
    ]
    return (
        ("population.servers", str(experiment.population.servers)),
        ("duration", repr(float(experiment.duration))),
        ("cohorts", f"[{', '.join(cohorts)}]"),
        ("faults.0.cohorts", str(list(fault.cohorts))),
        ("faults.0.share", repr(fault.share)),
    )


def _table(design: Design, results: list[RunResult], places: list[tuple[int, float]]) -> pd.DataFrame:
    table = results_table(design, results)
    where = np.array([places[result.point] for result in results], np.float64).reshape(-1, 2)
    columns = ["processes", "load"]
    return pd.concat([table[["point", "replication"]], pd.DataFrame(where, columns=columns), table.iloc[:, 2:]], axis=1)


def _joined(levels: pd.DataFrame, loads: pd.DataFrame) -> pd.DataFrame:
    shifted = loads.assign(point=loads["point"] + int(levels["point"].max()) + 1)
    return pd.concat([levels, shifted], ignore_index=True)


def _quantile_for(share: float) -> str:
    """The statistic of a clock which at least this share of participants does not exceed."""
    return next((f"p{percent}" for percent in (50, 90, 95, 99) if percent >= 100 * share), "max")


def _by(table: pd.DataFrame, column: str) -> list[tuple[float, pd.DataFrame]]:
    return [(float(at), table[table[column] == at]) for at in sorted(table[column].unique())]


def _mean(rows: pd.DataFrame, name: str) -> float | None:
    """The mean over the replications; None if one has no value: not all were back."""
    values = rows[name].to_numpy(dtype=np.float64)
    return None if np.isnan(values).any() or not len(values) else float(values.mean())


def _recovery(rows: pd.DataFrame, at: float) -> Recovery:
    half, most, nearly, everyone = (_mean(rows, f"excess_s.{name}") for name in ("p50", "p95", "p99", "max"))
    return Recovery(at=at, half=half, most=most, nearly_all=nearly, everyone=everyone)


def _band(rows: pd.DataFrame, load: float) -> LoadBand:
    back = float((1 - rows["gave_up_share"] - _still_out(rows)).mean())
    work = _mean(rows, "requests_per_return")
    name = BandName.VULNERABLE
    if 1 - back > MOST_LEFT_OUT:
        name = BandName.METASTABLE
    elif work is not None and work <= MOST_WORK:
        name = BandName.STABLE
    return LoadBand(load=load, band=name, back=back, work=work, last_back_s=_mean(rows, "excess_s.max"))


def _still_out(rows: pd.DataFrame) -> pd.Series:
    """The share that had neither returned nor given up at the end."""
    return 1.0 - rows["gave_up_share"] - rows["returned_share"]


def _storm(plan: CapacityPlan, trigger: Trigger, processes: int) -> StormCurve:
    """The first replication at the answer, second by second, of all processes that are left together."""
    experiment = experiment_of(plan, trigger, processes)
    run = PopulationRun(experiment, plan.seed)
    result = run_population(run.population, run.rules)
    gauges = gauges_of(result.episodes, result.loads, result.departures, run.population.size, run.rules.duration)
    left, first = processes - 1, int(STRIKE_AT) - 1
    connected, queue = (gauges[name].to_numpy()[first:] for name in ("connected", "queued"))
    finished = result.departures[0][first:]
    busy = np.flatnonzero(connected < connected[0])
    last = min(int(busy[-1]) + 5 if len(busy) else 5, len(connected))
    scale = plan.participants / run.population.size
    return StormCurve(
        decision=float(processes),
        seconds=tuple(float(second) for second in range(-1, last - 1)),
        connected=tuple((connected[:last] * scale).tolist()),
        joins_per_s=tuple((finished[:last] * float(left)).tolist()),
        queue_s=tuple((queue[:last] / plan.costs.returns_per_s).tolist()),
        capacity_per_s=plan.costs.returns_per_s * left,
    )
