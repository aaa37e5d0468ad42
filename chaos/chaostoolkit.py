"""An experiment, and a run of it, in the shape of the Chaos Toolkit: its ``experiment.json`` and ``journal.json``.

The exported experiment can be executed by ``chaos run`` of that toolkit. Its method is one action, the command that
runs the whole experiment: the toolkit carries activities out one after another, while faults here overlap and are due
at exact times. Its hypothesis is a probe of the verdict: nothing before the run, the exit code of its report after it.
The schedule and the targets are in the extension ``quiz-resilience``. In a journal each fault window is an activity of
its own, with the times at which it really began and ended.

The shapes are those of the Open Chaos Initiative's experiment and journal.
"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from reports.summary import Summary, WindowResult
from resilience import __version__
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.experiment.spec import Experiment
from resilience.lab.run_directory import RunStatus
from resilience.units import Instant, Seconds

EXTENSION = "quiz-resilience"
RUN_ACTION = "run the experiment"
VERDICT_PROBE = "the verdict of the run, if it has ended, is pass"

Json = dict[str, Any]


def to_experiment(experiment: Experiment, source: str, *, lane: Lane, seed: int, run_dir: str) -> Json:
    """The experiment of the toolkit; ``source`` is the file or bundled name that the command runs.

    ``run_dir``: where the run will be; the probe reads it after the method.
    """
    windows = experiment.windows(seed)
    kinds = sorted({fault.kind for fault in experiment.faults})
    title = experiment.title or experiment.name
    return {
        "version": "1.0.0",
        "title": title,
        "description": f"{title}: {experiment.clients} clients, {len(windows)} fault windows, "
        f"{experiment.duration:g} s; carried out and judged by quiz-resilience {__version__}.",
        "tags": ["quiz-resilience", lane.value, *kinds],
        "steady-state-hypothesis": {
            "title": "Participants come back by themselves, with their session and the right state",
            "probes": [_verdict_probe(run_dir)],
        },
        "method": [_run_action(experiment, source, lane, seed, run_dir)],
        "rollbacks": [],
        "extensions": [
            {
                "name": EXTENSION,
                "experiment": msgspec.to_builtins(experiment),
                "seed": seed,
                "lane": lane.value,
                "windows": [
                    {"fault": each.fault_id, "kind": each.fault.kind, "start_s": each.starts_at, "end_s": each.ends_at}
                    for each in windows
                ],
            }
        ],
    }


def _run_action(experiment: Experiment, source: str, lane: Lane, seed: int, run_dir: str) -> Json:
    command = ["chaos", "run"] if lane is Lane.REAL else ["sim", "run", "--lane", lane.value]
    return {
        "type": "action",
        "name": RUN_ACTION,
        "provider": {
            "type": "process",
            "path": "resilience",
            "arguments": [*command, source, "--seed", str(seed), "--out", run_dir],
            "timeout": 600 + 2 * experiment.duration,
        },
    }


def _verdict_probe(run_dir: str) -> Json:
    """Reads the verdict where there is a run; ``sh`` decides, because the toolkit asks before the run too."""
    where = shlex.quote(run_dir)
    return {
        "type": "probe",
        "name": VERDICT_PROBE,
        "tolerance": int(ExitCode.PASS),
        "provider": {
            "type": "process",
            "path": "sh",
            "arguments": ["-c", f"test ! -e {where} || resilience report build {where}"],
        },
    }


def export_run(run_dir: Path) -> Json:
    """The journal of a run directory, as :func:`to_journal`; errors as of :func:`reports.build.build_report`."""
    from reports.build import analyse  # noqa: PLC0415 - an experiment alone does not need it

    log, _, summary = analyse(run_dir)
    source = str(run_dir / "experiment.toml")
    exported = to_experiment(log.experiment, source, lane=summary.lane, seed=summary.seed, run_dir=str(run_dir))
    return to_journal(exported, summary)


# --- the journal ------------------------------------------------------------------------------------------------------


def to_journal(exported: Json, summary: Summary) -> Json:
    """The journal of a run of the ``exported`` experiment.

    ``status`` is completed, failed (no steady state to begin with), interrupted or aborted (the laboratory failed);
    ``deviated`` is whether the verdict is fail.
    """
    clock = _Clock(summary)
    (action,) = exported["method"]
    (probe,) = exported["steady-state-hypothesis"]["probes"]
    steady = summary.status in (RunStatus.COMPLETED, RunStatus.INTERRUPTED)
    ended = summary.status == RunStatus.COMPLETED
    after = {
        "steady_state_met": summary.verdict is Verdict.PASS,
        "probes": [
            _activity(probe, clock, summary.duration_s, None, _output(summary), summary.verdict is Verdict.PASS)
        ],
    }
    return {
        "chaoslib-version": f"none: quiz-resilience {__version__}",
        "platform": platform.platform(),
        "node": platform.node(),
        "experiment": exported,
        "start": clock.at(0.0),
        "status": _STATUS[RunStatus(summary.status)],
        "deviated": summary.verdict is Verdict.FAIL,
        "steady_states": {
            "before": {"steady_state_met": steady, "probes": []},
            "after": after if ended else None,
            "during": [],
        },
        "run": [
            _activity(action, clock, 0.0, clock.wall_s, _output(summary), None),
            *(
                _window(window, action["provider"], clock)
                for window in summary.windows
                if window.started_at is not None
            ),
        ],
        "rollbacks": [],
        "end": clock.at(clock.wall_s),
        "duration": clock.wall_s,
    }


_STATUS: Mapping[RunStatus, str] = {
    RunStatus.COMPLETED: "completed",
    RunStatus.NOT_STARTED: "failed",
    RunStatus.INTERRUPTED: "interrupted",
    RunStatus.HARNESS_FAILED: "aborted",
}


class _Clock:
    """Times of a run as the journal writes them: ISO 8601, UTC, from its start."""

    def __init__(self, summary: Summary) -> None:
        self._start = datetime.fromisoformat(summary.started_at)
        self.wall_s: Seconds = summary.duration_s if summary.wall_s is None else max(summary.wall_s, summary.duration_s)

    def at(self, t: Instant) -> str:
        return (self._start + timedelta(seconds=t)).isoformat()


def _activity(  # noqa: PLR0913, PLR0917 - the fields of an entry
    activity: Json,
    clock: _Clock,
    start: Instant,
    end: Instant | None,
    output: object,
    met: bool | None,  # noqa: FBT001
) -> Json:
    last = start if end is None else end
    entry = {
        "activity": activity,
        "output": output,
        "status": "succeeded",
        "start": clock.at(start),
        "end": clock.at(last),
        "duration": last - start,
    }
    return entry if met is None else {**entry, "tolerance_met": met}


def _output(summary: Summary) -> Json:
    """What a process activity of the toolkit returns, and the figures."""
    rate = summary.success_rate
    return {
        "status": int(summary.exit_code),
        "stdout": "; ".join((summary.verdict.value, *summary.reasons)),
        "stderr": summary.cause or "",
        "verdict": summary.verdict.value,
        "success_rate": {"value": rate.value, "low": rate.low, "high": rate.high, "affected": rate.affected},
        "expectations": msgspec.to_builtins(summary.expectations),
        "invariants": _invariants(summary),
    }


def _invariants(summary: Summary) -> Sequence[Json]:
    return [{"name": item.name, "verdict": item.verdict.value, "detail": item.detail} for item in summary.invariants]


def _window(window: WindowResult, provider: Json, clock: _Clock) -> Json:
    """One fault window, carried out by the process that the run's action started."""
    activity = {"type": "action", "name": window.fault_id, "background": True, "provider": provider}
    output = {"outcomes": msgspec.to_builtins(window.outcomes), "confirmed_s": window.confirmed_at}
    started = window.started_at or 0.0
    entry = _activity(activity, clock, started, window.ended_at, output, None)
    return entry if window.valid else {**entry, "status": "failed", "exception": [window.reason or "invalid"]}
