"""Whether the laboratory itself can be believed: starved, late, or without effect. Judges no participant.

The rule is relative to what is judged: lateness of the laboratory is a doubt when the verdict on an expectation would
be another without it, or with as much again. Each episode has a lateness of its own, from what the processes measured
in the seconds in which it began and recovered (:func:`lateness_of`). Only a laboratory that ran late as a rule
(:data:`STARVED_S`) is doubted whatever was measured. A fault that struck or ended late, or touched none of the clients
that were connected, is a doubt too. A server that was dead or silent by itself is not the laboratory's doing.

A server host's wait for a processor counts as lateness; the server's own slowness under its own load does not.

The limits of starvation (:data:`STARVED_S`, :data:`STARVED_HOST_S`, :data:`THROTTLED_SHARE`) are fitted to three runs
of one experiment on one machine: the drill of ``tests/cases/runner`` in the real lane on two processors, unhindered,
with a quota of a fifth of a processor for all processes together, and with a tenth. They put the first two on one side
and the third on the other; nothing is known of how they do elsewhere. What they let through is still compared with
each verdict by the first rule.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import LogEventKind, Outcome, Role, Verdict
from resilience.experiment.drivers import records_all
from resilience.experiment.schedule import SERVER, FaultWindow
from resilience.experiment.spec import CLOCKS, Expectation
from resilience.lab.health import LabHealth, allowed_lateness
from resilience.lab.run_directory import RunStatus
from resilience.lab.server_watch import HANG_S

from .episodes import exposure_doubts
from .event_results import rows_of
from .expectations import Evidence, judge
from .frames import RunHistory
from .invariants import CHECKS
from .participant_events import unchecked_cohorts
from .summary import NOT_JUDGED, ExpectationResult, Invariant, Laboratory, ProcessHealth, ReferenceReturns
from .windows import windows_frame

STARVED_S = 0.4
"""Seconds; a laboratory whose loops are so late in one of a hundred ticks is starved, whatever it measured.

An earlier run with a tenth of a processor had 0.45 s, and a mean excess of 0.84 s against 0.10 s unhindered.
A loop that does little is hardly late while the others of its group wait, so the server host is judged by its own wait.
"""

STARVED_HOST_S = 0.7
"""Seconds of one second in a hundred, for which the server was ready to run and had no processor.

Measured in the three runs: 0.25 s and a mean excess of 0.72 s unhindered at a load of 3 per
processor; 0.59 s and 0.89 s with a quota of a fifth of a processor for everything; 0.74 s and 2.17 s with a tenth.
"""

THROTTLED_SHARE = 0.5
"""Of the run's length; a quota that stopped the processes for longer has starved them.

Measured in the two runs with a quota: 0.11 and 0.73.
"""

NOTABLE_S = 0.1
"""Seconds; a failure while the laboratory was later than this may be the laboratory's."""

WARNED_SHARE = 0.05
"""Of the run's length; a quota that stops the processes for longer is worth a warning."""

_LIMITS = {"runner": STARVED_S, "worker": STARVED_S, "server host": STARVED_HOST_S}
_LATE = {"runner": "ran late by", "worker": "ran late by", "server host": "waited for a processor, of a second,"}

_TROUBLES = {LogEventKind.TRANSPORT_FAILED: "failed dials", LogEventKind.TRANSPORT_LOST: "lost connections"}
_FIRST_TROUBLES = 3

Floats = NDArray[np.float64]


def judge_laboratory(
    history: RunHistory, episodes: pd.DataFrame, results: Sequence[ExpectationResult], evidence: Evidence
) -> Laboratory:
    """Everything that speaks for or against the laboratory of this run."""
    failures = list(history.problems)
    if history.info.status is RunStatus.HARNESS_FAILED:
        failures.insert(0, f"the laboratory failed: {history.info.cause or 'no cause given'}")
    health = history.lab_health
    windows = windows_frame(history)
    doubts = [
        *_failed_operations(history),
        *_starved(health, history.end),
        *late_windows(history, windows),
        *windows_without_effect(history, windows, episodes),
        *exposure_doubts(episodes),
        *turned_by_lateness(history, episodes, results, evidence),
    ]
    return Laboratory(
        failures=tuple(failures),
        doubts=tuple(dict.fromkeys(doubts)),
        warnings=(
            *_what_clients_met(history),
            *_rejudged(history),
            *_unchecked_restores(history),
            *_warnings(health, history.end),
        ),
        processes=tuple(ProcessHealth(**msgspec.structs.asdict(process)) for process in health.processes),
        throttled_s=health.throttled_s,
        load=health.load,
        reference=_reference(health, episodes),
    )


def _reference(health: LabHealth, episodes: pd.DataFrame) -> ReferenceReturns | None:
    """What bare clients took, compared with the episodes that ended in a return."""
    figures = health.reference
    if figures is None:
        return None
    excess = episodes.loc[episodes["affected"] & episodes["returned"], "excess_s"].dropna()
    mean = float(excess.mean()) if len(excess) else 0.0
    share = figures.excess_mean / mean if figures.excess_mean is not None and mean > 0.0 else None
    return ReferenceReturns(**msgspec.structs.asdict(figures), share=share)


def _what_clients_met(history: RunHistory) -> list[str]:
    """Why clients got no session, in a run without a steady state: the most frequent causes in their own words."""
    if history.info.status is not RunStatus.NOT_STARTED:
        return []
    met = Counter[str]()
    for kind, words in _TROUBLES.items():
        for cause, count in history.rows(kind, role=Role.CLIENT)["cause"].astype(object).value_counts().items():
            met[f"{words} ({cause})"] += int(count)
    found = ", ".join(f"{count:,} {what}" for what, count in met.most_common(_FIRST_TROUBLES))
    return [f"before the first fault the clients met: {found}"] if found else []


def _rejudged(history: RunHistory) -> list[str]:
    """That the run is judged by other expectations than its own."""
    if history.judged_by is None:
        return []
    return [
        f"judged by the expectations of {history.judged_by}, not by those of the run ({history.info.experiment_digest})"
    ]


def _unchecked_restores(history: RunHistory) -> list[str]:
    """That no source of the server's own can contradict a client that says that it was restored."""
    unchecked, drivers = unchecked_cohorts(history), history.experiment.drivers_by_cohort
    foreign = frozenset(name for name in unchecked if not records_all(drivers[name]))
    if not unchecked:
        return []
    if foreign:
        return [_claims(history, foreign)]
    kind = history.experiment.target.kind
    return [f"a client counts as restored on its own word: a target of the kind {kind} has no log to compare it with"]


def _claims(history: RunHistory, cohorts: frozenset[str]) -> str:
    """How the clients of these cohorts came back, by the word of their driver."""
    rows = history.rows(LogEventKind.SESSION_RESTORED)
    how = rows["outcome"][rows["cohort"].isin(cohorts)].astype(object)
    counted = ", ".join(f"{int((how == way).sum())} {way}" for way in ("resumed", "fresh"))
    whose = (
        "a client" if len(cohorts) == len(history.experiment.cohorts) else f"a client of {', '.join(sorted(cohorts))}"
    )
    return f"{whose} counts as restored when its driver says so: {counted}"


def withhold(
    history: RunHistory,
    laboratory: Laboratory,
    expectations: tuple[ExpectationResult, ...],
    invariants: tuple[Invariant, ...],
) -> tuple[tuple[ExpectationResult, ...], tuple[Invariant, ...]]:
    """The results as they may be shown: of a run that decides nothing, none passes and none fails.

    Figures and counterexamples stay. Half a log shows everything restored, or an answer lost that is in the other half.
    """
    if not laboratory.failures and history.info.status is RunStatus.COMPLETED:
        return expectations, invariants
    return tuple(map(_undecided, expectations)), tuple(map(_unjudged, invariants))


def _undecided(item: ExpectationResult) -> ExpectationResult:
    return msgspec.structs.replace(
        item,
        verdict=Verdict.INCONCLUSIVE,
        verdict_alone=Verdict.INCONCLUSIVE,
        beside=tuple(msgspec.structs.replace(other, verdict=None) for other in item.beside),
        note="; ".join(filter(None, (NOT_JUDGED, item.note))),
    )


def _unjudged(item: Invariant) -> Invariant:
    if item.verdict not in (Verdict.PASS, Verdict.FAIL):
        return item
    found = f"; what there is: {item.detail}" if item.verdict is Verdict.FAIL else ""
    return msgspec.structs.replace(item, verdict=Verdict.INCONCLUSIVE, detail=NOT_JUDGED + found)


def untimed_failures(invariants: Iterable[Invariant]) -> list[Invariant]:
    """Broken invariants that no lateness of the laboratory can break."""
    return [item for item in invariants if item.verdict is Verdict.FAIL and not CHECKS[item.name].timed]


def death_is_certain(history: RunHistory) -> bool:
    """Whether the server failed by itself in a way that the laboratory cannot feign.

    A process that ended is gone. A silence is the server's unless the laboratory itself was late for much of it.
    """
    failed = history.rows(LogEventKind.SERVER_FAILED)
    if not len(failed):
        return False
    lags = lag_by_second(history)
    return bool(failed["outcome"].iloc[0] != "silent" or lags[-int(HANG_S) :].sum() < HANG_S / 2)


def _failed_operations(history: RunHistory) -> list[str]:
    rows = history.rows(LogEventKind.HARNESS_FAILED)
    return [
        f"{ref}: {cause}" if pd.notna(ref) else str(cause)
        for ref, cause in zip(rows["ref"], rows["cause"], strict=True)
    ]


# --- lateness ---------------------------------------------------------------------------------------------------------


def _starved(health: LabHealth, length: float) -> list[str]:
    found = []
    for process in health.processes:
        lag, limit = process.lag_p99 or 0.0, _LIMITS.get(process.role, np.inf)
        if lag > limit:
            found.append(f"{process.name} {_LATE[process.role]} {lag:.2f} s, at most {limit:g} s can be believed")
    throttled = health.throttled_s or 0.0
    if throttled > THROTTLED_SHARE * length:
        found.append(f"a CPU quota stopped its processes for {throttled:.1f} s in {length:.0f} s")
    return [f"the laboratory was starved: {what}" for what in found]


def lag_by_second(history: RunHistory) -> Floats:
    """The worst lateness of any process of the laboratory within each second of the run, seconds; at most 1.

    A record is about the second before it; a process that was late for longer was so in every second of that time.
    """
    rows = history.rows(LogEventKind.LAB_LAG)
    lags = np.zeros(max(int(np.ceil(history.end)), 1) + 1)
    for t, lag in zip(rows["t"], rows["value"].fillna(0.0), strict=True):
        first, last = np.clip((t - max(lag, 1.0), t), 0, len(lags) - 1).astype(int)
        lags[first : last + 1] = np.maximum(lags[first : last + 1], min(lag, 1.0))
    return lags


def lateness_of(episodes: pd.DataFrame, lags: Floats) -> Floats:
    """By how much the laboratory may have lengthened each episode, seconds.

    The sum over the seconds in which something was to happen promptly: that of the fault, that of the detection, and
    all from the heal to the return.
    """
    last = len(lags) - 1

    def second(column: pd.Series) -> NDArray[np.int64]:
        whole = np.floor(column.fillna(0.0).to_numpy(dtype=np.float64))
        return np.asarray(np.clip(whole, 0, last), dtype=np.int64)

    fault, detected, ended = (second(episodes[name]) for name in ("fault_at", "detected_at", "ended_at"))
    healed = np.maximum(second(episodes["healed_at"]), fault)
    before = np.concatenate([[0.0], np.cumsum(lags)])
    return np.asarray(
        before[np.maximum(ended, healed) + 1]
        - before[healed]
        + np.where(fault < healed, lags[fault], 0.0)
        + np.where((detected < healed) & (detected != fault), lags[detected], 0.0)
    )


def turned_by_lateness(
    history: RunHistory, episodes: pd.DataFrame, results: Sequence[ExpectationResult], evidence: Evidence
) -> list[str]:
    """The expectations whose verdict the laboratory's lateness may have turned, in words."""
    lags = lag_by_second(history)
    if not lags.any():
        return []
    late = lateness_of(episodes, lags)
    shifted = [_shifted(episodes, late, sign) for sign in (-1.0, 1.0)]
    doubts = []
    for expectation, result in zip(history.experiment.expectations, results, strict=True):
        if result.verdict not in (Verdict.PASS, Verdict.FAIL):
            continue
        others = [_judged_again(expectation, result, evidence, table, float(lags.max())) for table in shifted]
        if any(other is not result.verdict for other in others):
            without = "without its lateness, or with as much again"
            doubts.append(
                f"{result.metric}: the laboratory ran up to {lags.max():.2f} s late; {without}, the verdict is not "
                f"{result.verdict.value}"
            )
    return doubts


def _shifted(episodes: pd.DataFrame, late: Floats, sign: float) -> pd.DataFrame:
    """The episodes with every clock moved by their lateness; without it, failures amid lateness count as returns."""
    columns = {
        clock: (episodes[clock] + sign * late).clip(lower=0.0).where(episodes[clock] > 0.0, episodes[clock])
        for clock in CLOCKS
    }
    table = episodes.assign(**columns)
    if sign > 0:
        return table
    excused = (table["affected"] & ~table["returned"] & (late > NOTABLE_S)).to_numpy(dtype=bool)
    never = table["never"] if "never" in table else pd.Series(data=False, index=table.index)
    return table.assign(returned=table["returned"] | excused, never=never & ~excused)


def _judged_again(
    expectation: Expectation, result: ExpectationResult, evidence: Evidence, table: pd.DataFrame, worst: float
) -> Verdict:
    """The verdict on moved episodes; what is no duration of an episode is doubted when it fails amid lateness."""
    name = expectation.metric.partition(".")[0]
    if name in CLOCKS or name == "success_rate":
        return judge(expectation, dataclasses.replace(evidence, episodes=table)).verdict
    return Verdict.INCONCLUSIVE if result.verdict is Verdict.FAIL and worst > NOTABLE_S else result.verdict


# --- windows ----------------------------------------------------------------------------------------------------------


def _planned(history: RunHistory) -> dict[str, FaultWindow]:
    """The windows whose times the schedule fixes; where a crash strikes is the system's own affair."""
    planned = history.experiment.windows(history.info.seed)
    return {window.fault_id: window for window in planned if window.fault.lasts is None}


def _until(history: RunHistory) -> float:
    """Up to when the schedule was carried out: a server that fails by itself ends the run."""
    failed = history.rows(LogEventKind.SERVER_FAILED)["t"]
    return min(history.end, float(failed.min()) if len(failed) else history.end)


def late_windows(history: RunHistory, windows: pd.DataFrame) -> list[str]:
    """Windows that struck or ended later than allowed, or were never injected, in words."""
    plan, until = _planned(history), _until(history)
    found = []
    for row in windows.to_dict("records"):
        window = plan.get(str(row["fault_id"]))
        if window is None or window.starts_at >= until:
            continue
        allowed = allowed_lateness(window.fault.length)
        begun, ended = float(row["fault_at"]), float(row["healed_at"])
        if np.isnan(begun):
            found.append(f"{window.fault_id}: planned for {window.starts_at:g} s, never injected")
        elif begun - window.starts_at > allowed:
            found.append(f"{window.fault_id}: planned for {window.starts_at:g} s, struck at {begun:.2f} s")
        elif ended - window.ends_at > allowed and window.fault.length:
            lasted = f"planned to last {window.fault.length:g} s, lasted {ended - begun:.1f} s"
            found.append(f"{window.fault_id}: {lasted}")
    return found


def windows_without_effect(history: RunHistory, windows: pd.DataFrame, episodes: pd.DataFrame) -> list[str]:
    """Valid windows that touched none of their clients although some had a session, in words."""
    found, until = [], _until(history)
    rows, none = rows_of(episodes["fault_id"]), np.zeros(0, np.int64)
    had_session = episodes["open_at_fault"].to_numpy(dtype=bool)
    untouched = (episodes["outcome"] == Outcome.NOT_EXPOSED.value).to_numpy(dtype=bool)
    for row in windows[windows["invalid"].isna() & (windows["fault_at"] < until)].to_dict("records"):
        mine = rows.get(str(row["fault_id"]), none)
        mine = mine[had_session[mine]]
        if len(mine) and untouched[mine].all() and row["place"] != SERVER:
            found.append(f"{row['fault_id']}: touched none of the {len(mine)} clients that were connected")
    return found


def _warnings(health: LabHealth, length: float) -> list[str]:
    throttled = health.throttled_s or 0.0
    warnings = []
    if throttled > WARNED_SHARE * length:
        warnings.append(f"a CPU quota stopped the laboratory's processes for {throttled:.1f} s")
    return warnings
