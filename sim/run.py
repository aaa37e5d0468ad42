"""One simulated run as a directory: the experiment's text, the event log, and what the run itself cost."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind
from resilience.eventlog.writer import EventSink, EventWriter
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Experiment
from resilience.lab.run_directory import RunInfo, RunStatus, create_run_dir, write_run_info

Simulate = Callable[[Experiment, int, EventSink], None]

_KIB_PER_MIB = 1024.0


def lane_of(lane: Lane) -> Simulate:
    """The function that runs an experiment in this lane."""
    if lane is Lane.VIRTUAL:
        from .virtual.lane import simulate  # noqa: PLC0415 - each lane loads only what it runs
    elif lane is Lane.MODEL:
        from .model import simulate  # noqa: PLC0415 - as above
    else:
        raise UsageError(f"--lane {lane}: sim runs the lanes model and virtual")
    return simulate


class _Ending:
    """Passes events on and remembers how the run said it ended."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self.status, self.cause = RunStatus.HARNESS_FAILED, "the run did not end"

    def write(self, event: LogEvent) -> None:
        """Take one event."""
        self._sink.write(event)
        if event.kind is LogEventKind.RUN_ENDED:
            completed = event.outcome == "completed"
            self.status, self.cause = (
                (RunStatus.COMPLETED, "") if completed else (RunStatus.NOT_STARTED, event.cause or "")
            )


def run(experiment: Experiment, lane: Lane, seed: int, *, out: Path | None, root: Path) -> Path:
    """Run the experiment and return its run directory; what it took is in ``run.json``.

    A run that raises or is interrupted leaves a directory that says so, never one that reads as completed.
    """
    simulate = lane_of(lane)
    started = datetime.now(UTC)
    stamp = started.strftime("%Y%m%dT%H%M%SZ")
    run_dir = create_run_dir(experiment.name, lane=lane, seed=seed, stamp=stamp, out=out, root=root)
    (run_dir / "experiment.toml").write_text(to_toml(experiment), encoding="utf-8")
    info = RunInfo(
        experiment=experiment.name,
        experiment_digest=experiment.digest,
        lane=lane,
        seed=seed,
        started_at=started.isoformat(timespec="seconds"),
        duration_s=experiment.duration,
        status=RunStatus.INTERRUPTED,
        cause="the run was interrupted",
        versions=versions(),
    )
    write_run_info(run_dir, info)
    writer = EventWriter(run_dir / "events" / "run.jsonl")
    outcome, began = _Ending(writer), time.perf_counter()
    try:
        simulate(experiment, seed, outcome)
    finally:
        writer.close()
    ended = {"status": outcome.status, "cause": outcome.cause or None, "wall_s": time.perf_counter() - began}
    write_run_info(run_dir, msgspec.structs.replace(info, **ended, peak_rss_mb=peak_rss_mb()))
    return run_dir


def versions() -> dict[str, str]:
    """What ran: the project, Python, and the libraries whose behaviour shows in a run."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {"python": python, **{name: version(name) for name in ("quiz-resilience", "websockets", "simpy")}}


def peak_rss_mb() -> float:
    """The largest resident size this process had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_MIB
